"""What a view needs to draw: one computed example and what is known about the model."""

import dataclasses

import xarray as xr

from sleepkit.errors import require
from sleepkit.plots import last_pass
from sleepkit.ui.state import ExplorerState, TraceRequest
from sleepkit.ui.subject import Subject


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


def _layers(tree: xr.DataTree, group: str) -> list[int]:
    return [int(layer) for layer in tree[group].to_dataset()["layer"].values]
