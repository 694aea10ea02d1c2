"""Algorithm 1 of Lee et al. 2026, written from the paper with the public pieces of a model and nothing of sleepkit.sleep."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sleepkit import ops
from sleepkit.model import HybridLM, ModelState
from tests.support.mixers import read_token_by_token, tail_after


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


def algorithm_1_by_hand(
    model: HybridLM, tokens_BT: Tensor, *, window_len: int, n_asked: int, n_passes: int
) -> tuple[Tensor, ModelState]:
    """Algorithm 1 layer by layer and token by token, with the ablations of the configuration and the model's weights.

    Attention and MLPs are called as modules.
    """
    config, weights = model.config, list(model.initial_state(tokens_BT.shape[0]).fast_weights)
    tails: list[Tensor | None] = [None] * config.n_layers

    def run(hidden: Tensor, start: int, stop: int) -> Tensor:
        for number in range(start, stop):
            block, kind = model.layers[number], config.layer_kinds[number]
            x = _normed(hidden, block.mixer_norm)
            if kind == "attn":
                angles = ops.rotation(
                    0, x.shape[1], head_dim=config.head_dim, base=config.rope_base, dtype=x.dtype, device=x.device
                )
                mixed = block.mixer(x, None, angles=angles)[0]
            else:
                before = tails[number] if config.carry_conv else None
                mixed, weights[number] = read_token_by_token(block.mixer, kind, x, weights[number], before)
                tails[number] = tail_after(block.mixer, x, before)
            hidden = hidden + mixed
            hidden = hidden + block.mlp(_normed(hidden, block.mlp_norm))
        return hidden

    def read(window: Tensor, passes: int) -> Tensor:
        start, stop = config.loop_span
        entered = hidden = run(model.embedding.weight[window], 0, start)
        for n_pass in range(1, passes + 1):
            if n_pass > 1 and config.loop_norm:
                hidden = _normed(hidden, model.loop_norm)
            if n_pass > 1 and config.input_injection:
                hidden = hidden + model.injection * entered
            hidden = run(hidden, start, stop)
        return run(hidden, stop, config.n_layers)

    context_len = tokens_BT.shape[1] - n_asked
    for window in tokens_BT[:, :context_len].split(window_len, dim=1):
        read(window, n_passes)
    logits = F.linear(_normed(read(tokens_BT[:, context_len:], 1), model.final_norm), model.projection.weight)
    return logits, ModelState(tuple(weights), conv_tails=tuple(tails) if config.carry_conv else ())


def _normed(hidden: Tensor, norm: nn.RMSNorm) -> Tensor:
    return hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + norm.eps) * norm.weight
