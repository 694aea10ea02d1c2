"""Algorithm 1 of Lee et al. 2026, hard eviction: the one forward for training, evaluation and looking.

    S <- 0
    for each window c of at most L tokens:
        h <- Embed(c)
        if nothing is asked in c:  repeat N times: h, S <- Blocks(h, S)          asleep
        else:                      h, S <- Blocks(h, S); answer from Head(h)     awake, one pass

h is thrown away after the window; S is what survives, so the gradient reaches the sleep passes only through S.
Axes: B example, T position, W vocabulary.
"""

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepkit.errors import refuse
from sleepkit.model import HybridLM, ModelState, PassView
from sleepkit.sleep.schedule import SleepConfig, Window, as_batch, schedule
from sleepkit.tasks import NOTHING_ASKED, PAD, Batch

Observer = Callable[[int, Window, PassView], None]


@dataclasses.dataclass(frozen=True)
class RolloutResult:
    """What a rollout gives.

    Attributes:
        state: fast weights after the last window.
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
) -> RolloutResult:
    """Run Algorithm 1 over a batch: sleep N passes over each window of context, answer in one pass.

    Differentiable through all windows and passes; wrap it in ``torch.no_grad()`` for evaluation.

    Args:
        model: the model.
        batch: examples of a task, or plain tokens [B, T] (everything is context then).
        sleep: N and L.
        trace: called after every pass with the window's number, the window and the ``PassView``.
        windows: the schedule, if it is known already (it must belong to this batch).
        state: fast weights to start from; empty if None.

    Raises:
        InvalidInputError: if the label block is longer than a window, or a token id is outside the vocabulary.
    """
    batch = as_batch(batch)
    _check_tokens(batch.tokens, model.config.vocab_size)
    if windows is None:
        windows = schedule(batch, sleep.window_len)
    if state is None:
        state = model.initial_state(batch.size)
    answered = []
    for number, window in enumerate(windows):
        observe = None if trace is None else _observer(trace, number, window)
        span = slice(window.start, window.stop)
        valid = batch.segment[:, span] != PAD if window.padded else None
        hidden = model.embed(batch.tokens[:, span])
        if not window.asleep:
            hidden, state = model.blocks(hidden, state, valid_BT=valid, observe=observe)
            answered.append((window, model.head(hidden)))
        elif observe is None:
            state = model.consolidate(hidden, state, sleep.n_passes, valid_BT=valid)
        else:
            _, state = model.blocks(hidden, state, sleep.n_passes, valid_BT=valid, observe=observe)
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


def _observer(trace: Observer, number: int, window: Window) -> Callable[[PassView], None]:
    return lambda view: trace(number, window, view)


def _check_tokens(tokens: Tensor, vocab_size: int) -> None:
    if tokens.device.type == "cpu" and tokens.numel():
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= vocab_size:
            refuse("tokens", f"must lie in the model's vocabulary [0, {vocab_size})", low if low < 0 else high)
