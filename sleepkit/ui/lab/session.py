"""One session of the lab page: looks at the store every two seconds, draws what has changed, does what is asked."""

import asyncio
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import panel as pn
import panel_material_ui as pmu

from sleepkit.errors import InvalidInputError, SleepkitError
from sleepkit.training import TrainSettings
from sleepkit.ui import html, query
from sleepkit.ui.compute import SupersededError, Turn
from sleepkit.ui.lab.desk import Desk
from sleepkit.ui.lab.labels import labels
from sleepkit.ui.lab.launch import Launcher
from sleepkit.ui.lab.panes import FRAME, Panes
from sleepkit.ui.lab.publish import publish, shared_publisher
from sleepkit.ui.lab.state import N_FIRST, URL_NAMES, LabState
from sleepkit.ui.lab.store import DrawnPasses, RunRecord, RunStore, Shelf
from sleepkit.ui.lab.table import RunTable, explorer_link, row, unreadable_row

PERIOD_MS = 2000
TABLE_HEIGHT = 226


class LabSession:
    """A state, what lies in the store, and the widgets that show it.

    Args:
        state: what is shown; every change is followed.
        store: the folder of runs; may be shared.
        launcher: starts and stops runs, or refuses to.
    """

    def __init__(self, state: LabState, store: RunStore, launcher: Launcher) -> None:
        self.state, self._store, self._launcher = state, store, launcher
        self.shelf, self._labels = Shelf(), dict[str, str]()
        self._counts: list[dict[int, int]] = []
        self._drawn_passes = DrawnPasses()
        self._asked_to_stop: set[str] = set()
        self._publishing: tuple[str, Turn] | None = None
        self._refusal, self._text = "", "Check runs to draw them; colour, dash and marker tell them apart. N = 1 is no sleep."
        self._looking = asyncio.Lock()
        self._shown: object = None
        self._drawn: list[tuple[int, str, int | None]] | None = None
        read_only = launcher.read_only
        self.finding = pn.pane.HTML("", sizing_mode="stretch_width", margin=(0, 2))
        self._status = pn.pane.HTML("", sizing_mode="stretch_width", margin=0)
        self._bar = pmu.Progress(value=0, max=100, width=120, margin=(14, 10), visible=False)
        self.cancel_button = pmu.Button(label="Cancel", variant="outlined", size="small", width=90, margin=0, visible=False)
        self.cancel_button.on_click(lambda _: self.cancel())
        self.status = pn.Row(self._status, self._bar, self.cancel_button, sizing_mode="stretch_width", margin=(6, 0, 0, 0))
        self.table = RunTable(
            on_action=self.act,
            nothing=f"There is no run in {store.root} yet.",
            sizing_mode="stretch_width",
            height=TABLE_HEIGHT - 18,
            margin=0,
        )
        self.list = pn.Column(
            self.table,
            sizing_mode="stretch_width",
            height=TABLE_HEIGHT,
            margin=(8, 0, 0, 0),
            css_classes=["sk-runs"],
            styles=FRAME,
        )
        self.panes = Panes(state)
        self.desk = None if read_only else Desk(state, on_start=self.start_run)
        self.table.param.watch(lambda event: self._on_checked(event.new), "selected")
        state.param.watch(self._on_selected, ["selected", "looks"])
        state.param.watch(lambda *_: self.draw(), ["value", "along", "held_out", "theme", "system_dark"])

    async def start(self) -> None:
        """Draw for the first time, choose what to draw, and look again every two seconds."""
        await self.look()
        if not self.state.selected:
            self.state.choose(first_choice(self.shelf.runs))
        pn.state.add_periodic_callback(self.look, period=PERIOD_MS)  # type: ignore[arg-type]

    async def look(self) -> None:
        """Look at the disk outside the event loop and draw if something is new."""
        async with self._looking:
            selected = list(self.state.selected)
            shelf, starting, counts = await asyncio.to_thread(self._look, selected)
            new = (id(shelf), frozenset(starting), tuple(selected), tuple(self.state.looks))
            if new == self._shown and shelf is self.shelf:
                return
            if shelf is not self.shelf:
                self._labels = labels(shelf.runs)
            self.shelf, self._shown, self._counts = shelf, new, counts
            self._write_rows(starting)
            slots = self.state.slots()
            drawn = [(id(run), self._labels[run.key], slots.get(run.key)) for run in _chosen(shelf, selected)]
            if drawn != self._drawn:
                self._drawn = drawn
                self._draw_panes()

    def draw(self) -> None:
        """Draw everything again from what is known."""
        self._shown = None
        self._write_rows(self._launcher.starting())
        self._draw_panes()

    def act(self, action: str, key: str) -> None:
        """Do what a button of the table asks for: stop, resume or publish a run; refusals are shown."""
        try:
            run = self.shelf.get(key)
            if action == "stop":
                self._launcher.stop(run)
                self._asked_to_stop.add(key)
                self._say(f"{self._labels[key]}: asked to write its checkpoint and stop.")
            elif action == "resume":
                self._launcher.resume(run)
                self._choose(key)
                self._say(f"{self._labels[key]}: goes on from step {run.n_steps:,}.")
            elif action == "publish":
                self._launcher.require_writable("publish")
                pn.state.execute(functools.partial(self.publish, run))
            else:
                raise InvalidInputError(f"action: must be stop, resume or publish, got {action!r}")
        except SleepkitError as error:
            self.refuse(str(error))
        self.draw()

    def start_run(self, settings: TrainSettings) -> None:
        """Start a new run; a refusal is shown."""
        try:
            key = self._launcher.start(settings)
        except SleepkitError as error:
            self.refuse(str(error))
            return
        self._choose(key)
        self._say(f"{settings.name}: started, in a process of its own that this page may leave.")

    async def publish(self, run: RunRecord) -> None:
        """Count right answers of a finished run and write its card; the bar shows how far it is."""
        if self._publishing is not None:
            self.refuse("publish: must be one run at a time; wait for it, or cancel it")
            return
        turn, loop = Turn(), asyncio.get_running_loop()
        self._publishing, label = (run.key, turn), self._labels[run.key]
        self._say(f"{label}: counting held-out answers for its card.")
        self._bar.param.update(value=0, visible=True)
        self.cancel_button.visible = True
        self.draw()

        def on_batch(done: int, total: int) -> None:
            turn.check()
            loop.call_soon_threadsafe(self._progress, turn, done, total)

        try:
            await shared_publisher().run_async(turn, lambda: publish(run, label, on_batch=on_batch))
            self._say(f"{label}: published; Open shows it in the explorer.")
        except SupersededError:
            self._say(f"{label}: not published, cancelled.")
        except SleepkitError as error:
            self.refuse(str(error))
        finally:
            turn.end()
            self._publishing = None
            self._bar.visible = self.cancel_button.visible = False
        await self.look()
        self.draw()

    def cancel(self) -> None:
        """Stop publishing; nothing is written."""
        if self._publishing is not None:
            self._publishing[1].end()

    def visit(self, search: str) -> None:
        """Show what an address asks for; what it does not name is as when the page was opened, but for the theme."""
        names = [name for name in URL_NAMES if name != "theme"]
        asked = query.read(search, self.state, names)
        self.state.param.update({name: self.state.param[name].default for name in names} | asked.values)
        if asked.refused:
            self.refuse(query.refusal(asked.refused))

    @property
    def refusal(self) -> str:
        """What was refused last, as long as nothing was done since."""
        return self._refusal

    def _look(self, selected: Sequence[str]) -> tuple[Shelf, set[str], list[dict[int, int]]]:
        shelf = self._store.scan()
        chosen = _chosen(shelf, selected)
        return shelf, self._launcher.starting(), [self._drawn_passes.counts(run) for run in chosen]

    def _on_checked(self, keys: Sequence[str]) -> None:
        if list(keys) != self.state.selected:
            self.state.choose(keys)

    async def _on_selected(self, *_: Any) -> None:
        await self.look()

    def _choose(self, key: str) -> None:
        if key not in self.state.selected:
            self.state.choose([*self.state.selected, key])

    def _progress(self, turn: Turn, done: int, total: int) -> None:
        if not turn.over:
            self._bar.value = round(100 * done / total)

    def _write_rows(self, starting: set[str]) -> None:
        state, slots = self.state, self.state.slots()
        self._asked_to_stop &= {run.key for run in self.shelf.runs if run.status == "training"}
        shown = sorted(self.shelf.runs, key=lambda run: (run.status != "training", -run.changed_s))
        rows = []
        for run in shown:
            made = row(
                run,
                self._labels[run.key],
                slot=slots.get(run.key),
                theme=state.colours,
                actions=self._actions(run, run.key in starting),
            )
            if run.key in starting:
                made["status"] = "starting"
            elif run.key in self._asked_to_stop:
                made["status"] = "stopping"
            rows.append(made)
        rows.extend(unreadable_row(each) for each in self.shelf.unreadable)
        self.table.param.update(rows=rows, selected=list(state.selected), theme=state.colours)
        self.finding.object = html.finding(summary(self.shelf, self._labels), state.colours)
        self._draw_status()

    def _actions(self, run: RunRecord, starting: bool) -> list[dict[str, Any]]:
        link = [{"name": "open", "label": "Open", "href": explorer_link(run.published)}] if run.published else []
        if self._launcher.read_only or starting:
            return link
        if run.status == "training":
            can_stop = run.pid is not None and not run.in_sweep and run.key not in self._asked_to_stop
            return [{"name": "stop", "label": "Stop", "disabled": not can_stop}]
        if run.can_resume:
            return [{"name": "resume", "label": "Resume"}]
        return link or [{"name": "publish", "label": "Publish", "disabled": self._publishing is not None}]

    def _draw_panes(self) -> None:
        chosen = _chosen(self.shelf, self.state.selected)
        if len(chosen) == len(self._counts):
            self.panes.draw(chosen, self._labels, self._counts)

    def _say(self, text: str) -> None:
        self._refusal, self._text = "", text
        self._draw_status()

    def refuse(self, text: str) -> None:
        """Say in one line what was refused, until something is done."""
        self._refusal = text
        self._draw_status()

    def _draw_status(self) -> None:
        text = self._refusal or self._text
        self._status.object = html.status(text, "error" if self._refusal else "info", self.state.colours)


def first_choice(runs: Sequence[RunRecord]) -> list[str]:
    """Return the keys of what is drawn first: every run that trains, and the few that changed last beside them.

    These have the name of a run that trains, where one does, so that there is something to compare.
    """
    training = [run for run in runs if run.status == "training"]
    names = {run.settings.name for run in training}
    others = [run for run in runs if run.status != "training" and run.history.sizes["step"]]
    others = [run for run in others if not names or run.settings.name in names]
    latest = sorted(others, key=lambda run: -run.changed_s)
    return [run.key for run in [*training, *latest[: max(0, N_FIRST - len(training))]]]


def summary(shelf: Shelf, labels: Mapping[str, str]) -> str:
    """Return the sentence on top: how many runs there are, how they stand, and how long what trains will take."""
    counts: dict[str, int] = {}
    for run in shelf.runs:
        counts[run.status] = counts.get(run.status, 0) + 1
    states = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    parts = [f"{len(shelf.runs)} {'run' if len(shelf.runs) == 1 else 'runs'}: {states}." if shelf.runs else "No runs yet."]
    training = [run for run in shelf.runs if run.status == "training" and run.history.sizes["step"]]
    parts += [f"{labels[run.key]} is at step {run.n_steps:,} of {run.settings.steps:,}." for run in training[:2]]
    if shelf.unreadable:
        folders = "1 folder" if len(shelf.unreadable) == 1 else f"{len(shelf.unreadable)} folders"
        parts.append(f"{folders} cannot be read; the list says why.")
    return " ".join(parts)


def _chosen(shelf: Shelf, selected: Sequence[str]) -> list[RunRecord]:
    known = {run.key: run for run in shelf.runs}
    return [known[key] for key in dict.fromkeys(selected) if key in known]
