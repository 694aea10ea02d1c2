"""Correctness of the kernels on a CUDA device, against fp64 and in the error budget of an independent evaluation.

Axes: B batch, T token, H head, K key channel, V value channel, E channel, W tap, C tokens of one chunk.
"""

import argparse
import concurrent.futures
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepkit import ops
from sleepkit.bench.measure import Figures, digits, guarded, unavailable
from sleepkit.errors import require

NAMES = ("q", "k", "v", "log_decay", "beta", "state")
PROJECTIONS = ("qk", "v", "gates", "state", "A_log", "dt_bias")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
# What is allowed: so many times the rms error of the independent evaluation, tensor by tensor.
FACTOR = 2.0
# A gradient of a few numbers has, as the dice fall, an error well off the usual one; so does the one it is held against.
FEW, FACTOR_OF_FEW = 16, 8.0
_CHUNK_LEN = 32
# Cases that the Hebbian write is checked in: it runs the same kernels, less the correction.
_HEBBIAN_CASES = 4
_LONGEST_CHECK_S = 150.0


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


class Subject(NamedTuple):
    """An operation with its inputs, and three ways to evaluate it.

    Attributes:
        inputs: as a caller gives them, by name; gradients are taken with respect to all of them.
        upstream: the gradients coming in, by the name of the output.
        exact: called with the inputs in fp64.
        budget: the independent evaluation, of the inputs as they are given.
        ours: likewise.
        valid: False marks positions at which results mean nothing, [B, T].
        by_token: names of the results that have such positions.
    """

    inputs: Mapping[str, Tensor]
    upstream: Mapping[str, Tensor]
    exact: Callable[..., Sequence[Tensor]]
    budget: Callable[..., Sequence[Tensor]]
    ours: Callable[..., Sequence[Tensor]]
    valid: Tensor | None = None
    by_token: tuple[str, ...] = ()


def check(subject: Subject) -> Figures:
    """Return the largest ratio of an error to what is allowed, tensor by tensor, and whether repeated runs gave the same bits."""
    exact = _run(subject, subject.exact, wide=torch.float64)
    budget = _run(subject, subject.budget)
    ours = _run(subject, subject.ours)
    poison(next(iter(subject.inputs.values())), count=len(exact))
    again = [_run(subject, subject.ours) for _ in range(2)]
    ratios = {}
    for name, truth in exact.items():
        size = truth.square().mean().sqrt().item()
        factor = FACTOR if truth.numel() >= FEW else FACTOR_OF_FEW
        allowed = factor * max(_error(budget[name], truth), 2.0**-23 * size)
        error = _error(ours[name], truth)
        ratios[name] = digits(error / max(allowed, 1e-300), 3) if error == error else float("inf")
    same = all(torch.equal(ours[name], other[name]) for other in again for name in exact)
    return {"passed": max(ratios.values()) <= 1 and same, "same_bits": same, "error_to_allowed": ratios}


def subjects(*, device: str) -> dict[str, Callable[[], Subject]]:
    """Return everything that is checked, by name; inputs are drawn when a subject is called."""
    found: dict[str, Callable[[], Subject]] = {}
    for name, dtype in DTYPES.items():
        for case in CASES:
            if name == "bf16" or case.keys == 64:
                found[f"{case.name} {name}"] = partial(delta, case, dtype, device=device)
                found[f"{case.name} {name}, from projections"] = partial(projections, case, dtype, device=device)
        for case in (*CASES[:_HEBBIAN_CASES], CASES[-1]):
            found[f"{case.name} {name}, Hebbian"] = partial(delta, case, dtype, device=device, corrected=False)
        for tokens, tail in ((1, True), (24, False), (75, True)):
            words = f"convolution L{tokens}{' after a tail' if tail else ''} {name}"
            for dynamic in (False, True):
                made = partial(convolution, dtype, device=device, tokens=tokens, tail=tail, dynamic=dynamic)
                found[f"{'dynamic' if dynamic else 'short'} {words}"] = made
        for channels in (64, 96, 256):
            found[f"gated norm V{channels} {name}"] = partial(norm, dtype, device=device, channels=channels)
    return found


def check_all(*, device: str, names: Iterable[str] = (), workers: int = 8) -> Iterator[tuple[str, Figures]]:
    """Check every subject, or those named, in processes of their own, and yield each verdict as it comes.

    Kernels compile side by side, and one that crashes or never ends leaves the others be.

    Args:
        device: "cuda", or "cpu" where kernels are interpreted.
        names: of ``subjects``; all of them if empty.
        workers: processes at a time.
    """
    chosen = list(names) or list(subjects(device=device))
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        asked = {pool.submit(_check_apart, name, device): name for name in chosen}
        for done in concurrent.futures.as_completed(asked):
            yield asked[done], done.result()


def _check_apart(name: str, device: str) -> Figures:
    command = [sys.executable, "-m", "sleepkit.bench.gpu_checks", name, "--device", device]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LONGEST_CHECK_S)
    except subprocess.TimeoutExpired:
        return unavailable(f"it did not end within {_LONGEST_CHECK_S:.0f} s")
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:]
        return unavailable(f"its process ended with status {done.returncode}: {' '.join(said)[:800]}")
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: list[str] | None = None) -> int:
    """Make one check and print its verdict as one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m sleepkit.bench.gpu_checks", description="One check of a kernel.")
    parser.add_argument("name", help="of the check")
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args(arguments)
    known = subjects(device=given.device)
    require(given.name in known, "name", f"must be one of {', '.join(known)}", given.name)
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    print(json.dumps(guarded(lambda: check(known[given.name]()))))
    return 0


def delta(case: Case, dtype: torch.dtype, *, device: str, corrected: bool = True) -> Subject:
    """Return the gated delta rule at a shape, or, not ``corrected``, the gated Hebbian write."""
    inputs, valid, upstream = make_inputs(case, dtype, device=device)
    operation = ops.gated_delta_rule if corrected else ops.gated_hebbian

    def by(impl: str) -> Callable[..., Sequence[Tensor]]:
        return lambda *leaves: operation(*leaves, valid_BT=valid, impl=impl)  # type: ignore[arg-type]

    def in_16_bit(*leaves: Tensor) -> Sequence[Tensor]:
        return rounded([x.float() for x in leaves], valid, dtype, corrected=corrected)

    return Subject(
        inputs=dict(zip(NAMES, inputs, strict=True)),
        upstream=dict(zip(("out", "after"), upstream, strict=True)),
        exact=by("reference"),
        budget=in_16_bit if dtype.itemsize == 2 else by("chunked"),
        ours=by("triton"),
        valid=valid,
        by_token=("out", "d_q"),
    )


def projections(case: Case, dtype: torch.dtype, *, device: str) -> Subject:
    """Return the gated delta rule from a layer's projections, activations inside."""
    inputs, valid, upstream = make_projections(case, dtype, device=device)

    def by(impl: str) -> Callable[..., Sequence[Tensor]]:
        def run(*leaves: Tensor) -> Sequence[Tensor]:
            rates = {"A_log_H": leaves[4], "dt_bias_H": leaves[5]}
            return ops.gated_delta_from_projections(*leaves[:4], **rates, valid_BT=valid, impl=impl)  # type: ignore[arg-type]

        return run

    def activated(qk: Tensor, v: Tensor, gates: Tensor, state: Tensor, A_log: Tensor, dt_bias: Tensor) -> Sequence[Tensor]:
        qk, v, gates = qk.float(), v.float(), gates.float()
        made = ops.activate(qk, gates, A_log_H=A_log, dt_bias_H=dt_bias, beta_scale=1.0, unit_eps=1e-6)
        return rounded([made.q, made.k, v, made.log_decay, made.beta, state], valid, dtype)

    return Subject(
        inputs=dict(zip(PROJECTIONS, inputs, strict=True)),
        upstream=dict(zip(("out", "after"), upstream, strict=True)),
        exact=by("reference"),
        budget=activated if dtype.itemsize == 2 else by("chunked"),
        ours=by("triton"),
        valid=valid,
        by_token=("out", "d_qk"),
    )


def convolution(dtype: torch.dtype, *, device: str, tokens: int = 24, tail: bool = False, dynamic: bool = False) -> Subject:
    """Return the short convolution with SiLU; its independent evaluation rounds inputs and results alone.

    Args:
        dtype: of inputs and outputs.
        device: where.
        tokens: of a sequence.
        tail: whether inputs before the first are given.
        dynamic: whether each token brings its own taps.
    """
    shape = (16, tokens, 96)
    x, before, d_out = (_normal(shape, device), _normal((16, 3, 96), device), _normal((16, tokens, 96), device))
    taps = _normal((*shape, 4), device).to(dtype) if dynamic else _normal((96, 4), device)
    inputs = {"x": x.to(dtype), "taps": taps} | ({"tail": before.to(dtype)} if tail else {})

    def formula(x: Tensor, taps: Tensor, before: Tensor | None = None) -> Sequence[Tensor]:
        wide = torch.promote_types(x.dtype, torch.float32)
        padded = (F.pad(x, (0, 0, 3, 0)) if before is None else torch.cat([before, x], dim=1)).to(wide)
        y = torch.stack([padded[:, i : i + x.shape[1]] * taps[..., i].to(wide) for i in range(4)]).sum(0)
        return (F.silu(y).to(x.dtype),)

    def ours(x: Tensor, taps: Tensor, before: Tensor | None = None) -> Sequence[Tensor]:
        return (ops.dynamic_conv if dynamic else ops.short_conv)(x, taps, before, silu=True)[:1]

    return Subject(inputs, {"out": d_out.to(dtype)}, formula, formula, ours)


def norm(dtype: torch.dtype, *, device: str, channels: int = 64) -> Subject:
    """Return the gated norm; its independent evaluation rounds inputs and results alone."""
    shapes = ((16, 24, 4, channels), (16, 24, 4 * channels), (channels,), (16, 24, 4 * channels))
    x, gate, weight, d_out = (_normal(shape, device) for shape in shapes)

    def formula(x: Tensor, gate: Tensor, weight: Tensor) -> Sequence[Tensor]:
        wide = torch.promote_types(x.dtype, torch.float32)
        n = x.to(wide) * torch.rsqrt(x.to(wide).square().mean(-1, keepdim=True) + 1e-6) * weight.to(wide)
        return ((n.flatten(2) * F.silu(gate.to(wide))).to(x.dtype),)

    def ours(x: Tensor, gate: Tensor, weight: Tensor) -> Sequence[Tensor]:
        return (ops.gated_rms_norm(x, gate, weight, eps=1e-6),)

    inputs = {"x": x.to(dtype), "gate": gate.to(dtype), "weight": weight}
    return Subject(inputs, {"out": d_out.to(dtype)}, formula, formula, ours)


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


def make_projections(case: Case, dtype: torch.dtype, *, device: str) -> tuple[list[Tensor], Tensor | None, list[Tensor]]:
    """Draw what a layer projects, in a dtype, the state and its rates in fp32; a mask; the gradients coming in."""
    (q, k, v, *_, state), valid, upstream = make_inputs(case, dtype, device=device)
    qk = 3.0 * torch.cat([q, k], dim=2)
    gates = _normal((case.batch, case.tokens, 2 * case.heads), device).to(dtype)
    rates = [torch.linspace(low, high, case.heads, device=device) for low, high in ((-1.0, 2.0), (-7.0, -2.0))]
    return [qk, v, gates, state, *rates], valid, upstream


def _normal(shape: tuple[int, ...], device: str) -> Tensor:
    return torch.randn(shape, generator=torch.Generator(device).manual_seed(sum(shape)), device=device)


def _run(subject: Subject, evaluate: Callable[..., Sequence[Tensor]], *, wide: torch.dtype | None = None) -> dict[str, Tensor]:
    leaves = [(x if wide is None else x.to(wide)).detach().clone().requires_grad_() for x in subject.inputs.values()]
    outputs = evaluate(*leaves)
    given = [gradient.to(output.dtype) for gradient, output in zip(subject.upstream.values(), outputs, strict=True)]
    gradients = torch.autograd.grad(list(outputs), leaves, given)
    names = (*subject.upstream, *(f"d_{name}" for name in subject.inputs))
    results = dict(zip(names, (*(output.detach() for output in outputs), *gradients), strict=True))
    if subject.valid is not None:
        results |= {name: results[name] * subject.valid[..., None, None] for name in subject.by_token}
    return results


def rounded(
    inputs: Sequence[Tensor], valid: Tensor | None, dtype: torch.dtype, *, corrected: bool = True
) -> tuple[Tensor, Tensor]:
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
        out, state = _rounded_chunk(piece, state, dtype, corrected=corrected)
        outputs.append(out.transpose(1, 2))
    return torch.cat(outputs, dim=1).to(dtype), state


def _rounded_chunk(piece: list[Tensor], state: Tensor, dtype: torch.dtype, *, corrected: bool) -> tuple[Tensor, Tensor]:
    q, k, v, log_decay, beta = piece

    def times(a: Tensor, b: Tensor) -> Tensor:
        return a.to(dtype).float() @ b.to(dtype).float()

    total = log_decay.double().cumsum(-1)
    size = total.shape[-1]
    causal = torch.ones(size, size, dtype=torch.bool, device=q.device).tril()
    decay = (total[..., :, None] - total[..., None, :]).masked_fill(~causal, float("-inf")).float().exp()
    gamma, to_end, beta = total.float().exp()[..., None], decay[..., -1, :, None], beta[..., None]
    update = beta * v
    if corrected:
        solve = (beta * times(k, k.mT) * decay).tril(-1)
        update = torch.linalg.solve_triangular(solve, beta * (v - gamma * times(k, state)), upper=False, unitriangular=True)
    out = q.shape[-1] ** -0.5 * (gamma * times(q, state) + times(times(q, k.mT) * decay, update))
    return out, gamma[..., -1:, :] * state + times(k.mT, to_end * update)


def _error(actual: Tensor, exact: Tensor) -> float:
    return (actual.double() - exact.double()).square().mean().sqrt().item()


if __name__ == "__main__":
    sys.exit(main())
