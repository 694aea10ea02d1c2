"""Fast weights, token by token, straight from their definitions: the oracles every faster path is held against.

Axes: B batch, T token, H head, K key channel, V value channel.
"""

import torch
from torch import Tensor


def gated_delta_rule(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTH: Tensor,
    beta_BTH: Tensor,
    state_BHKV: Tensor,
    *,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Read T tokens one after the other, in the dtype of the state.

    S <- e^log_decay S;  u = beta (v - S^T k);  S <- S + k u^T;  out = scale S^T q   (arXiv 2412.06464; Lee et al. 2026, Eq. 3).
    """
    outputs = []
    state = state_BHKV
    for token in range(q_BTHK.shape[1]):
        q, k, v = q_BTHK[:, token], k_BTHK[:, token], v_BTHV[:, token]
        state = log_decay_BTH[:, token, :, None, None].exp() * state
        remembered = torch.einsum("bhkv,bhk->bhv", state, k)
        update = beta_BTH[:, token, :, None] * (v - remembered)
        state = state + torch.einsum("bhk,bhv->bhkv", k, update)
        outputs.append(scale * torch.einsum("bhkv,bhk->bhv", state, q))
    return torch.stack(outputs, dim=1), state


def gated_hebbian(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTH: Tensor,
    beta_BTH: Tensor,
    state_BHKV: Tensor,
    *,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Read T tokens one after the other, in the dtype of the state.

    S <- e^log_decay S + beta k v^T;  out = scale S^T q   (Lee et al. 2026, Eq. 3).
    """
    outputs = []
    state = state_BHKV
    for token in range(q_BTHK.shape[1]):
        q, k, v = q_BTHK[:, token], k_BTHK[:, token], v_BTHV[:, token]
        written = torch.einsum("bhk,bhv->bhkv", k, beta_BTH[:, token, :, None] * v)
        state = log_decay_BTH[:, token, :, None, None].exp() * state + written
        outputs.append(scale * torch.einsum("bhkv,bhk->bhv", state, q))
    return torch.stack(outputs, dim=1), state
