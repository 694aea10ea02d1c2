"""Algorithm 1 of Lee et al. 2026, hard or sliding eviction: the one forward for training, evaluation and looking.

    S <- 0
    for each window c of at most L tokens:
        h <- Embed(c)
        if nothing is asked in c:  repeat N times: h, S <- Blocks(h, S)          asleep
        else:                      h, S <- Blocks(h, S); answer from Head(h)     awake, one pass

h is thrown away after the window; S is what survives, so the gradient reaches the sleep passes only through S. Under sliding
eviction (sec. 6.4) keys and values of the newest L - 1 tokens survive besides and carry gradient as well (``model.sliding``).
Axes: B example, T position, W vocabulary.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple, ParamSpec, TypeVar, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepkit.errors import refuse, require, require_count
from sleepkit.model import BlocksOutput, HybridLM, ModelState, PassView
from sleepkit.model.passes import recomputed
from sleepkit.sleep.schedule import SleepConfig, Window, as_batch, schedule
from sleepkit.tasks import NOTHING_ASKED, PAD, Batch

Observer = Callable[[int, Window, PassView], None]
Checkpointing = Literal["none", "pass", "window"]
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True)
class RolloutResult:
    """What a rollout gives.

    Attributes:
        state: what is left after the last window.
        loss: mean cross-entropy over the positions where something is asked, nats; None if nothing is.
        windows: the schedule that was run.
        answered: per answered window its logits [B, window, W].
        seq_len: T.
    """

    state: ModelState
    loss: Tensor | None
    windows: list[Window]
    answered: list[tuple[Window, Tensor]]
    seq_len: int

    @property
    def logits(self) -> Tensor:
        """Logits [B, T, W]; NaN at positions of windows that were slept on: nothing is predicted there.

        Raises:
            InvalidInputError: if nothing was asked.
        """
        if not self.answered:
            refuse("batch", "asks nothing, so there are no logits", 0)
        _, first = self.answered[0]
        full = first.new_full((first.shape[0], self.seq_len, first.shape[2]), float("nan"))
        for window, logits in self.answered:
            full[:, window.start : window.stop] = logits
        return full


def rollout(
    model: HybridLM,
    batch: Batch | Tensor,
    sleep: SleepConfig,
    *,
    trace: Observer | None = None,
    windows: list[Window] | None = None,
    state: ModelState | None = None,
    checkpointing: Checkpointing = "none",
    gradient_passes: int | None = None,
    gradient_windows: int | None = None,
) -> RolloutResult:
    """Run Algorithm 1 over a batch: sleep N passes over each window of context, answer in one pass.

    Differentiable through all windows and passes; wrap it in ``torch.no_grad()`` for evaluation. The last three arguments change
    what the backward costs, and never a value of the forward; an answered window always has its whole gradient.

    Args:
        model: the model.
        batch: examples of a task, or plain tokens [B, T] (everything is context then).
        sleep: N, L and eviction.
        trace: called after every pass with the window's number, the window and the ``PassView``.
        windows: the schedule, if it is known already (it must belong to this batch).
        state: what an earlier rollout left, to start from; empty if None. It must be of this model and of the same kind of
            eviction, and of the batch, or of one sequence, which is repeated: read once, ask many.
        checkpointing: what the forward keeps for the backward. "none" keeps the activations of every pass. "pass" keeps the
            residual stream and the fast weights before each pass and makes each pass once more in backward. "window" keeps the
            fast weights before each window; backward makes the window's passes once more, keeping for that time what "pass"
            keeps, and then each pass a third time. The gradient is the same, bit for bit.
        gradient_passes: k, gradient through the last k passes over each window slept on; None for all N. Earlier passes keep no
            graph: dropped are the gradients of embeddings and parameters there, and everything that reaches the kept passes
            through the residual stream. The fast weights' own recurrence stays, S <- A S + B with A and B held constant
            (``model.passes.carried``), so earlier windows keep theirs.
        gradient_windows: j, gradient through the last j windows slept on; None for all. Earlier windows keep no graph at all:
            the first of the j starts from fast weights (and carried keys and values) that count as constants, and so does
            ``state``.

    Raises:
        InvalidInputError: if the label block is longer than a window, a token id is outside the vocabulary, k or j is neither
            None nor a positive integer, a trace is asked for together with one of the last three, or the state is of another
            model, batch or eviction.
    """
    batch = as_batch(batch)
    _check_tokens(batch.tokens, model.config.vocab_size)
    _check_backward(trace, checkpointing, gradient_passes, gradient_windows)
    if windows is None:
        windows = schedule(batch, sleep.window_len)
    if state is None:
        state = model.initial_state(batch.size, sliding_len=sleep.sliding_len)
    state = model.fitted_state(state, batch.size)
    given_len = None if state.sight is None else state.sight.sliding_len
    require(given_len == sleep.sliding_len, "state", f"must be of sliding_len {sleep.sliding_len}", given_len)
    silent = _without_gradient(windows, gradient_windows)
    recompute, call = checkpointing != "none", recomputed if checkpointing == "window" else _plainly
    answered = []
    for number, window in enumerate(windows):
        span = slice(window.start, window.stop)
        valid = batch.segment[:, span] != PAD if window.padded else None
        reading = _Reading(model, batch.tokens[:, span], valid, recompute, _observer(trace, number, window))
        if not window.asleep:
            logits, state = call(reading.answer, state)
            answered.append((window, logits))
        elif number in silent:
            with torch.no_grad():
                state = reading.sleep_on(state.detach(), sleep.n_passes, None)
            # Constants, but they want a gradient like those of later windows: compiled code would take them for another kind.
            state = state.map(lambda tensor: tensor.requires_grad_() if tensor.is_floating_point() else tensor)
        else:
            state = call(reading.sleep_on, state, sleep.n_passes, gradient_passes)
    return RolloutResult(state, _loss(batch, answered), windows, answered, batch.tokens.shape[1])


def predicted_answers(batch: Batch, result: RolloutResult) -> Tensor:
    """Return the most likely token at every asked position, [B, T] int64, -100 elsewhere."""
    predicted = torch.full_like(batch.targets, NOTHING_ASKED)
    for window, logits in result.answered:
        predicted[:, window.start : window.stop] = logits.argmax(dim=-1)
    return predicted.masked_fill(batch.targets == NOTHING_ASKED, NOTHING_ASKED)


def correct_answers(batch: Batch, result: RolloutResult) -> Tensor:
    """Return which answers are right as a whole, [B, A] bool: every token of the answer must be."""
    wrong = (predicted_answers(batch, result) != batch.targets) & (batch.answer_id >= 0)
    n_wrong = torch.zeros(batch.size, batch.n_answers, dtype=torch.int64, device=batch.tokens.device)
    return n_wrong.scatter_add(1, batch.answer_id.clamp(min=0), wrong.long()) == 0


def _loss(batch: Batch, answered: list[tuple[Window, Tensor]]) -> Tensor | None:
    if not answered:
        return None
    logits = torch.cat([logits for _, logits in answered], dim=1)
    targets = torch.cat([batch.targets[:, window.start : window.stop] for window, _ in answered], dim=1)
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(wide.flatten(0, 1), targets.flatten(), ignore_index=NOTHING_ASKED)


class _Reading(NamedTuple):
    """One window, and how it is to be read."""

    model: HybridLM
    tokens: Tensor
    valid: Tensor | None
    recompute: bool
    observe: Callable[[PassView], None] | None

    def answer(self, state: ModelState) -> tuple[Tensor, ModelState]:
        hidden, state = self._blocks(state, 1)
        return self.model.head(hidden), state

    def sleep_on(self, state: ModelState, n_passes: int, gradient_passes: int | None) -> ModelState:
        if self.observe is not None:
            return self._blocks(state, n_passes)[1]
        return self.model.consolidate(
            self.model.embed(self.tokens),
            state,
            n_passes,
            valid_BT=self.valid,
            recompute=self.recompute,
            gradient_passes=gradient_passes,
        )

    def _blocks(self, state: ModelState, n_passes: int) -> BlocksOutput:
        hidden = self.model.embed(self.tokens)
        return self.model.blocks(hidden, state, n_passes, valid_BT=self.valid, observe=self.observe, recompute=self.recompute)


def _plainly(function: Callable[_Arguments, _Result], *values: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
    return function(*values, **named)


def _without_gradient(windows: list[Window], gradient_windows: int | None) -> set[int]:
    """Return the numbers of the windows slept on before the last ``gradient_windows`` of them."""
    slept = [number for number, window in enumerate(windows) if window.asleep]
    return set() if gradient_windows is None or not torch.is_grad_enabled() else set(slept[:-gradient_windows])


def _observer(trace: Observer | None, number: int, window: Window) -> Callable[[PassView], None] | None:
    return None if trace is None else lambda view: trace(number, window, view)


def _check_backward(trace: Observer | None, checkpointing: str, gradient_passes: object, gradient_windows: object) -> None:
    known = get_args(Checkpointing)
    require(checkpointing in known, "checkpointing", f"must be one of {', '.join(map(repr, known))}", checkpointing)
    for name, value in (("gradient_passes", gradient_passes), ("gradient_windows", gradient_windows)):
        require_count(name, value, or_none=True)
        require(trace is None or value is None, name, "must be None where a trace is asked for", value)
    require(trace is None or checkpointing == "none", "checkpointing", "must be 'none' where a trace is asked for", checkpointing)


def _check_tokens(tokens: Tensor, vocab_size: int) -> None:
    if tokens.device.type == "cpu" and tokens.numel():
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= vocab_size:
            refuse("tokens", f"must lie in the model's vocabulary [0, {vocab_size})", low if low < 0 else high)
