"""Correctness of the gated delta rule on a CUDA device, against fp64 and in the error budget of an independent evaluation.

Axes: B batch, T token, H head, K key channel, V value channel, C tokens of one chunk.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepkit import ops
from sleepkit.bench.measure import Figures, digits

NAMES = ("q", "k", "v", "log_decay", "beta", "state")
RESULTS = ("out", "after", *(f"d_{name}" for name in NAMES))
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
# What is allowed: so many times the rms error of the independent evaluation, tensor by tensor.
FACTOR = 2.0
_CHUNK_LEN = 32


class Case(NamedTuple):
    """One shape and what is special about its inputs."""

    batch: int
    heads: int
    tokens: int
    keys: int
    values: int
    group: int = 1
    decay: float = 1.0
    largest_beta: float = 1.0
    repeated_keys: bool = False
    padded: bool = False

    @property
    def name(self) -> str:
        """The case as it is printed."""
        special = [f"group{self.group}"] if self.group > 1 else []
        special += [name for name in ("repeated_keys", "padded") if getattr(self, name)]
        special += [f"decay{self.decay:g}"] if self.decay != 1 else []
        return " ".join([f"B{self.batch} H{self.heads} L{self.tokens} K{self.keys} V{self.values}", *special])


CASES = (
    Case(8, 4, 24, 64, 64),
    Case(8, 4, 64, 64, 64, repeated_keys=True, largest_beta=2.0, decay=0.1),
    Case(80, 4, 75, 64, 64),
    Case(4, 8, 75, 64, 64, padded=True),
    Case(4, 4, 33, 64, 64, group=2),
    Case(4, 4, 24, 64, 64, decay=20.0),
    Case(2, 2, 200, 128, 128, repeated_keys=True, decay=0.05),
    Case(2, 2, 40, 96, 256),
    Case(2, 2, 17, 16, 16),
    Case(8, 4, 1, 64, 64),
)


def check(case: Case, dtype: torch.dtype, *, device: str) -> Figures:
    """Return the largest ratio of an error to what is allowed, tensor by tensor, and whether repeated runs gave the same bits."""
    inputs, valid, upstream = make_inputs(case, dtype, device=device)
    exact = _run("reference", inputs, valid, upstream, wide=torch.float64)
    budget = _run("rounded" if dtype.itemsize == 2 else "chunked", inputs, valid, upstream, wide=torch.float32)
    ours = _run("triton", inputs, valid, upstream, wide=None)
    poison(inputs[2], count=len(RESULTS))
    again = [_run("triton", inputs, valid, upstream, wide=None) for _ in range(2)]
    ratios = {}
    for name in RESULTS:
        size = exact[name].square().mean().sqrt().item()
        allowed = FACTOR * max(_error(budget[name], exact[name]), 2.0**-23 * size)
        error = _error(ours[name], exact[name])
        ratios[name] = digits(error / max(allowed, 1e-300), 3) if error == error else float("inf")
    same = all(torch.equal(ours[name], other[name]) for other in again for name in RESULTS)
    return {"passed": max(ratios.values()) <= 1 and same, "same_bits": same, "error_to_allowed": ratios}


def poison(like: Tensor, *, count: int) -> None:
    """Fill freed memory with NaN, so that an output that is not written shows."""
    blocks = [
        torch.full((size,), float("nan"), device=like.device) for size in (like.numel(), 4 * like.numel()) for _ in range(count)
    ]
    del blocks


def make_inputs(case: Case, dtype: torch.dtype, *, device: str) -> tuple[list[Tensor], Tensor | None, list[Tensor]]:
    """Draw q, k, v in a dtype and log_decay, beta and the state in fp32; a mask; the gradients coming in."""
    generator = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    batch, heads, tokens, keys, values = case[:5]
    key = normal(batch, tokens, heads // case.group, keys)
    if case.repeated_keys:
        which = torch.randint(0, 3, (tokens,), generator=generator, device=device)
        key = normal(batch, 3, heads // case.group, keys)[:, which] + 1e-3 * key
    inputs = [
        F.normalize(normal(batch, tokens, heads // case.group, keys), dim=-1).to(dtype),
        F.normalize(key, dim=-1).to(dtype),
        normal(batch, tokens, heads, values).to(dtype),
        -case.decay * uniform(batch, tokens, heads) ** 2,
        case.largest_beta * uniform(batch, tokens, heads),
        normal(batch, heads, keys, values),
    ]
    valid = uniform(batch, tokens) < 0.6 if case.padded else None
    d_out = normal(batch, tokens, heads, values).to(dtype)
    if valid is not None:
        d_out = d_out * valid[..., None, None]
    return inputs, valid, [d_out, normal(batch, heads, keys, values)]


def _run(
    impl: str, inputs: list[Tensor], valid: Tensor | None, upstream: list[Tensor], *, wide: torch.dtype | None
) -> dict[str, Tensor]:
    leaves = [(x if wide is None else x.to(wide)).detach().clone().requires_grad_() for x in inputs]
    outputs: tuple[Tensor, ...]
    if impl == "rounded":
        outputs = rounded(leaves, valid, inputs[2].dtype)
    else:
        outputs = tuple(ops.gated_delta_rule(*leaves, valid_BT=valid, impl=impl))  # type: ignore[arg-type]
    given = [gradient.to(output.dtype) for gradient, output in zip(upstream, outputs, strict=True)]
    gradients = torch.autograd.grad(outputs, leaves, given)
    out = outputs[0] if valid is None else outputs[0] * valid[..., None, None]
    results = dict(zip(RESULTS, (out.detach(), outputs[1].detach(), *gradients), strict=True))
    if valid is not None:  # what is asked of a padded position means nothing
        results["d_q"] = results["d_q"] * valid[..., None, None]
    return results


def rounded(inputs: list[Tensor], valid: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Evaluate the chunked form with every operand of a product but the solve's rounded to 16 bits, by plain autograd.

    An evaluation written for nothing else: how wrong a careful kernel in this dtype has to be.
    """
    q, k, v, log_decay, beta, state = inputs
    if valid is not None:
        log_decay, beta = (x.masked_fill(~valid[..., None], 0.0) for x in (log_decay, beta))
    group = v.shape[2] // q.shape[2]
    q, k = (x.repeat_interleave(group, dim=2) for x in (q, k))
    outputs = []
    for start in range(0, v.shape[1], _CHUNK_LEN):
        piece = [x[:, start : start + _CHUNK_LEN].transpose(1, 2) for x in (q, k, v, log_decay, beta)]
        out, state = _rounded_chunk(piece, state, dtype)
        outputs.append(out.transpose(1, 2))
    return torch.cat(outputs, dim=1).to(dtype), state


def _rounded_chunk(piece: list[Tensor], state: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    q, k, v, log_decay, beta = piece

    def times(a: Tensor, b: Tensor) -> Tensor:
        return a.to(dtype).float() @ b.to(dtype).float()

    total = log_decay.double().cumsum(-1)
    size = total.shape[-1]
    causal = torch.ones(size, size, dtype=torch.bool, device=q.device).tril()
    decay = (total[..., :, None] - total[..., None, :]).masked_fill(~causal, float("-inf")).float().exp()
    gamma, to_end, beta = total.float().exp()[..., None], decay[..., -1, :, None], beta[..., None]
    solve = (beta * times(k, k.mT) * decay).tril(-1)
    update = torch.linalg.solve_triangular(solve, beta * (v - gamma * times(k, state)), upper=False, unitriangular=True)
    out = q.shape[-1] ** -0.5 * (gamma * times(q, state) + times(times(q, k.mT) * decay, update))
    return out, gamma[..., -1:, :] * state + times(k.mT, to_end * update)


def _error(actual: Tensor, exact: Tensor) -> float:
    return (actual.double() - exact.double()).square().mean().sqrt().item()
