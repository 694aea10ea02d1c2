"""What the explorer shows, as values: the settings of one view and the requests they stand for. No Panel, no torch here."""

import dataclasses
from typing import Any, Literal, cast

import param

from sleepkit.plots import Theme
from sleepkit.ui.subject import Subject, count

N_PASSES_RANGE = (1, 16)
EXAMPLE_RANGE = (0, 255)
ASKED = ("model", "n_passes", "compare", "context", "window_len", "eviction", "depth", "example", "text")
LOOKED_AT = ("window", "sleep_pass", "layer", "attention_layer", "head", "answer", "view", "curve")
URL_NAMES = (*ASKED, *LOOKED_AT, "tab", "theme")
VIEWS = ["value", "change"]
CURVES = ["written", "norm", "spectrum"]
TABS = ["single", "side by side", "difference", "data"]
EVICTIONS = ["hard", "sliding"]
THEMES = [None, "light", "dark"]

Eviction = Literal["hard", "sliding"]


@dataclasses.dataclass(frozen=True)
class AccuracyRequest:
    """One evaluation on held-out examples: everything that changes what is counted.

    Attributes:
        model: name in the zoo.
        n_passes: N.
        context: length of the context, in the unit of the task's dial.
        window_len: L, tokens.
        eviction: what leaves the KV cache after sleep.
    """

    model: str
    n_passes: int
    context: int
    window_len: int
    eviction: Eviction

    def at(self, n_passes: int) -> "AccuracyRequest":
        """Return the same evaluation at another N."""
        return dataclasses.replace(self, n_passes=n_passes)


@dataclasses.dataclass(frozen=True)
class TraceRequest:
    """One example to trace: everything that changes what the model computes.

    Attributes:
        model: name in the zoo.
        n_passes: N.
        context: length of the context, in the unit of the task's dial.
        window_len: L, tokens.
        eviction: what leaves the KV cache after sleep.
        depth: reasoning depth of every question, steps.
        example: index in the test split.
        text: the user's own example; "" for one of the test split.
    """

    model: str
    n_passes: int
    context: int
    window_len: int
    eviction: Eviction
    depth: int
    example: int
    text: str

    def at(self, n_passes: int) -> "TraceRequest":
        """Return the same example at another N."""
        return dataclasses.replace(self, n_passes=n_passes)

    @property
    def accuracy(self) -> AccuracyRequest:
        """Return the evaluation at the same settings."""
        return AccuracyRequest(self.model, self.n_passes, self.context, self.window_len, self.eviction)


class ExplorerState(param.Parameterized):
    """The settings of one view of the explorer.

    ``sleep_pass`` None stands for the last pass over the window, so that it follows N; ``layer`` and ``attention_layer`` None
    stand for the first layer with fast weights or attention, ``head`` None for all heads.
    """

    model = param.String(default="rule110-explorer", doc="Name of a model in the zoo.")
    n_passes = param.Integer(default=4, bounds=N_PASSES_RANGE, doc="N, passes over a window, reading included.")
    compare = param.Integer(default=1, bounds=N_PASSES_RANGE, doc="The N that N is compared with.")
    context = param.Integer(default=4, bounds=(1, 4096), doc="Length of the context, in the unit of the task's dial.")
    window_len = param.Integer(default=17, doc="L, tokens of a window.")
    eviction: Any = param.Selector(default="hard", objects=EVICTIONS, doc="What leaves the KV cache after sleep.")
    depth = param.Integer(default=4, doc="Reasoning depth of every question, steps.")
    example = param.Integer(default=0, bounds=EXAMPLE_RANGE, doc="Which held-out example.")
    text = param.String(default="", doc="The user's own example; empty for a held-out one.")
    window = param.Integer(default=0, doc="Window looked at.")
    sleep_pass = param.Integer(default=None, allow_None=True, doc="Pass looked at; the last one if None.")
    layer = param.Integer(default=None, allow_None=True, doc="Layer whose fast weights are shown.")
    attention_layer = param.Integer(default=None, allow_None=True, doc="Layer whose attention is shown.")
    head = param.Integer(default=None, allow_None=True, doc="Head looked at; all heads if None.")
    answer = param.Integer(default=0, doc="Question whose reasoning path is shown.")
    view: Any = param.Selector(default="value", objects=VIEWS, doc="Fast weights or their change in a pass.")
    curve: Any = param.Selector(default="written", objects=CURVES, doc="What is drawn beside the fast weights.")
    tab: Any = param.Selector(default="single", objects=TABS, doc="Which tab is open.")
    theme: Any = param.Selector(default=None, objects=THEMES, doc="Colours the visitor chose; None: those of the system.")
    system_dark = param.Boolean(default=False, doc="Whether the visitor's system prefers dark colours.")

    def trace_request(self) -> TraceRequest:
        """Return the trace these settings stand for."""
        return TraceRequest(
            model=self.model,
            n_passes=self.n_passes,
            context=self.context,
            window_len=self.window_len,
            eviction=self.eviction,
            depth=self.depth,
            example=self.example,
            text=self.text,
        )

    def adopt(self, subject: Subject) -> None:
        """Take over the settings a model was trained with, at the depth where sleeping pays most."""
        self.param.update(**opening_values(subject))

    def look_at(self, window: int, sleep_pass: int | None) -> None:
        """Move to a window and a pass over it."""
        self.param.update(window=window, sleep_pass=sleep_pass)

    @property
    def colours(self) -> Theme:
        """The theme in use, typed for the plots."""
        return cast(Theme, self.theme or ("dark" if self.system_dark else "light"))


def opening_values(subject: Subject) -> dict[str, Any]:
    """Return the settings a model is first shown with: those it was trained with, at the depth where sleeping pays most."""
    return {
        "model": subject.name,
        "n_passes": subject.n_passes,
        "compare": 1,
        "context": subject.context,
        "window_len": subject.window_len,
        "eviction": subject.eviction,
        "depth": subject.best_depth,
        "example": 0,
        "text": "",
        "window": 0,
        "sleep_pass": None,
        "layer": None,
        "attention_layer": None,
        "head": None,
        "answer": 0,
    }


def opening_request(subject: Subject) -> TraceRequest:
    """Return what a model shows first; its trace is bundled."""
    state = ExplorerState()
    state.adopt(subject)
    return state.trace_request()


def as_on_card(subject: Subject, request: AccuracyRequest) -> bool:
    """Return whether the card's accuracies were measured at this context length, window length and eviction."""
    own = (subject.context, subject.window_len, subject.eviction)
    return (request.context, request.window_len, request.eviction) == own


def lines_shown(subject: Subject, n_passes: int, compare: int) -> list[int]:
    """Return the N whose lines are drawn: no sleep, two passes, the model's own N, the most evaluated, this one, the compared."""
    known = subject.known_passes
    wanted = {1, 2, subject.n_passes, max(known), n_passes, compare}
    return [each for each in known if each in wanted]


def beyond_training(subject: Subject, request: TraceRequest) -> list[str]:
    """Return how the settings go beyond what the model was trained on, one phrase each; empty if they do not."""
    trained, phrases = subject.trained_passes, []
    if request.context != subject.context:
        phrases.append(f"{count(request.context, subject.dial.noun)} (trained on {subject.context})")
    if request.window_len != subject.window_len:
        phrases.append(f"windows of {count(request.window_len, 'token')} (trained on {subject.window_len})")
    if request.eviction != subject.eviction:
        phrases.append(f"{request.eviction} eviction (trained with {subject.eviction})")
    if request.n_passes not in trained:
        law = f"N = {trained[0]}" if len(trained) == 1 else f"N = {trained[0]} to {trained[-1]}"
        phrases.append(f"N = {request.n_passes} (trained with {law})")
    return phrases
