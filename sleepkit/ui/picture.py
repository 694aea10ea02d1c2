"""What a view needs to draw: one computed example and what is known about the model."""

import dataclasses

import xarray as xr

from sleepkit.errors import require
from sleepkit.plots import last_pass
from sleepkit.ui.state import AccuracyRequest, ExplorerState, TraceRequest
from sleepkit.zoo import Card


@dataclasses.dataclass(frozen=True)
class Picture:
    """One computed example.

    Attributes:
        request: what was asked for.
        card: the card of the model.
        tree: its trace.
        baseline: the trace of the same example at N = 1.
        measured: accuracies measured at these settings, if the card does not have them.
        waiting: True while they are being measured.
    """

    request: TraceRequest
    card: Card
    tree: xr.DataTree
    baseline: xr.DataTree
    measured: xr.Dataset | None = None
    waiting: bool = False

    @property
    def accuracy_request(self) -> AccuracyRequest:
        """The evaluation that belongs to this example."""
        request = self.request
        return AccuracyRequest(request.model, request.n_passes, request.n_strings, request.window_len)

    @property
    def n_windows(self) -> int:
        """Windows of the example, the answering one included."""
        return int(self.tree["tokens"].sizes["window"])

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
        """Refuse a window, pass or layer this example does not have.

        Raises:
            InvalidInputError: naming the first that is missing.
        """
        self.pass_shown(state)
        for name, value, known in (
            ("layer", state.layer, self.layers),
            ("attention_layer", state.attention_layer, self.attention_layers),
        ):
            require(value is None or value in known, name, f"must be one of {', '.join(map(str, known))}", value)


def _layers(tree: xr.DataTree, group: str) -> list[int]:
    return [int(layer) for layer in tree[group].to_dataset()["layer"].values]
