"""What the Triton kernels compile to, for a GPU that need not be there: registers, spills, shared memory."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sleepkit.kernels.triton_conv import BLOCK_E, conv_tokens
from sleepkit.kernels.triton_delta import ADDED, ADDING_WARPS, BLOCK_V, LAUNCHES, Launch
from sleepkit.kernels.triton_norm import norm_rows

TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
_PER_VALUE = ("q", "k", "v", "out", "x", "gate", "weight", "tail")
# Arguments that are 1 in nearly every call, which triton then makes constants.
_ONES = ("group", "s_ah", "s_bh")
_ALIGNED_STRIDES = ("qb", "qt", "qh", "kb", "kt", "kh", "vb", "vt", "vh", "xb", "xt", "xh", "gb", "gt", "part")


class Variant(NamedTuple):
    """One kernel with its compile-time sizes.

    Attributes:
        module: where it is, in sleepkit.kernels.device.
        kernel: its name there.
        dtype: of the values.
        sizes: the compile-time arguments.
        warps: a program.
        stages: of its loads.
    """

    module: str
    kernel: str
    dtype: torch.dtype
    sizes: dict[str, Any]
    warps: int
    stages: int = 1

    @property
    def name(self) -> str:
        """The variant as it is printed."""
        sizes = " ".join(f"{key}={value}" for key, value in self.sizes.items())
        return f"{self.module}.{self.kernel} {TYPES[self.dtype]} {sizes} warps={self.warps}"


class Usage(NamedTuple):
    """What a compiled kernel takes.

    Attributes:
        registers: a thread.
        spilled_bytes: a thread: what did not fit into registers.
        shared_bytes: a program.
        uses_warp_groups: whether it holds Hopper's warp-group products.
    """

    registers: int
    spilled_bytes: int
    shared_bytes: int
    uses_warp_groups: bool


def variants() -> Iterator[Variant]:
    """Yield every kernel of the launch tables, with the cases that change its code."""
    for (keys, n_bytes), row in LAUNCHES.items():
        dtype = torch.float32 if n_bytes == 4 else torch.bfloat16
        for raw in (False, True):
            yield _delta("forward", keys, dtype, row.forward, RAW=raw)
            for sweep in {row.backward.chunk < 32, True}:
                for blocks in sorted({1, max(1, keys // BLOCK_V)}):
                    yield _delta("backward", keys, dtype, row.backward, RAW=raw, SWEEP=sweep, BLOCKS=blocks)
            step = _channels(keys) | {"MASKED": False, "RAW": raw, "DELTA": True}
            yield Variant("delta", "step", dtype, step, row.forward.warps)
        yield Variant("delta", "add_parts", dtype, {"K": keys, "BLOCK": ADDED}, ADDING_WARPS)
    small, usual = LAUNCHES[16, 2], LAUNCHES[64, 2]
    yield _delta("forward", 64, torch.bfloat16, usual.forward, MASKED=True)
    yield _delta("forward", 16, torch.bfloat16, small.forward, n_heads=1, s_at=1, s_bt=1)
    yield _delta("backward", 16, torch.bfloat16, small.backward, SWEEP=True, BLOCKS=1, n_heads=1, s_at=1)
    yield _delta("backward", 64, torch.float16, usual.backward, MASKED=True, SWEEP=True, BLOCKS=2)
    yield _delta("forward", 64, torch.bfloat16, usual.forward, RAW=True, DELTA=False)
    yield _delta("backward", 64, torch.bfloat16, usual.backward, RAW=True, DELTA=False, SWEEP=True, BLOCKS=2)
    for dtype in (torch.float32, torch.bfloat16):
        conv = {"TAPS": 4, "BE": BLOCK_E, "BT": conv_tokens(64, 4), "SILU": True, "TAIL": True}
        for kernel in ("forward", "backward"):
            for dynamic in (False, True):
                yield Variant("conv", kernel, dtype, conv | {"DYNAMIC": dynamic}, 4)
        for channels in (64, 256):
            norm = {"V": channels, "BV": channels, "ROWS": norm_rows(channels)}
            for kernel in ("forward", "backward"):
                yield Variant("norm", kernel, dtype, norm, 4)


def usage(variant: Variant, *, capability: int) -> Usage:
    """Compile a variant for compute capability 80 or 90 and say what it takes."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = _kernel(variant)
    names = list(kernel.arg_names)
    signature = {name: _type(name, variant) for name in names}
    attributes = {(index,): [["tt.divisibility", 16]] for index, name in enumerate(names) if _is_aligned(name)}
    constants = {(names.index(name),): value for name, value in variant.sizes.items()}
    constants |= {(names.index(name),): 1 for name in _ONES if name in names}
    source = ASTSource(kernel, signature, constexprs=constants, attrs=attributes)
    options = {"num_warps": variant.warps, "num_stages": variant.stages}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    registers, spilled = _resources(compiled.asm["cubin"])
    return Usage(registers, spilled, compiled.metadata.shared, "wgmma" in compiled.asm["ptx"])


def _delta(kernel: str, keys: int, dtype: torch.dtype, launch: Launch, **sizes: Any) -> Variant:
    usual = {"C": launch.chunk, "MASKED": False, "RAW": False, "DELTA": True, "PRECISION": "tf32x3"}
    return Variant("delta", kernel, dtype, _channels(keys) | usual | sizes, launch.warps, launch.stages)


def _channels(keys: int) -> dict[str, Any]:
    return {"K": keys, "V": keys, "BK": keys, "BV": min(BLOCK_V, keys)}


def _kernel(variant: Variant) -> Any:
    import importlib

    return getattr(importlib.import_module(f"sleepkit.kernels.device.{variant.module}"), variant.kernel)


def _type(name: str, variant: Variant) -> str:
    if name in variant.sizes or name in _ONES:
        return "constexpr"
    if name in ("scale", "beta_scale", "eps"):
        return "fp32"
    if not name.startswith("p_"):
        return "i32"
    if name == "p_valid":
        return "*u8" if variant.sizes.get("MASKED") else f"*{TYPES[variant.dtype]}"
    value = name.removeprefix("p_").removeprefix("d_")
    if name == "p_d_weight" and not variant.sizes.get("DYNAMIC"):
        return "*fp32"
    return f"*{TYPES[variant.dtype]}" if value in _PER_VALUE else "*fp32"


def _is_aligned(name: str) -> bool:
    return name.startswith("p_") or name.removeprefix("s_") in _ALIGNED_STRIDES


def _resources(cubin: bytes) -> tuple[int, int]:
    """Return registers and stack bytes a thread, by the tool that comes with triton."""
    import triton

    tool = Path(str(triton.__file__)).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(tool), "--dump-resource-usage", file.name]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {key: int(value) for key, value in re.findall(r"(REG|STACK):(\d+)", printed)}
    return found["REG"], found["STACK"]
