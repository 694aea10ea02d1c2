"""What a view needs to draw: one computed example and what is known about the model."""

import dataclasses
from collections.abc import Sequence

import xarray as xr

from sleepkit.errors import require
from sleepkit.plots import last_pass
from sleepkit.ui.state import ExplorerState, TraceRequest, as_on_card
from sleepkit.ui.subject import Subject, count


@dataclasses.dataclass(frozen=True)
class Picture:
    """One computed example.

    Attributes:
        request: what was asked for.
        compare: the N it is compared with.
        subject: the model.
        tree: the trace.
        other: the trace of the same example at the compared N.
        measured: accuracies measured at these settings, beside those of the card.
        missing: the N whose accuracies are still to be measured.
    """

    request: TraceRequest
    compare: int
    subject: Subject
    tree: xr.DataTree
    other: xr.DataTree
    measured: xr.Dataset | None = None
    missing: tuple[int, ...] = ()

    @property
    def both(self) -> list[tuple[int, xr.DataTree]]:
        """N and the compared N with their traces; one alone where they are the same."""
        known = {self.request.n_passes: self.tree, self.compare: self.other}
        return list(known.items())

    @property
    def counted(self) -> xr.Dataset | None:
        """Accuracies counted at the settings shown: measured now, and the card's if those are its settings; None: not yet."""
        own = as_on_card(self.subject, self.request.accuracy)
        parts = [data for data in (self.subject.accuracy if own else None, self.measured) if data is not None]
        return join_passes(parts) if parts else None

    @property
    def finding(self) -> str:
        """The two N at the depth where they differ most, counted at the settings shown; until that is measured, as trained."""
        counted, asked = self.counted, (self.request.n_passes, self.compare)
        known = [] if counted is None else counted.n_passes.values.tolist()
        if asked[0] in known:
            sentence, source = self.subject.finding(*asked, counted), "measured now"
        else:
            sentence, source = self.subject.finding(*asked), "as trained"
        on_card = as_on_card(self.subject, self.request.accuracy) and asked[0] in self.subject.known_passes
        return sentence if on_card else f"{source.capitalize()}: {sentence[0].lower()}{sentence[1:]}"

    @property
    def settings(self) -> str:
        """The settings of the example in one line, as a saved picture tells them."""
        asked = self.request
        source = "own example" if asked.text else f"held-out example {asked.example}"
        return (
            f"{self.subject.facts.name}, N = {asked.n_passes}, compared with N = {self.compare}, "
            f"{count(asked.context, self.subject.dial.noun)}, windows of {count(asked.window_len, 'token')}, "
            f"{asked.eviction} eviction, depth {asked.depth}, {source}"
        )

    @property
    def n_windows(self) -> int:
        """Windows of the example, the answering one included."""
        return int(self.tree["tokens"].sizes["window"])

    @property
    def n_answers(self) -> int:
        """Questions of the example."""
        return int(self.tree["answers"].sizes["answer"])

    @property
    def n_heads(self) -> int:
        """Heads of a layer with fast weights."""
        return int(self.tree["fast_weights"].sizes["head"])

    @property
    def layers(self) -> list[int]:
        """Layers with fast weights."""
        return _layers(self.tree, "fast_weights")

    @property
    def attention_layers(self) -> list[int]:
        """Layers with attention."""
        return _layers(self.tree, "attention")

    def moments(self) -> list[tuple[int, int]]:
        """Return every (window, pass) in the order of the model's way, from before the first window."""
        later = [(window, each) for window in range(self.n_windows) for each in range(1, last_pass(self.tree, window) + 1)]
        return [(0, 0), *later]

    def layer_shown(self, state: ExplorerState) -> int | None:
        """Return the layer whose fast weights a state looks at, None if the model has none."""
        return state.layer if state.layer is not None or not self.layers else self.layers[0]

    def attention_layer_shown(self, state: ExplorerState) -> int | None:
        """Return the layer whose attention a state looks at, None if the model has none."""
        chosen = state.attention_layer
        return chosen if chosen is not None or not self.attention_layers else self.attention_layers[0]

    def pass_shown(self, state: ExplorerState) -> int:
        """Return the pass a state looks at.

        Raises:
            InvalidInputError: if the example has no such window or pass.
        """
        last = last_pass(self.tree, state.window)
        shown = last if state.sleep_pass is None else int(state.sleep_pass)
        require(0 <= shown <= last, "sleep_pass", f"must be in [0, {last}] for window {state.window}", shown)
        return shown

    def check_view(self, state: ExplorerState) -> None:
        """Refuse a window, pass, layer, head or answer this example does not have.

        Raises:
            InvalidInputError: naming the first that is missing.
        """
        self.pass_shown(state)
        for name, value, known in (
            ("layer", state.layer, self.layers),
            ("attention_layer", state.attention_layer, self.attention_layers),
            ("head", state.head, range(self.n_heads)),
            ("answer", state.answer, range(self.n_answers)),
        ):
            require(value is None or value in known, name, f"must be one of {', '.join(map(str, known))}", value)


def join_passes(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return evaluations at several N, of the same depths, as one Dataset; floors and attributes are those of the first."""
    joined: xr.Dataset = xr.concat(
        parts,
        dim="n_passes",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="override",
    )
    return joined


def _layers(tree: xr.DataTree, group: str) -> list[int]:
    return [int(layer) for layer in tree[group].to_dataset()["layer"].values]
