"""What the explorer shows, as values: the settings of one view and the requests they stand for. No Panel here."""

import dataclasses
from typing import Any, Literal, cast

import param

from sleepkit.errors import require
from sleepkit.plots import Theme
from sleepkit.sleep import SleepConfig
from sleepkit.tasks import Rule110, Task, create
from sleepkit.zoo import Card

N_PASSES_RANGE = (1, 8)
N_STRINGS_RANGE = (1, 8)
EXAMPLE_RANGE = (0, 255)
URL_NAMES = (
    "n_passes",
    "n_strings",
    "window_len",
    "depth",
    "example",
    "window",
    "sleep_pass",
    "layer",
    "attention_layer",
    "view",
)

View = Literal["value", "change"]


@dataclasses.dataclass(frozen=True)
class TraceRequest:
    """One example to trace: everything that changes what the model computes.

    Attributes:
        model: name in the zoo.
        n_passes: N.
        n_strings: strings of the context.
        window_len: L, tokens.
        depth: reasoning depth of every string, steps.
        example: index in the test split.
    """

    model: str
    n_passes: int
    n_strings: int
    window_len: int
    depth: int
    example: int

    def at(self, n_passes: int) -> "TraceRequest":
        """Return the same example at another N."""
        return dataclasses.replace(self, n_passes=n_passes)


@dataclasses.dataclass(frozen=True)
class AccuracyRequest:
    """One evaluation on held-out strings: N, context length and window length.

    Attributes:
        model: name in the zoo.
        n_passes: N.
        n_strings: strings of the context.
        window_len: L, tokens.
    """

    model: str
    n_passes: int
    n_strings: int
    window_len: int


class ExplorerState(param.Parameterized):
    """The settings of one view of the explorer.

    ``sleep_pass`` None stands for the last pass over the window, so that it follows N; ``layer`` and
    ``attention_layer`` None stand for the first layer with fast weights or attention.
    """

    model = param.String(default="rule110-explorer", doc="Name of a model in the zoo.")
    n_passes = param.Integer(default=4, bounds=N_PASSES_RANGE, doc="N, passes over a window, reading included.")
    n_strings = param.Integer(default=4, bounds=N_STRINGS_RANGE, doc="Strings in the context.")
    window_len = param.Integer(default=17, doc="L, tokens of a window.")
    depth = param.Integer(default=4, doc="Reasoning depth asked of every string, steps.")
    example = param.Integer(default=0, bounds=EXAMPLE_RANGE, doc="Which example of the held-out strings.")
    window = param.Integer(default=0, doc="Window looked at.")
    sleep_pass = param.Integer(default=None, allow_None=True, doc="Pass looked at; the last one if None.")
    layer = param.Integer(default=None, allow_None=True, doc="Layer whose fast weights are shown.")
    attention_layer = param.Integer(default=None, allow_None=True, doc="Layer whose attention is shown.")
    view: Any = param.Selector(default="value", objects=["value", "change"], doc="Fast weights or their change in a pass.")
    theme: Any = param.Selector(default="light", objects=["light", "dark"], doc="Colours.")

    def trace_request(self) -> TraceRequest:
        """Return the trace these settings stand for."""
        return TraceRequest(
            model=self.model,
            n_passes=self.n_passes,
            n_strings=self.n_strings,
            window_len=self.window_len,
            depth=self.depth,
            example=self.example,
        )

    def adopt(self, card: Card) -> None:
        """Take over the settings a model was trained with, at the depth where sleeping pays most."""
        task = explorable(card)
        self.param.update(
            model=card.name,
            n_passes=card.sleep.n_passes,
            n_strings=task.config.n_strings,
            window_len=card.sleep.window_len,
            depth=depth_of_largest_gain(card),
            example=0,
            window=0,
            sleep_pass=None,
            layer=None,
            attention_layer=None,
        )

    def look_at(self, window: int, sleep_pass: int | None) -> None:
        """Move to a window and a pass over it."""
        self.param.update(window=window, sleep_pass=sleep_pass)

    @property
    def colours(self) -> Theme:
        """The theme, typed for the plots."""
        return cast(Theme, self.theme)


def explorable(card: Card) -> Rule110:
    """Return the task of a card if the explorer can show it.

    Raises:
        InvalidInputError: if the model was not trained on Rule 110 with several depths.
    """
    mixed = isinstance(card.task, Rule110) and card.task.config.mixed
    require(mixed, "model", "must be trained on Rule 110 with a list of depths", card.name)
    return cast(Rule110, card.task)


def task_at(card: Card, *, n_strings: int, depth: int | None = None) -> Task:
    """Return a card's task at another context length, with every string at one depth (all depths if None).

    Raises:
        InvalidInputError: if the model does not know the depth or the context length is impossible.
    """
    config = explorable(card).config
    options: dict[str, Any] = {**config.to_dict(), "n_strings": n_strings, "depth_weights": None}
    if depth is not None:
        require(depth in config.depths, "depth", f"must be one of {', '.join(map(str, config.depths))}", depth)
        # One-hot weights keep the vocabulary, and with it the model, as they are.
        options["depth_weights"] = [float(known == depth) for known in config.depths]
    return create("rule110", **options)


def depth_of_largest_gain(card: Card) -> int:
    """Return the depth at which the card's own N beats N = 1 by most; the first one if N = 1 was not evaluated."""
    accuracy = card.accuracy.accuracy
    if not {1, card.sleep.n_passes} <= set(accuracy.n_passes.values.tolist()):
        return int(accuracy.depth[0])
    gain = accuracy.sel(n_passes=card.sleep.n_passes) - accuracy.sel(n_passes=1)
    return int(gain.depth[int(gain.argmax("depth"))])


def on_card(card: Card, request: TraceRequest) -> bool:
    """Return whether the card's accuracy was measured at these settings."""
    same = (request.n_strings, request.window_len) == (explorable(card).config.n_strings, card.sleep.window_len)
    return same and request.n_passes in card.accuracy.n_passes.values


def lines_shown(card: Card, n_passes: int) -> list[int]:
    """Return the N whose lines are drawn: no sleep, two passes, the model's own N, the most evaluated, and this one."""
    known = card.accuracy.n_passes.values.tolist()
    wanted = {1, 2, card.sleep.n_passes, max(known), n_passes}
    return [each for each in known if each in wanted]


def beyond_training(card: Card, request: TraceRequest) -> list[str]:
    """Return how the settings go beyond what the model was trained on, one phrase each; empty if they do not."""
    trained_strings, trained_len = explorable(card).config.n_strings, card.sleep.window_len
    trained_n = trained_passes(card)
    phrases = []
    if request.n_strings != trained_strings:
        phrases.append(f"{_count(request.n_strings, 'string')} (trained on {trained_strings})")
    if request.window_len != trained_len:
        phrases.append(f"windows of {_count(request.window_len, 'token')} (trained on {trained_len})")
    if request.n_passes not in trained_n:
        phrases.append(f"N = {request.n_passes} (trained with N = {trained_n[0]} to {trained_n[-1]})")
    return phrases


def trained_on(card: Card) -> str:
    """Return the settings a model was trained with, in words."""
    n_strings, passes = explorable(card).config.n_strings, trained_passes(card)
    drawn = f"N = {passes[0]}" if len(passes) == 1 else f"N from {passes[0]} to {passes[-1]}"
    return f"As trained: {_count(n_strings, 'string')}, windows of {_count(card.sleep.window_len, 'token')}, {drawn}."


def trained_passes(card: Card) -> list[int]:
    """Return the N that training drew."""
    weights = card.settings.n_passes_weights
    if weights is None:
        return [card.sleep.n_passes]
    return [n_passes for n_passes, weight in enumerate(weights, start=1) if weight > 0]


def sleep_of(request: TraceRequest | AccuracyRequest) -> SleepConfig:
    """Return the settings of sleep of a request.

    Raises:
        InvalidInputError: if they are impossible.
    """
    return SleepConfig(n_passes=request.n_passes, window_len=request.window_len)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
