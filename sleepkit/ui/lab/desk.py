"""The form at the left: a small run, checked while it is written, and the button that starts it."""

from collections.abc import Callable
from typing import Any

import panel as pn
import panel_material_ui as pmu

from sleepkit.errors import InvalidInputError
from sleepkit.training import TrainSettings
from sleepkit.ui import html
from sleepkit.ui.lab import form
from sleepkit.ui.lab.state import LabState

_WIDE = {"sizing_mode": "stretch_width", "margin": (5, 12), "description": ""}
_FIRST = "fig2b, smoke"


class Desk(pn.viewable.Viewer):
    """Widgets over a recipe and its editable settings.

    Args:
        state: gives the theme.
        on_start: called with the settings of the run to start.
    """

    def __init__(self, state: LabState, *, on_start: Callable[[TrainSettings], None], **params: Any) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self._state, self._on_start = state, on_start
        self._recipes = form.recipes()
        self.preset = pmu.Select(label="Preset and size", options=list(self._recipes), value=_FIRST, size="small", **_WIDE)
        self.fields = {name: pmu.TextInput(label=text, size="small", **_WIDE) for name, text in form.FIELDS.items()}
        self._verdict = pn.pane.HTML("", sizing_mode="stretch_width", margin=(4, 12))
        self.button = pmu.Button(label="Start", variant="contained", **{**_WIDE, "margin": (8, 12)})
        self._title = pn.pane.HTML("", sizing_mode="stretch_width", margin=(4, 12, 0, 12))
        self.made: TrainSettings | None = None
        self._filling = False
        self._fill()
        self.preset.param.watch(lambda _: self._fill(), "value")
        for field in self.fields.values():
            # ``value_input`` follows each key, ``value`` what is pasted by a program.
            field.param.watch(lambda *_: self._check(), ["value_input", "value"])
        state.param.watch(lambda *_: self._check(), ["theme", "system_dark"])
        self.button.on_click(self._on_click)
        self._view = pn.Column(
            self._title,
            self.preset,
            *self.fields.values(),
            self._verdict,
            self.button,
            sizing_mode="stretch_width",
            margin=(4, 0),
        )

    def texts(self) -> dict[str, str]:
        """Return what stands in the fields, by the name of the setting."""
        return {name: str(field.value_input if field.value_input is not None else "") for name, field in self.fields.items()}

    def _fill(self) -> None:
        """Write the preset's own settings into the fields."""
        self._filling = True
        for name, text in form.values(self._recipes[self.preset.value]).items():
            self.fields[name].param.update(value=text, value_input=text)
        self._filling = False
        self._check()

    def _check(self) -> None:
        """Say what the fields make, or what is wrong and where."""
        if self._filling:
            return
        theme = self._state.colours
        self._title.object = html.title("Start a small run", theme)
        for field in self.fields.values():
            field.param.update(error_state=False)
        try:
            self.made = form.settings_of(self._recipes[self.preset.value], self.texts())
        except InvalidInputError as error:
            self.made = None
            self._mark(str(error))
            self._verdict.object = f'<div role="alert">{html.note(str(error), theme)}</div>'
        else:
            tokens = self.made.steps * self.made.batch_size * self.made.task.create().seq_len
            text = f"{self.made.steps:,} steps, {tokens / 1e6:,.2f} million tokens, on {self.made.task.name}."
            self._verdict.object = f'<div role="status">{html.note(text, theme)}</div>'
        self.button.disabled = self.made is None

    def _mark(self, message: str) -> None:
        """Mark the field that a refusal names."""
        for name, field in self.fields.items():
            named = message.partition(":")[0].removeprefix("TrainSettings.").partition("[")[0]
            if named and name.rpartition(".")[2] == named.rpartition(".")[2]:
                field.error_state = True

    def _on_click(self, _: Any) -> None:
        if self.made is not None:
            self._on_start(self.made)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view
