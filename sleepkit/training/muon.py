"""Muon with all matrices of one shape in one call (Jordan et al. 2024; scaled as in arXiv 2502.16982).

torch's own takes one matrix after the other, in bfloat16 wherever it runs; a CPU without instructions for bfloat16 then spends
as long on the update of a small model as on a pass over it. The state is that of ``torch.optim.Muon``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sleepkit.errors import require

_STEPS, _EPS = 5, 1e-7
_A, _B, _C = 3.4445, -4.775, 2.0315


class Muon(torch.optim.Optimizer):
    """B <- m B + (1 - m) G;  W <- (1 - lr decay) W - 0.2 lr sqrt(max(rows, columns)) NS((1 - m) G + m B).

    NS makes the singular values of a matrix nearly equal (``orthogonalised``); the factor gives the update the root mean square
    of an update of AdamW. The rate may be a tensor, which a CUDA graph reads anew at every launch.

    A parameter may hold several matrices one above the other (queries, keys and values of one projection). With ``rows`` each is
    made orthogonal by itself; a parameter without an entry there is one matrix.

    Raises:
        InvalidInputError: if a parameter is no matrix, its ``rows`` do not add up to its own, or a number is out of its range.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        *,
        lr: float | Tensor,
        weight_decay: float,
        momentum: float = 0.95,
        rows: Mapping[Tensor, Sequence[int]] | None = None,
    ) -> None:
        self.rows = {parameter: tuple(parts) for parameter, parts in (rows or {}).items()}
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with settings of their own."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            for name, high in (("lr", float("inf")), ("weight_decay", float("inf")), ("momentum", 1.0)):
                require(isinstance(group[name], int | float | Tensor), name, "must be a number", group[name])
                value = float(group[name])
                require(0 <= value < high, name, f"must be a number in [0, {high:g})", value)
            for parameter in group["params"]:
                require(parameter.ndim == 2, "params", "must be matrices (of two axes)", tuple(parameter.shape))
                parts = self.rows.get(parameter, parameter.shape[:1])
                whole = min(parts, default=0) > 0 and sum(parts) == parameter.shape[0]
                require(whole, "rows", f"must be above 0 and add up to {parameter.shape[0]}", parts)
        except ValueError:
            del self.param_groups[-1]
            raise

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor | float] | None = None) -> Tensor | float | None:  # type: ignore[override]
        """Update every matrix that has a gradient.

        Args:
            closure: computes the loss and its gradients; called first, if given.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[Any, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    key = (parameter.shape, parameter.dtype, parameter.device, self.rows.get(parameter))
                    alike.setdefault(key, []).append(parameter)
            for parameters in alike.values():
                self._update(parameters, group)
        return loss

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        buffers = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])
        parts = self.rows.get(parameters[0], parameters[0].shape[:1])
        updates = torch.cat(
            [_update_of(matrix, group["lr"]) for matrix in torch.split(torch.stack(list(ahead)), list(parts), dim=1)], dim=1
        )
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_sub_(parameters, updates.unbind())


def _update_of(matrices_NRC: Tensor, lr: float | Tensor) -> Tensor:
    rate = 0.2 * lr * max(matrices_NRC.shape[1:]) ** 0.5
    update: Tensor = orthogonalised(matrices_NRC).to(matrices_NRC.dtype) * rate
    return update


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
