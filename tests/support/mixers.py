"""Fast-weight mixers once more, token by token from their equations, with the weights of a module and none of its code."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepkit.model.gated_delta_net import GatedDeltaNet


def read_token_by_token(
    mixer: GatedDeltaNet, kind: str, x_BTE: Tensor, state_BHKV: Tensor, tail_BWE: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return what a mixer of a kind ("gdn", "jet", "mamba2") makes of normed tokens, [B, T, E], and its fast weights.

    ``tail_BWE`` holds the inputs of the convolution before the first token; zeros if None.
    """
    values = mixer.n_heads * mixer.value_dim
    keys = (mixer.qkv.out_features - values) // 2
    projected = F.linear(x_BTE, mixer.qkv.weight)
    if kind == "jet":
        taps = F.linear(F.silu(F.linear(x_BTE, mixer.taps.down.weight)), mixer.taps.up.weight, mixer.taps.up.bias)
        made = _convolved(projected[..., 2 * keys :], taps.unflatten(-1, (values, -1)), tail_BWE)
        mixed = F.silu(torch.cat([projected[..., : 2 * keys], made], dim=-1))
    else:
        mixed = F.silu(_convolved(projected, mixer.conv.expand(*projected.shape, -1), tail_BWE))
    query, key = (part.unflatten(-1, (-1, mixer.key_dim)) for part in mixed[..., : 2 * keys].chunk(2, dim=-1))
    query, key = (part / (part.square().sum(-1, keepdim=True) + 1e-6).sqrt() for part in (query, key))
    group = mixer.n_heads // query.shape[2]
    value = mixed[..., 2 * keys :].unflatten(-1, (mixer.n_heads, mixer.value_dim))
    step, strength = F.linear(x_BTE, mixer.decay_and_beta.weight).chunk(2, dim=-1)
    alpha = torch.exp(-mixer.A_log.exp() * F.softplus(step + mixer.dt_bias))
    beta = mixer.beta_scale * torch.sigmoid(strength)
    gate = F.silu(F.linear(x_BTE, mixer.gate.weight))
    outputs, state = [], state_BHKV
    for t in range(x_BTE.shape[1]):
        q, k = (torch.stack([part[:, t, head // group] for head in range(mixer.n_heads)], dim=1) for part in (query, key))
        state = alpha[:, t, :, None, None] * state
        found = 0 if kind == "mamba2" else (state * k[..., None]).sum(2)
        state = state + k[..., None] * (beta[:, t, :, None] * (value[:, t] - found))[:, :, None]
        read = mixer.key_dim**-0.5 * (state * q[..., None]).sum(2)
        normed = read / (read.square().mean(-1, keepdim=True) + mixer.norm.eps).sqrt() * mixer.norm.weight
        outputs.append(F.linear(normed.flatten(1) * gate[:, t], mixer.out.weight))
    return torch.stack(outputs, dim=1), state


def tail_after(mixer: GatedDeltaNet, x_BTE: Tensor, tail_BWE: Tensor | None) -> Tensor:
    """Return the last inputs of a mixer's convolution after it read the tokens."""
    inputs = F.linear(x_BTE, mixer.qkv.weight)[..., -mixer.conv_channels :]
    n_tail = mixer.conv_len - 1
    before = inputs.new_zeros(inputs.shape[0], n_tail, inputs.shape[2]) if tail_BWE is None else tail_BWE
    return torch.cat([before, inputs], dim=1)[:, inputs.shape[1] :]


def _convolved(x_BTE: Tensor, taps_BTEW: Tensor, tail_BWE: Tensor | None) -> Tensor:
    """y_t = sum_i taps_(t, i) x_(t - W + 1 + i)."""
    n_taps = taps_BTEW.shape[-1]
    before = x_BTE.new_zeros(x_BTE.shape[0], n_taps - 1, x_BTE.shape[2]) if tail_BWE is None else tail_BWE
    seen = torch.cat([before, x_BTE], dim=1).unfold(1, n_taps, 1)
    return (seen * taps_BTEW).sum(-1)
