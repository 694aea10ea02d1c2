"""Times of the operations on a CUDA device, with the bytes they have to move and the launches they make."""

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C._autograd import DeviceType

from sleepkit import ops
from sleepkit.bench.gpu_checks import Case, make_inputs, make_projections
from sleepkit.bench.measure import Figures, digits, guarded, spread, unavailable
from sleepkit.ops import gpu

SHAPES = (Case(512, 4, 24, 64, 64), Case(512, 4, 64, 64, 64), Case(128, 8, 75, 64, 64), Case(4, 16, 2048, 128, 128))
ROUNDS = 30
_WARMUPS = 3

Call = Callable[[], Any]


def ceilings() -> Figures:
    """Measure a copy too large for any cache and a large bf16 matrix product: bytes and FLOPs a second, the best round."""
    source = torch.ones(2**28, device="cuda")
    target = torch.empty_like(source)
    left, right = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    copy = min(seconds(lambda: target.copy_(source)))
    product = min(seconds(lambda: left @ right))
    return {
        "copy_bytes_per_s": digits(2 * source.nbytes / copy),
        "bf16_matmul_FLOP_per_s": digits(2 * 8192**3 / product),
        "device": torch.cuda.get_device_name(),
        "memory_bytes": torch.cuda.get_device_properties(0).total_memory,
    }


def seconds(call: Call, *, rounds: int = ROUNDS) -> list[float]:
    """Return the seconds of each of some calls, by the device's own clock."""
    for _ in range(_WARMUPS):
        call()
    marks = [(_mark(), _mark()) for _ in range(rounds)]
    for before, after in marks:
        before.record()
        call()
        after.record()
    torch.cuda.synchronize()
    return [before.elapsed_time(after) / 1e3 for before, after in marks]


def as_graph(call: Call) -> Call:
    """Return a call that replays what this one launches."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARMUPS):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def launches(call: Call) -> list[str]:
    """Return the names of what one call launches on the device."""
    call()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]) as seen:
        call()
        torch.cuda.synchronize()
    return [event.name for event in seen.events() or () if event.device_type == DeviceType.CUDA]


def measured(
    run: Callable[..., tuple[Tensor, ...]], inputs: list[Tensor], upstream: list[Tensor], *, copy_rate: float
) -> Figures:
    """Time an operation, forward alone and forward with backward, as called and as a CUDA graph.

    Args:
        run: inputs -> outputs.
        inputs: gradients are taken with respect to all of them.
        upstream: the gradients coming in.
        copy_rate: bytes a second of a large copy.
    """
    leaves = [x.detach().requires_grad_() for x in inputs]

    def forward() -> object:
        with torch.no_grad():
            return run(*leaves)

    def both() -> object:
        return torch.autograd.grad(run(*leaves), leaves, upstream)

    n_in, n_out = sum(x.nbytes for x in inputs), sum(x.nbytes for x in upstream)
    report: Figures = {}
    for name, call, n_bytes in (("forward", forward, n_in + n_out), ("forward_backward", both, 3 * n_in + 2 * n_out)):
        eager = spread(seconds(call), factor=1e6)
        part: Figures = {"us": eager, "bytes": n_bytes, "floor_us": digits(1e6 * n_bytes / copy_rate)}
        try:
            part["graph_us"] = spread(seconds(as_graph(call)), factor=1e6)
            part["share_of_floor"] = digits(part["floor_us"] / part["graph_us"]["median"], 3)
        except RuntimeError as error:
            part["graph_us"] = unavailable(str(error)[:300])
        part["launches"] = launches(call)
        report[name] = part
    return report


def delta(case: Case, *, copy_rate: float) -> Figures:
    """Time the gated delta rule in bf16: ours, the torch path, flash-linear-attention where it is installed."""
    inputs, _, upstream = make_inputs(case, torch.bfloat16, device="cuda")
    return {
        name: run if isinstance(run, dict) else guarded(functools.partial(measured, run, inputs, upstream, copy_rate=copy_rate))
        for name, run in _contenders().items()
    }


def projections(case: Case, *, copy_rate: float) -> Figures:
    """Time the gated delta rule from a layer's projections in bf16: activations inside the kernel, and before it."""
    inputs, _, upstream = make_projections(case, torch.bfloat16, device="cuda")

    def before(qk: Tensor, v: Tensor, gates: Tensor, state: Tensor, A_log: Tensor, dt_bias: Tensor) -> tuple[Tensor, ...]:
        made = ops.activate(qk, gates, A_log_H=A_log, dt_bias_H=dt_bias, beta_scale=1.0, unit_eps=1e-6)
        return ops.gated_delta_rule(made.q, made.k, v, made.log_decay, made.beta, state, impl="triton")

    return {
        name: guarded(functools.partial(measured, run, inputs, upstream, copy_rate=copy_rate))
        for name, run in (("inside", _inside), ("before", before))
    }


def launch_choices(case: Case, direction: Literal["forward", "backward"]) -> Figures:
    """Time the kernel from projections with other chunks and warps than the launch table's.

    Returns:
        Microseconds by "chunk x warps", best first.
    """
    inputs, _, upstream = make_projections(case, torch.bfloat16, device="cuda")
    leaves = [x.detach().requires_grad_() for x in inputs]
    found: Figures = {}
    for chunk, warps in ((16, 2), (16, 4), (16, 8), (32, 1), (32, 2), (32, 4), (32, 8)):
        with gpu.launched(key_dim=case.keys, dtype=torch.bfloat16, **{direction: (chunk, warps)}):
            if direction == "forward":
                with torch.no_grad():
                    took = seconds(lambda: _inside(*inputs))
            else:
                outputs = _inside(*leaves)
                took = seconds(functools.partial(torch.autograd.grad, outputs, leaves, upstream, retain_graph=True))
        found[f"{chunk} x {warps}"] = digits(1e6 * sorted(took)[len(took) // 2])
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _inside(qk: Tensor, v: Tensor, gates: Tensor, state: Tensor, A_log: Tensor, dt_bias: Tensor) -> tuple[Tensor, ...]:
    return ops.gated_delta_from_projections(qk, v, gates, state, A_log_H=A_log, dt_bias_H=dt_bias, impl="triton")


def convolution(*, copy_rate: float) -> Figures:
    """Time the short convolution with SiLU at the shape of the paper's small model, bf16."""
    x, weight = _normal(512, 24, 768), _normal(768, 4)
    return measured(
        lambda *given: (ops.short_conv(*given, silu=True)[0],), [x, weight], [_normal(512, 24, 768)], copy_rate=copy_rate
    )


def dynamic_convolution(*, copy_rate: float) -> Figures:
    """Time the convolution whose taps each token brings, with SiLU, at the shape of the paper's multi-hop model, bf16."""
    x, taps = _normal(128, 75, 512), _normal(128, 75, 512, 4)
    return measured(
        lambda *given: (ops.dynamic_conv(*given, silu=True)[0],), [x, taps], [_normal(128, 75, 512)], copy_rate=copy_rate
    )


def norm(*, copy_rate: float) -> Figures:
    """Time the gated norm at the same shape, against its formula."""
    inputs, upstream = [_normal(512, 24, 4, 64), _normal(512, 24, 256), _normal(64)], [_normal(512, 24, 256)]

    def formula(x: Tensor, gate: Tensor, weight: Tensor) -> tuple[Tensor]:
        return (F.rms_norm(x, (64,), weight, 1e-6).flatten(2) * F.silu(gate),)

    return {
        "ours": measured(lambda *given: (ops.gated_rms_norm(*given, eps=1e-6),), inputs, upstream, copy_rate=copy_rate),
        "formula": measured(formula, inputs, upstream, copy_rate=copy_rate),
    }


def step() -> Figures:
    """Time one token of streaming: state in, state out, no gradient."""
    inputs, _, _ = make_inputs(Case(1, 4, 1, 64, 64), torch.bfloat16, device="cuda")
    with torch.no_grad():
        return {"us": spread(seconds(lambda: ops.gated_delta_rule(*inputs, impl="triton")), factor=1e6)}


@contextlib.contextmanager
def peak_memory() -> Iterator[Figures]:
    """Yield figures that hold the largest memory held on the device once the block is left."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    figures: Figures = {}
    yield figures
    figures["peak_bytes"] = torch.cuda.max_memory_allocated()


def _mark() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def _contenders() -> dict[str, Any]:
    found: dict[str, Any] = {impl: functools.partial(ops.gated_delta_rule, impl=impl) for impl in ("triton", "chunked")}
    try:
        chunk_gated_delta_rule = importlib.import_module("fla.ops.gated_delta_rule").chunk_gated_delta_rule
    except ImportError as error:
        found["flash-linear-attention"] = unavailable(str(error))
        return found

    def fla(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v, log_decay, beta, state = inputs
        scale = q.shape[-1] ** -0.5
        out, after = chunk_gated_delta_rule(
            q, k, v, log_decay, beta.to(v.dtype), scale=scale, initial_state=state, output_final_state=True
        )
        return out, after

    found["flash-linear-attention"] = fla
    return found
