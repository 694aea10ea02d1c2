"""One session of the dashboard: follows its state, computes, and shows; the newest request wins."""

import asyncio
import dataclasses
import functools
import io
from typing import Any

import panel as pn

from sleepkit.errors import InvalidInputError, SleepkitError
from sleepkit.ui import export, html, limits
from sleepkit.ui.compute import N_EXAMPLES, SupersededError, Turn, Turns, Workshop
from sleepkit.ui.controls import Controls
from sleepkit.ui.opening import Opening, known_picture, opening_now, traced
from sleepkit.ui.picture import Picture
from sleepkit.ui.screen import Screen
from sleepkit.ui.seats import SEATS
from sleepkit.ui.state import ASKED, LOOKED_AT, AccuracyRequest, ExplorerState, TraceRequest, as_on_card, beyond_training
from sleepkit.ui.status import StatusLine
from sleepkit.ui.subject import subject
from sleepkit.ui.upkeep import UPKEEP

# What is typed is looked at when the keys have rested for this long.
_TYPING_PAUSE_S = 0.35


# A change is looked at when no other has followed for this long: of a hundred at once, the last alone is drawn.
_REST_S = 0.01
_SPACES = " \t\n\r"  # what counts as empty in the field of own input


class ExplorerSession:
    """A state, what was computed for it, and the panes that show it.

    Args:
        state: the settings; every change is followed.
        workshop: where traces and accuracies are computed.
        opening: what ``opening_of`` returned for this state; computed here and now if None.
    """

    def __init__(self, state: ExplorerState, workshop: Workshop, opening: Opening | None = None) -> None:
        self.state, self._workshop = state, workshop
        self._trace_turns, self._measure_turns, self._text_turns = Turns(), Turns(), Turns()
        self._measuring: tuple[AccuracyRequest, ...] = ()
        self._settling = False
        self._asked = (state.trace_request(), state.compare)  # what was followed last
        self.status = StatusLine(state, on_cancel=self.cancel, on_measure=self.start_measuring)
        self.controls = Controls(
            state,
            subject(state.model),
            self.status,
            on_model=self._on_model,
            on_text=self._read_text,
            on_edit=self._edit,
            on_export=self.export,
        )
        self.finding = pn.pane.HTML("", sizing_mode="stretch_width", margin=(0, 2))
        opening = opening_now(state, workshop) if opening is None else opening
        if opening.refused:
            self.status.refuse(opening.refused, "settings")
        self.picture = self._with_accuracy(opening.picture)
        self.screen = Screen(state, lambda: self.picture)
        self._refuse_lost_view()
        self.draw()
        state.param.watch(self._on_asked, list(ASKED))
        state.param.watch(self._on_looked_at, list(LOOKED_AT))
        state.param.watch(lambda _: self.screen.draw(self.picture), "tab")
        state.param.watch(lambda *_: self.draw(), ["theme", "system_dark"])

    async def refresh(self) -> None:
        """Compute what the state asks for and show it; refuse what is impossible and keep the picture."""
        turn = self._trace_turns.take()
        await asyncio.sleep(_REST_S)
        if turn.over:
            return
        request, compare = self.state.trace_request(), self.state.compare
        self._asked = (request, compare)
        try:
            picture = self._known(request, compare)
            if picture is None:
                report, place = self._reporter(turn), functools.partial(self._wait, turn)
                picture = await traced(self._workshop, turn, request, compare, report=report, on_place=place)
        except SupersededError:
            return
        except SleepkitError as error:
            if not turn.over:
                self.status.stopped(can_measure=bool(self.picture.missing))
                self.status.refuse(str(error), "settings")
            return
        if turn.over:
            return
        for topic in ("settings", "address", "view"):
            self.status.accept(topic)
        self.picture = self._with_accuracy(picture)
        self._settle()
        self.draw()
        await self.measure()

    async def measure(self) -> None:
        """Measure the accuracies at the current settings that neither the card nor the cache has."""
        picture = self.picture
        wanted = tuple(picture.request.accuracy.at(n_passes) for n_passes in picture.missing)
        if not wanted:
            self.cancel()
            return
        if self._measuring == wanted:
            return
        turn, self._measuring = self._measure_turns.take(), wanted
        self.status.progress(0, 1)
        source = self._workshop.source
        for number, request in enumerate(wanted):
            report = self._reporter(turn, number, len(wanted))
            try:
                work = functools.partial(source.accuracy, request, on_batch=report)
                await self._workshop.measuring.run_async(turn, work, on_place=functools.partial(self._wait, turn))
            except SupersededError:
                return
            except SleepkitError as error:
                if not turn.over:
                    self.cancel()
                    self.status.stopped(can_measure=False)
                    self.status.refuse(str(error), "settings")
                return
            if turn.over:
                return
            self.picture = self._with_accuracy(self.picture)
            self.screen.draw_accuracy(self.picture)
            self._describe()
        turn.end()
        self._measuring = ()
        self.status.stopped(can_measure=False)

    def start(self) -> None:
        """Measure what the card does not have, and get the model ready for the first change, once the page is loaded."""
        self.start_measuring()
        pn.state.execute(self._warm)

    def start_measuring(self) -> None:
        """Start measuring in the background."""
        pn.state.execute(self.measure)

    def cancel(self) -> None:
        """Stop tracing and measuring; measuring can be started again."""
        self._trace_turns.end()
        self._measure_turns.end()
        self._measuring = ()
        self.status.stopped(can_measure=bool(self.picture.missing))

    def export(self) -> io.BytesIO:
        """Return the trace on show as a netCDF file.

        Raises:
            StoreError: if the netCDF packages are not installed.
        """
        return export.trace_file(self.picture)

    async def _warm(self) -> None:
        await asyncio.sleep(1.0)  # the browser draws first
        await self._workshop.warm(self.state.model)
        if len(SEATS):  # a server's, not a notebook's, process is ours to tune
            UPKEEP.settle()

    def _reporter(self, turn: Turn, number: int = 0, n_parts: int = 1) -> Any:
        """Return what a worker calls with what is done: it shows progress, and stops the work when the turn is over."""
        loop = asyncio.get_running_loop()

        def show(done: int, total: int) -> None:
            if not turn.over:
                self.status.progress(number * total + done, n_parts * total)

        def report(done: int, total: int) -> None:
            turn.check()
            loop.call_soon_threadsafe(show, done, total)

        return report

    def _known(self, request: TraceRequest, compare: int) -> Picture | None:
        """Return the picture if nothing must be computed for it."""
        return known_picture(self._workshop.source, request, compare)

    def _wait(self, turn: Turn, n_before: int) -> None:
        """Say how many are before this session."""
        if not turn.over:
            self.status.wait(n_before)

    def _with_accuracy(self, picture: Picture) -> Picture:
        asked = picture.request.accuracy
        wanted = dict.fromkeys((asked.n_passes, picture.compare))
        if as_on_card(picture.subject, asked):
            wanted = {n_passes: None for n_passes in wanted if n_passes not in picture.subject.known_passes}
        measured = self._workshop.source.measured(asked.at(n_passes) for n_passes in wanted)
        known = [] if measured is None else measured.n_passes.values.tolist()
        missing = tuple(n_passes for n_passes in wanted if n_passes not in known)
        return dataclasses.replace(picture, measured=measured, missing=missing)

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
            self.state.param.update(window=0, sleep_pass=None, layer=None, attention_layer=None, head=None, answer=0)
            self._settling = False

    def draw(self) -> None:
        """Draw everything."""
        self._draw_words()
        self.screen.draw(self.picture)

    def _draw_words(self) -> None:
        self.controls.fit(self.picture)
        self._describe()

    def _describe(self) -> None:
        picture, about = self.picture, self.picture.subject
        self.finding.object = html.finding(picture.finding, self.state.colours)
        phrases = beyond_training(about, picture.request)
        if picture.missing:
            source = f"Lines: as trained. Measuring {N_EXAMPLES} held-out examples at these settings."
        elif picture.measured is not None:
            source = f"Lines: as trained. Open markers: measured now, {N_EXAMPLES} held-out examples."
        else:
            source = f"Lines: {int(about.accuracy.n_total.min()):,} or more held-out answers a point, bands 95 %."
        head = f"Beyond what it was trained on: {', '.join(phrases)}." if phrases else about.as_trained()
        self.status.say(f"{head} {source}", beyond=bool(phrases))

    async def _on_asked(self, *_: Any) -> None:
        await self.refresh()

    def _on_looked_at(self, *_: Any) -> None:
        if self._settling or self._asked != (self.state.trace_request(), self.state.compare):
            return  # another picture is asked for in the same step: the place is looked up in that one
        if not self._refuse_lost_view():
            self.status.accept("view")
        self.controls.follow()
        self.screen.draw_moment(self.picture)

    def _on_model(self, name: str) -> None:
        if name != self.state.model:
            try:
                self.state.adopt(subject(name))
            except SleepkitError as error:
                self.status.refuse(str(error), "settings")

    async def _read_text(self, text: str) -> None:
        """Check what was typed when the typing rests; only an example of the task reaches the state."""
        turn = self._text_turns.take()
        await asyncio.sleep(_TYPING_PAUSE_S)
        if turn.over:
            return
        try:
            limits.require_input_len(text)
        except InvalidInputError as error:
            self.controls.text.param.update(error_state=True, helper_text=str(error))
            return
        request = dataclasses.replace(self.state.trace_request(), text=text.strip(_SPACES))
        if request.text:
            try:
                await self._workshop.checking.run_async(turn, lambda: self._workshop.source.check_text(request))
            except SupersededError:
                return
            except SleepkitError as error:
                if not turn.over:
                    self.controls.text.param.update(error_state=True, helper_text=str(error))
                return
        if not turn.over:
            self.controls.text.param.update(error_state=False, helper_text="")
            self.state.text = request.text

    async def _edit(self) -> None:
        """Put the held-out example on show into the field for the user's own."""
        turn, request = self._text_turns.take(), self.state.trace_request()
        try:
            work = self._workshop.checking.run_async(turn, lambda: self._workshop.source.text(request))
            text, about = await work
        except SupersededError:
            return
        except SleepkitError as error:
            self.status.refuse(str(error), "settings")
            return
        if not turn.over:
            self.controls.text.value = text
            self.controls.text_help.object = html.note(about, self.state.colours)
            self.state.text = text
