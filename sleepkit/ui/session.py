"""One session of the dashboard: follows its state, computes, and shows; the newest request wins."""

import asyncio
import dataclasses
import io
import tempfile
from pathlib import Path
from typing import Any

import panel as pn

from sleepkit import results
from sleepkit.errors import InvalidInputError, SleepkitError
from sleepkit.ui import html
from sleepkit.ui.compute import N_EXAMPLES, SupersededError, Turns, Workshop
from sleepkit.ui.controls import Controls
from sleepkit.ui.picture import Picture
from sleepkit.ui.state import AccuracyRequest, ExplorerState, TraceRequest, beyond_training, on_card, trained_on
from sleepkit.ui.status import StatusLine
from sleepkit.ui.views import AccuracyView, AttentionView, FastWeightsView, TextView

_ASKED = ["model", "n_passes", "n_strings", "window_len", "depth", "example"]
_LOOKED_AT = ["window", "sleep_pass", "layer", "attention_layer", "view"]
ROW_HEIGHT = 362


class ExplorerSession:
    """A state, what was computed for it, and the panes that show it.

    Args:
        state: the settings; every change is followed.
        workshop: where traces and accuracies are computed.
    """

    def __init__(self, state: ExplorerState, workshop: Workshop) -> None:
        self.state, self._workshop = state, workshop
        self._trace_turns, self._measure_turns = Turns(), Turns()
        self._measuring: AccuracyRequest | None = None
        self._settling = False
        self.status = StatusLine(state, on_cancel=self.cancel, on_measure=self.start_measuring)
        _, card = workshop.source.load(state.model)
        self.controls = Controls(state, card, self.status, on_model=self._on_model, on_export=self.export)
        self.fast_weights = FastWeightsView(state, height=ROW_HEIGHT)
        self.accuracy = AccuracyView(state, height=ROW_HEIGHT)
        self.attention = AttentionView(state, height=ROW_HEIGHT)
        self.text = TextView(state, height=ROW_HEIGHT)
        self.finding = pn.pane.HTML("", sizing_mode="stretch_width", margin=(0, 2))
        self.picture = self._first_picture()
        self._refuse_lost_view()
        self._draw_words()
        state.param.watch(self._on_asked, _ASKED)
        state.param.watch(self._on_looked_at, _LOOKED_AT)
        state.param.watch(lambda _: self.draw(), "theme")

    async def refresh(self) -> None:
        """Compute what the state asks for and show it; refuse what is impossible and keep the picture."""
        turn, request = self._trace_turns.take(), self.state.trace_request()
        try:
            picture = await self._workshop.tracing.run_async(turn, lambda: self._compute(request))
        except SupersededError:
            return
        except SleepkitError as error:
            if not turn.over:
                self.status.refuse(str(error), "settings")
            return
        if turn.over:
            return
        self.status.accept("settings")
        self.status.accept("address")
        self.status.accept("view")
        self.picture = picture
        self._settle()
        self.draw()
        await self.measure()

    async def measure(self) -> None:
        """Measure the accuracy at the current settings if neither the card nor the cache has it."""
        picture = self.picture
        if not picture.waiting:
            self.cancel()
            return
        request, loop = picture.accuracy_request, asyncio.get_running_loop()
        if self._measuring == request:
            return
        turn, self._measuring = self._measure_turns.take(), request

        def on_batch(done: int, total: int) -> None:
            turn.check()
            loop.call_soon_threadsafe(show_progress, done, total)

        def show_progress(done: int, total: int) -> None:
            if not turn.over:
                self.status.progress(done, total)

        self.status.progress(0, 1)
        try:
            source = self._workshop.source
            await self._workshop.measuring.run_async(turn, lambda: source.accuracy(request, on_batch=on_batch))
        except SupersededError:
            return
        if turn.over:
            return
        turn.end()
        self._measuring = None
        self.status.stopped(can_measure=False)
        self.picture = self._with_accuracy(self.picture)
        self.accuracy.draw(self.picture)
        self._describe()

    def start(self) -> None:
        """Draw for the first time and measure what the card does not have.

        To be called when the browser has loaded the page: the Material theme overwrites the layout of figures that are
        there before, margins and colours included.
        """
        self.draw()
        self.start_measuring()

    def start_measuring(self) -> None:
        """Start measuring in the background."""
        pn.state.execute(self.measure)

    def cancel(self) -> None:
        """Stop measuring; it can be started again."""
        self._measure_turns.end()
        self._measuring = None
        self.status.stopped(can_measure=self.picture.waiting)

    def export(self) -> io.BytesIO:
        """Return the trace on show as a netCDF file.

        Raises:
            StoreError: if the netCDF packages are not installed.
        """
        with tempfile.TemporaryDirectory() as folder:
            return io.BytesIO(results.save(self.picture.tree, Path(folder) / "trace.nc").read_bytes())

    def _first_picture(self) -> Picture:
        """Compute the picture of the state; if that is impossible, say so and show the model's own settings."""
        try:
            return self._run(self.state.trace_request())
        except SleepkitError as error:
            self.status.refuse(str(error), "settings")
        own = ExplorerState()
        own.adopt(self._workshop.source.load(self.state.model)[1])
        return self._run(own.trace_request())

    def _run(self, request: TraceRequest) -> Picture:
        return self._workshop.tracing.run(self._trace_turns.take(), lambda: self._compute(request))

    def _compute(self, request: TraceRequest) -> Picture:
        source = self._workshop.source
        _, card = source.load(request.model)
        return self._with_accuracy(Picture(request, card, source.trace(request), source.trace(request.at(1))))

    def _with_accuracy(self, picture: Picture) -> Picture:
        if on_card(picture.card, picture.request):
            return dataclasses.replace(picture, measured=None, waiting=False)
        measured = self._workshop.source.measured(picture.accuracy_request)
        known = measured is not None and picture.request.n_passes in measured.n_passes.values
        return dataclasses.replace(picture, measured=measured, waiting=not known)

    def _refuse_lost_view(self) -> bool:
        """If the picture has no such window, pass or layer, say so and look at the first window instead."""
        try:
            self.picture.check_view(self.state)
        except InvalidInputError as error:
            self.status.refuse(str(error), "view")
            self._settle()
            return True
        return False

    def _settle(self) -> None:
        """Keep looking at the same place if the picture has it, at the end of the first window otherwise."""
        try:
            self.picture.check_view(self.state)
        except InvalidInputError:
            self._settling = True
            self.state.param.update(window=0, sleep_pass=None, layer=None, attention_layer=None)
            self._settling = False

    def draw(self) -> None:
        """Draw everything."""
        self._draw_words()
        for view in (self.fast_weights, self.accuracy, self.attention):
            view.draw(self.picture)

    def _draw_words(self) -> None:
        card = self.picture.card
        self.controls.fit(self.picture)
        self.finding.object = html.finding(card.finding(1, card.sleep.n_passes), self.state.colours)
        self.text.draw(self.picture)
        self._describe()

    def _draw_moment(self) -> None:
        self.controls.follow()
        self.fast_weights.draw_moment(self.picture)
        self.attention.draw(self.picture)
        self.text.draw(self.picture)

    def _describe(self) -> None:
        picture = self.picture
        phrases = beyond_training(picture.card, picture.request)
        if on_card(picture.card, picture.request):
            source = f"Lines: {int(picture.card.accuracy.n_total.min()):,} or more held-out answers a point, bands 95 %."
        elif picture.waiting:
            source = f"Lines: as trained. Measuring {N_EXAMPLES} held-out examples at these settings."
        else:
            source = f"Lines: as trained. Open markers: measured now, {N_EXAMPLES} held-out examples."
        head = f"Beyond what it was trained on: {', '.join(phrases)}." if phrases else trained_on(picture.card)
        self.status.say(f"{head} {source}", beyond=bool(phrases))

    async def _on_asked(self, *_: Any) -> None:
        await self.refresh()

    def _on_looked_at(self, *_: Any) -> None:
        if self._settling:
            return
        if not self._refuse_lost_view():
            self.status.accept("view")
        self._draw_moment()

    def _on_model(self, name: str) -> None:
        if name != self.state.model:
            self.state.adopt(self._workshop.source.load(name)[1])
