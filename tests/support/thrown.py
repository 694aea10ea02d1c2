"""Hands the operations and a model tensors and modules drawn at random, in a process of its own: a crash is a failure.

    python -m tests.support.thrown N_CASES [SEED]

Every case must give what plain tensors, or the modules, give, or be refused by InvalidInputError or an error of torch.
"""

import contextlib
import random
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from sleepkit import ops
from sleepkit.errors import SleepkitError
from sleepkit.model import HybridLM, ModelConfig
from sleepkit.model.passes import FASTEST, PLAIN

REFUSALS = (SleepkitError, RuntimeError, ValueError, TypeError, IndexError, AttributeError)
_TOLERANCE, _TOLERANCE_OF_16_BITS = 2e-3, 0.1


class Named(Tensor):
    """What someone may make of a tensor."""


def spread(draw: random.Random, x: Tensor) -> Tensor:
    """Lay the same numbers elsewhere: with gaps, turned, shifted, to be negated, as a parameter or a subclass."""
    ways: list[Callable[[Tensor], Tensor]] = [
        lambda x: x.repeat_interleave(2, dim=-1)[..., ::2],
        lambda x: x.repeat_interleave(3, dim=0)[::3],
        lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
        lambda x: torch.cat([x.new_zeros(3), x.flatten()])[3:].view(x.shape),
        lambda x: torch.complex(torch.zeros_like(x), -x).conj().imag if x.dtype in (torch.float32, torch.float64) else x,
        lambda x: nn.Parameter(x, requires_grad=draw.random() < 0.5),
        lambda x: x.as_subclass(Named),
        lambda x: x,
    ]
    return draw.choice(ways)(x)


def spoil(draw: random.Random, x: Tensor) -> Tensor:
    """Make something else of a tensor: another size, dtype, layout or place, or one entry repeated."""
    ways: list[Callable[[Tensor], Tensor]] = [
        lambda x: x[..., :-1],
        lambda x: torch.cat([x, x], dim=draw.randrange(x.ndim)),
        lambda x: x.narrow(draw.randrange(x.ndim), 0, 1).expand(x.shape),
        lambda x: x.flip(-1),
        lambda x: x.double(),
        lambda x: x.to(torch.bfloat16),
        lambda x: x.long(),
        lambda x: x.to_sparse(),
        lambda x: x.to("meta"),
        lambda x: x[None],
        lambda x: x[:0],
        lambda x: x.as_strided(x.shape, [draw.randrange(2) for _ in x.shape]),
    ]
    return draw.choice(ways)(x)


def _sizes(draw: random.Random) -> tuple[int, ...]:
    return draw.choice((1, 2, 3)), draw.choice((1, 2, 5, 50)), draw.choice((1, 2, 3)), 2 * draw.choice((1, 2, 4, 9))


def _delta(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, state: Tensor) -> tuple[Tensor, ...]:
    return tuple(ops.gated_delta_rule(q, k / 4, v, -log_decay.abs(), beta.abs().clamp(max=1), state))


def operation(draw: random.Random) -> tuple[Callable[..., Any], list[Tensor]]:
    """Draw an operation and plain inputs for it."""
    (batch, tokens, heads, dim), normal = _sizes(draw), torch.randn
    x, wide = normal(batch, tokens, heads, dim), normal(batch, tokens, heads * dim)
    angles = ops.rotation(0, tokens, head_dim=dim, base=100.0, dtype=x.dtype, device=x.device)
    choices: list[tuple[Callable[..., Any], list[Tensor]]] = [
        (lambda x, w: ops.rms_norm(x, w, eps=1e-5), [wide, normal(heads * dim)]),
        (lambda x, g, w: ops.gated_rms_norm(x, g, w, eps=1e-5), [x, wide, normal(dim)]),
        (lambda x, w, c, s: ops.rotary_rms_norm(x, w, ops.Rotation(c, s), eps=1e-5), [x, normal(heads, dim), *angles]),
        (lambda x: ops.unit_length(x, eps=1e-5), [x]),
        (ops.relu_square, [x]),
        (lambda x, w, t: ops.short_conv(x, w, t, silu=True), [wide, normal(heads * dim, 3), normal(batch, 2, heads * dim)]),
        (_delta, [x, normal(x.shape), normal(x.shape), *normal(2, batch, tokens, heads), normal(batch, heads, dim, dim)]),
    ]
    return draw.choice(choices)


def _flat(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [tensor for part in result if part is not None for tensor in _flat(part)]


def _same(actual: Any, expected: Any, tolerance: float = _TOLERANCE) -> bool:
    return all(_close(*pair, tolerance) for pair in zip(_flat(actual), _flat(expected), strict=True))


def _close(actual: Tensor, expected: Tensor, tolerance: float) -> bool:
    if actual.shape != expected.shape or actual.is_meta:
        return actual.shape == expected.shape
    one, other = (x.to_dense().as_subclass(Tensor).double() for x in (actual, expected))
    return torch.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)


def _operation_case(draw: random.Random) -> str | None:
    """Other memory: the same result. Another tensor: a refusal, or what its numbers give in plain fp64 memory."""
    function, inputs = operation(draw)
    number = draw.randrange(len(inputs))
    change = draw.choice((spread, spoil))
    given = [change(draw, x) if n == number else x for n, x in enumerate(inputs)]
    with torch.set_grad_enabled(draw.random() < 0.5):
        try:
            actual = function(*given)
        except REFUSALS:
            return None if change is spoil else f"{function} refused the same numbers in other memory"
        if any(x.is_meta for x in given):
            return None
        plain = [x.to_dense().as_subclass(Tensor).double().contiguous().clone() for x in given]
        tolerance = _TOLERANCE_OF_16_BITS if any(x.dtype == torch.bfloat16 for x in given) else _TOLERANCE
        return (
            None
            if _same(actual, function(*plain), tolerance)
            else f"{function}: input {number} by {change.__name__} gave other numbers"
        )


def _change(draw: random.Random, model: HybridLM) -> None:
    """Change a module of a model as people do."""
    modules = [module for module in model.layers.modules() if isinstance(module, nn.Linear | nn.RMSNorm)]
    module, mixers = draw.choice(modules), [module for module in model.layers.modules() if hasattr(module, "n_heads")]
    weight, before = module.weight, module.forward
    ways: list[Callable[[], Any]] = [
        lambda: setattr(module, "weight", nn.Parameter(spread(draw, weight.detach()).as_subclass(Tensor))),
        lambda: setattr(module, "weight", _spoilt(draw, weight)),
        lambda: setattr(module, "bias", nn.Parameter(torch.randn(weight.shape[0]))),
        lambda: setattr(module, "forward", lambda x: 2 * before(x)),
        lambda: setattr(module, "eps", draw.choice((0.1, 0, None))),
        lambda: module.register_forward_hook(lambda _m, _i, out: 2 * out),
        lambda: module.to(draw.choice((torch.float64, torch.bfloat16))),
        lambda: prune.random_unstructured(module, "weight", amount=0.5),
        lambda: setattr(draw.choice(modules), "weight", weight),
        lambda: setattr(draw.choice(mixers), "n_heads", draw.choice((1, 2, 4))),
    ]
    draw.choice(ways)()


def _spoilt(draw: random.Random, weight: Tensor) -> nn.Parameter:
    """Spoil a weight; not onto the meta device, where torch's own products return whatever lies in memory."""
    made = spoil(draw, weight.detach())
    return nn.Parameter(weight.detach() if made.is_meta else made, requires_grad=False)


def _model_case(draw: random.Random) -> str | None:
    """A changed model, or a changed state or mask: what its modules give, or the same refusal."""
    layers = draw.choice(("attn gdn", "gdn", "gdn attn gdn", "attn"))
    kinds: tuple[Any, ...] = ("relu2", "swiglu")
    config = ModelConfig(vocab_size=7, width=8, n_heads=2, layers=layers, mlp=draw.choice(kinds), mlp_ratio=2.0)
    model = HybridLM(config)
    batch, tokens = draw.choice((1, 2, 5)), draw.choice((1, 3, 30))
    for _ in range(draw.choice((0, 1, 1, 2))):
        with contextlib.suppress(*REFUSALS):  # torch lets not every module be changed in every way
            _change(draw, model)
    state = model.initial_state(batch).map(torch.randn_like)
    if draw.random() < 0.3:
        state = state.map(lambda x: draw.choice((spread, spoil))(draw, x))
    valid = draw.choice((None, torch.rand(batch, tokens) > 0.3))
    if valid is not None and draw.random() < 0.5:
        valid = draw.choice((valid.long(), valid.to(torch.uint8), valid.float(), valid[:, :-1], valid.T.contiguous().T))
    ids, results, wants = torch.randint(0, 7, (batch, tokens)), [], draw.random() < 0.5
    pruned = None if valid is None or valid.shape != ids.shape else valid.bool()
    for functions in (FASTEST, PLAIN):
        model._functions = functions
        with torch.set_grad_enabled(wants):
            try:
                hidden, after = model.blocks(model.embed(ids), state, 2, valid_BT=valid)
            except REFUSALS as error:
                results.append(f"{type(error).__name__}: {error}")
                continue
            seen = hidden if pruned is None else hidden * pruned[..., None]
            results.append([seen, *(layer for layer in after.fast_weights if layer is not None)])
    fast, plain = results
    if isinstance(fast, str) or isinstance(plain, str):
        how = [result if isinstance(result, str) else "runs" for result in results]
        return None if "runs" not in how else f"{layers}: fast {how[0]}, modules {how[1]}"
    return None if _same(fast, plain) else f"{layers}: other numbers than the modules"


def main(n_cases: int, seed: int = 0) -> int:
    """Run the cases, print what went wrong and how many there were, and return how many went wrong."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    wrong = 0
    for number in range(n_cases):
        torch.manual_seed(seed + number)
        draw = random.Random(seed + number)
        problem = (_operation_case if draw.random() < 0.6 else _model_case)(draw)
        if problem is not None:
            wrong += 1
            print(f"case {seed + number}: {problem}", flush=True)
    print(f"{n_cases} cases, {wrong} wrong")
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main(*map(int, sys.argv[1:]))))
