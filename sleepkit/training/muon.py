"""Muon with all matrices of one shape in one call (Jordan et al. 2024; scaled as in arXiv 2502.16982).

torch's own takes one matrix after the other, in bfloat16 wherever it runs; a CPU without instructions for bfloat16 then spends
as long on the update of a small model as on a pass over it. The state is that of ``torch.optim.Muon``.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_STEPS, _EPS = 5, 1e-7
_A, _B, _C = 3.4445, -4.775, 2.0315


class Muon(torch.optim.Optimizer):
    """B <- m B + (1 - m) G;  W <- (1 - lr decay) W - 0.2 lr sqrt(max(rows, columns)) NS((1 - m) G + m B).

    NS makes the singular values of a matrix nearly equal (``orthogonalised``); the factor gives the update the root mean square
    of an update of AdamW. The rate may be a tensor, which a CUDA graph reads anew at every launch.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], *, lr: float | Tensor, weight_decay: float, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            alike: dict[Any, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault((parameter.shape, parameter.dtype, parameter.device), []).append(parameter)
            for parameters in alike.values():
                self._update(parameters, group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        buffers = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])
        rate = 0.2 * group["lr"] * max(parameters[0].shape) ** 0.5
        updates = orthogonalised(torch.stack(list(ahead))).to(parameters[0].dtype) * rate
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_sub_(parameters, updates.unbind())


def orthogonalised(matrices_NRC: Tensor) -> Tensor:
    """Return U S' V^T for each U S V^T, S' between about 0.7 and 1.2: five steps of X <- a X + (b X X^T + c (X X^T)^2) X.

    In bfloat16 on a GPU, in the dtype of the matrices on a CPU.
    """
    x = matrices_NRC.bfloat16() if matrices_NRC.is_cuda else matrices_NRC
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=_EPS)
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.mT if tall else x
