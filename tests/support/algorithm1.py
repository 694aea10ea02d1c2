"""Algorithm 1 of Lee et al. 2026, written from the paper with the public pieces of a model and nothing of sleepkit.sleep."""

from torch import Tensor

from sleepkit.model import HybridLM, ModelState


def algorithm_1(
    model: HybridLM, tokens_BT: Tensor, *, window_len: int, n_asked: int, n_passes: int
) -> tuple[Tensor | None, ModelState]:
    """Sleep on every window of the context, then answer the last ``n_asked`` positions in one pass."""
    state, context_len = model.initial_state(tokens_BT.shape[0]), tokens_BT.shape[1] - n_asked
    for window in tokens_BT[:, :context_len].split(window_len, dim=1):
        hidden = model.embed(window)
        for _ in range(n_passes):
            hidden, state = model.blocks(hidden, state)
    if not n_asked:
        return None, state
    hidden, state = model.blocks(model.embed(tokens_BT[:, context_len:]), state)
    return model.head(hidden), state
