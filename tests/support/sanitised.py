"""Runs the C kernels over many odd shapes, for a build that stops at the first access outside of memory.

    python -m tests.support.sanitised float 1      every case of a number type, from a seed
    python -m tests.support.sanitised float wrong  a call that reads and writes one number too many, which must stop the process

In a process of its own, with the sanitiser's library loaded first (tests/ops/test_sanitised.py).
"""

import itertools
import random
import sys
from collections.abc import Iterator

import torch
from torch import Tensor

from sleepkit import ops
from sleepkit.kernels import build, native
from sleepkit.model import HybridLM, ModelConfig
from sleepkit.model.passes import FASTEST

LENGTHS = (1, 2, 3, 5, 8, 15, 16, 17, 23, 24, 25, 39, 40, 41, 47, 48, 49, 63, 64, 65, 96, 97, 127, 128, 129, 130)


def pull(results: list[Tensor | None]) -> None:
    """Differentiate all that came out."""
    there = [result for result in results if result is not None and result.requires_grad]
    if there:
        torch.autograd.backward(there, [torch.randn_like(result) for result in there])


def leaf(*shape: int, dtype: torch.dtype, scale: float = 1.0) -> Tensor:
    """Draw a tensor that wants a gradient."""
    return (scale * torch.randn(shape, dtype=dtype)).requires_grad_()


def delta_rule(pick: random.Random, dtype: torch.dtype) -> None:
    """Run the operation with chunks of every length, decays of -inf among them."""
    batch, heads, seq_len = pick.choice((1, 1, 2, 3)), pick.choice((1, 1, 2, 3)), pick.choice(LENGTHS)
    keys, values = pick.randint(1, 70), pick.randint(1, 70)
    shape = (batch, seq_len, heads)
    decay = -torch.rand(shape, dtype=dtype)
    decay[torch.rand(shape) < pick.choice((0.0, 0.3))] = -float("inf")
    q, k = (leaf(*shape, keys, dtype=dtype, scale=keys**-0.5) for _ in range(2))
    v, state = leaf(*shape, values, dtype=dtype), leaf(batch, heads, keys, values, dtype=dtype)
    beta = torch.rand(shape, dtype=dtype).requires_grad_()
    inputs, chunk_len = (q, k, v, decay.requires_grad_(), beta, state), pick.choice((None, 1, 3, 16, 64))
    pull(list(native.gated_delta_rule(*inputs, scale=0.5, chunk_len=chunk_len)))
    with torch.no_grad():
        native.gated_delta_rule(*inputs, scale=0.5, chunk_len=chunk_len)


def rows(pick: random.Random, dtype: torch.dtype) -> None:
    """Run norms, gates, rotations, squares and convolutions of tokens."""
    batch, heads, seq_len = pick.randint(1, 4), pick.randint(1, 4), pick.choice(LENGTHS)
    dim, taps = 2 * pick.randint(1, 20), pick.randint(1, 5)
    x, gate = leaf(batch, seq_len, heads, dim, dtype=dtype), leaf(batch, seq_len, heads * dim, dtype=dtype)
    angles = ops.rotation(0, seq_len, head_dim=dim, base=1e4, dtype=dtype, device=torch.device("cpu"))
    channels = heads * dim + pick.randint(0, 3)
    wide, taps_EW = leaf(batch, seq_len, channels, dtype=dtype), leaf(channels, taps, dtype=dtype)
    tail = leaf(batch, taps - 1, channels, dtype=dtype) if pick.random() < 0.5 else None
    pull([ops.rms_norm(wide, leaf(channels, dtype=dtype), eps=1e-6), ops.relu_square(wide), ops.unit_length(x, eps=1e-6)])
    pull([ops.gated_rms_norm(x, gate, leaf(dim, dtype=dtype), eps=1e-6)])
    pull([ops.rotary_rms_norm(x, leaf(heads, dim, dtype=dtype), angles, eps=1e-6)])
    for silu in (False, True):
        pull([ops.short_conv(wide, taps_EW, tail, silu=silu)[0]])


def block(pick: random.Random, dtype: torch.dtype) -> None:
    """Run both kinds of blocks over whole windows, padded and not, written alone and whole."""
    heads = pick.choice((1, 1, 2, 3))
    model = HybridLM(
        ModelConfig(
            vocab_size=5,
            width=heads * 2 * pick.randint(1, 9),
            layers="attn gdn",
            n_heads=heads,
            key_dim=pick.randint(1, 20),
            value_dim=pick.randint(1, 20),
            conv_len=pick.randint(1, 5),
            mlp=pick.choice(("swiglu", "relu2")),
            mlp_ratio=pick.choice((1.0, 2.0, 3.3)),
            allow_negative_eigenvalues=pick.random() < 0.5,
        )
    ).to(dtype)
    batch, seq_len = pick.choice((1, 1, 2, 5, 17)), pick.choice((*LENGTHS, 255, 256) if pick.random() < 0.3 else LENGTHS[:12])
    valid = torch.rand(batch, seq_len) < 0.6 if pick.random() < 0.5 else None
    state = model.initial_state(batch).map(lambda layer: torch.randn_like(layer).requires_grad_())
    hidden = leaf(batch, seq_len, model.config.width, dtype=dtype)
    assert model._functions is FASTEST
    out = model.blocks(hidden, state, valid_BT=valid)
    pull([out.hidden, *out.state.fast_weights])
    pull([*model.consolidate(hidden, state, valid_BT=valid).fast_weights])
    with torch.no_grad():
        model.blocks(hidden, state, valid_BT=valid)


def cases(seed: int, n_rounds: int) -> Iterator[tuple[str, int]]:
    """Yield what to run, and the seed of each."""
    kinds = ("delta_rule", "delta_rule", "rows", "block", "block")
    yield from ((kind, 1000 * seed + number) for number, kind in enumerate(itertools.islice(itertools.cycle(kinds), n_rounds)))


def main(real: str, what: str, n_rounds: int = 150) -> None:
    """Run all cases of a number type, or the call that must be caught."""
    dtype = next(dtype for dtype, name in build.REALS.items() if name == real)
    library = build.library(real)
    if what == "wrong":
        x, y = torch.zeros(64, dtype=dtype), torch.zeros(64, dtype=dtype)
        library.relu_square_forward(65, 1, x.data_ptr(), y.data_ptr())
        print("not caught")
        return
    run = {"delta_rule": delta_rule, "rows": rows, "block": block}
    n_done = 0
    for kind, seed in cases(int(what), n_rounds):
        pick = random.Random(seed)
        torch.manual_seed(seed)
        torch.set_num_threads(pick.choice((1, 1, 1, 2)))
        print(f"{kind} {seed}", flush=True)
        run[kind](pick, dtype)
        n_done += 1
    print(f"{n_done} cases, none outside of memory")


if __name__ == "__main__":
    main(*sys.argv[1:3])
