"""Everything about the GPU kernels in one go: ``python -m sleepkit.bench.gpu --out FILE``, in under eight minutes on an H100.

Needs torch, triton, numpy and xarray alone. Each part stands by itself: what fails is reported with the reason, and the others go
on. Without a CUDA device the command says so and ends with status 2.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from sleepkit.bench import gpu_checks, gpu_timings, gpu_training
from sleepkit.bench.measure import Figures, digits, guarded
from sleepkit.files import whole_file
from sleepkit.ops import gpu
from sleepkit.ops.gpu import TRUST_VARIABLE
from sleepkit.results import provenance

_NO_DEVICE = 2
# An H100 moves this much; a copy says what this device does.
_COPY_RATE = 3.35e12
_DEADLINE_S = 450.0


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table, write the report; return the status of the process."""
    parser = argparse.ArgumentParser(prog="python -m sleepkit.bench.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the report, JSON")
    parser.add_argument(
        "--compiled", action="store_true", help="also compile the whole launch table and list what it takes (minutes)"
    )
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("sleepkit.bench.gpu: there is no CUDA device here", file=sys.stderr)
        return _NO_DEVICE
    report = measure(compiled=given.compiled)
    with whole_file(given.out) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n")
    print(f"written: {given.out}")
    return 0


def measure(*, compiled: bool = False) -> Figures:
    """Measure every part and print a line for each as it is done."""
    began = time.perf_counter()
    os.environ[TRUST_VARIABLE] = "1"  # the checks come first, and stand in the report
    torch.backends.cuda.matmul.allow_tf32 = False
    report: Figures = {**provenance()}
    ceilings = report["ceilings"] = _part("ceilings", gpu_timings.ceilings, began)
    report["checks"] = {}
    for name, verdict in gpu_checks.check_all(device="cuda", workers=min(12, os.cpu_count() or 1)):
        report["checks"][name] = verdict
        _say(f"checks: {name}", verdict, began)
    rate = ceilings.get("copy_bytes_per_s", _COPY_RATE)
    for section, parts in _sections(rate).items():
        report[section] = {}
        for name, part in parts.items():
            report[section][name] = _part(f"{section}: {name}", part, began)
    if compiled:
        report["compiled"] = guarded(lambda: {name: usage._asdict() for name, usage in gpu.compiled_kernels()})
    report["took_s"] = digits(time.perf_counter() - began)
    return report


def _sections(rate: float) -> dict[str, dict[str, Callable[[], Figures]]]:
    times = {case.name: partial(gpu_timings.delta, case, copy_rate=rate) for case in gpu_timings.SHAPES}
    times |= {
        f"{case.name}, from projections": partial(gpu_timings.projections, case, copy_rate=rate) for case in gpu_timings.SHAPES
    }
    times["short convolution"] = partial(gpu_timings.convolution, copy_rate=rate)
    times["dynamic convolution"] = partial(gpu_timings.dynamic_convolution, copy_rate=rate)
    times["gated norm"] = partial(gpu_timings.norm, copy_rate=rate)
    training = {f"fig2b N={n}": partial(gpu_training.throughput, gpu_training.paper_settings(n_passes=n)) for n in (1, 2, 4)}
    for n in (1, 2, 4):
        training[f"fig2b N={n}, CUDA graphs"] = partial(gpu_training.steady, gpu_training.paper_settings(n_passes=n))
    training["10 layers of 512, N=2"] = partial(gpu_training.throughput, gpu_training.deep_settings(n_passes=2))
    choices: dict[str, Callable[[], Figures]] = {
        f"{case.name} {direction}": partial(gpu_timings.launch_choices, case, direction)
        for case in (gpu_timings.SHAPES[0], gpu_timings.SHAPES[3])
        for direction in ("forward", "backward")
    }
    return {
        "times": {**times, "one token": gpu_timings.step},
        "training": {**training, "loss curve": gpu_training.curve},
        "launch choices": choices,
    }


def _part(name: str, part: Callable[[], Figures], began: float) -> Figures:
    elapsed = time.perf_counter() - began
    if elapsed > _DEADLINE_S:
        return {"unavailable": f"the {_DEADLINE_S:.0f} s of this command were over"}
    found = guarded(part)
    _say(name, found, began)
    return found


def _say(name: str, found: Figures, began: float) -> None:
    print(f"{time.perf_counter() - began:6.0f} s  {name:<60} {_line(found)}", flush=True)


def _line(found: Figures) -> str:
    """Return what is printed about a part: its verdict, its times, or why there is none."""
    if "unavailable" in found:
        return f"not measured: {found['unavailable']}"
    if "passed" in found:
        worst = max(found["error_to_allowed"].items(), key=lambda item: item[1])
        return f"{'right' if found['passed'] else 'WRONG'}  worst {worst[0]} {worst[1]:.2f}  same bits: {found['same_bits']}"
    if "forward" in found and "us" in found["forward"]:
        return "  ".join(_time(direction, found[direction]) for direction in ("forward", "forward_backward"))
    plain = {key: value for key, value in found.items() if isinstance(value, (int, float, str))}
    nested = {key: value for key, value in found.items() if isinstance(value, dict)}
    lines = [f"\n{'':>10}{key:<24} {_line(value)}" for key, value in nested.items()]
    return " ".join(f"{key}={value}" for key, value in plain.items()) + "".join(lines)


def _time(direction: str, part: Figures) -> str:
    graph = part["graph_us"].get("median", "-")
    return (
        f"{direction}: {part['us']['median']} us, graph {graph} us, floor {part['floor_us']} us, {len(part['launches'])} launches"
    )


if __name__ == "__main__":
    sys.exit(main())
