"""The operations against their peers: the gated delta rule and the short convolution, fp32, state and its gradient carried.

Axes: B batch, T token, H head, K key channel, V value channel, E channel, W tap.
"""

import functools
import importlib
import importlib.metadata
import math
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepkit import ops
from sleepkit.bench import ceilings, measure
from sleepkit.bench.contest import Contender, Operation, Problem, Turns, contest
from sleepkit.bench.counts import ConvShape, DeltaShape, conv_counts, delta_chunked_flops, delta_counts
from sleepkit.bench.measure import Figures
from sleepkit.errors import require, require_count
from sleepkit.ops.recurrence import Impl
from sleepkit.settings import Settings, settings

# Whatever the operation can be asked for; one that cannot serve refuses, and the report says so.
IMPLS: tuple[Impl, ...] = tuple(impl for impl in get_args(Impl) if impl != "auto")
PEER = "transformers"
_PEER_MODULE = "transformers.models.qwen3_next.modeling_qwen3_next"
_COMPILED: Impl = "chunked"
_N_TAPS = 4


@settings
class OpsSettings(Settings):
    """Settings of the suite ``ops``.

    Attributes:
        delta_shapes: [B, H, T, K, V] of the gated delta rule: Rule 110 and Depo of the paper, a long sequence, the zoo's.
        conv_shapes: [B, T, E] of the short convolution.
        rounds: rounds of taking turns.
        slot_s: seconds a turn takes at least.
        compile: also measure the torch path under torch.compile, which takes minutes to compile.
        reference_len: longest sequence for which the token-by-token reference is measured.
        ceiling_rounds: rounds of measuring the ceilings.
        device: "cpu" or "cuda".
        n_threads: CPU threads; 0 leaves torch's choice.
        seed: of the inputs.
    """

    delta_shapes: tuple[tuple[int, ...], ...] = (
        (64, 4, 24, 64, 64),
        (32, 4, 75, 64, 64),
        (1, 8, 2048, 128, 128),
        (128, 4, 17, 16, 16),
    )
    conv_shapes: tuple[tuple[int, ...], ...] = ((128, 17, 192), (64, 24, 768))
    rounds: int = 15
    slot_s: float = 0.1
    compile: bool = True
    reference_len: int = 17
    ceiling_rounds: int = 9
    device: str = "cpu"
    n_threads: int = 0
    seed: int = 0

    def check(self) -> None:
        """Refuse shapes of the wrong rank."""
        for name, rank in (("delta_shapes", 5), ("conv_shapes", 3)):
            good = all(len(shape) == rank and min(shape) >= 1 for shape in getattr(self, name))
            require(good, name, f"must be lists of {rank} positive sizes", getattr(self, name))
        for name in ("rounds", "ceiling_rounds"):
            require_count(name, getattr(self, name))


def run(given: OpsSettings, *, progress: bool = False) -> Figures:
    """Measure both operations at every shape; see ``contest`` for what is in a part."""
    with measure.threads(given.n_threads) as n_threads:
        best = ceilings.measure(device=given.device, rounds=given.ceiling_rounds)
        turns = Turns(given.rounds, given.slot_s, given.device, progress)
        delta = {}
        for sizes in given.delta_shapes:
            shape = DeltaShape(*sizes)
            part = contest(delta_problem(shape, given), _delta_contenders(shape, given), best, turns)
            chunked = dict(zip(("forward", "backward"), delta_chunked_flops(shape), strict=True))
            delta[shape.name] = part | {"flops_of_the_chunked_form": chunked}
        conv = {}
        for batch, tokens, channels in given.conv_shapes:
            narrow = ConvShape(batch, tokens, channels, _N_TAPS)
            conv[narrow.name] = contest(_conv_problem(narrow, given), _conv_contenders(), best, turns)
    return {
        "ratios": {
            "gated_delta_rule": {name: part.pop("ratios") for name, part in delta.items()},
            "short_conv": {name: part.pop("ratios") for name, part in conv.items()},
        },
        "n_threads": n_threads,
        "device": given.device,
        "auto": ops.explain(device=torch.device(given.device).type),
        "peer": peer_version(),
        "ceilings": best.report,
        "gated_delta_rule": delta,
        "short_conv": conv,
    }


def peer_version() -> str:
    """Return the version of transformers, or that it is not installed."""
    try:
        return f"{PEER} {importlib.metadata.version(PEER)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{PEER} is not installed"


def delta_problem(shape: DeltaShape, given: OpsSettings) -> Problem:
    """Make inputs as a model makes them: q and k of unit length, state and its gradient not zero.

    The tolerance is that of ``_rounding`` for sums over tokens and channels, T + K + V terms.
    """
    b, h, t, k, v = shape
    draw = functools.partial(_draw, torch.Generator(given.device).manual_seed(given.seed))
    unit = [F.normalize(draw(b, t, h, k), dim=-1) for _ in range(2)]
    log_decay = -F.softplus(draw(b, t, h) - 2)
    inputs = (*unit, draw(b, t, h, v), log_decay, draw(b, t, h).sigmoid(), 0.1 * draw(b, h, k, v))
    forward, backward = delta_counts(shape)
    return Problem(
        inputs=inputs,
        upstream=(draw(b, t, h, v), draw(b, h, k, v)),
        exact=functools.partial(ops.gated_delta_rule, impl="chunked"),
        tolerance=_rounding(t + k + v),
        forward=forward,
        backward=backward,
    )


def _delta_contenders(shape: DeltaShape, given: OpsSettings) -> dict[str, Contender | str]:
    contenders: dict[str, Contender | str] = {PEER: _peer()}
    for impl in IMPLS:
        if impl == "reference" and shape.tokens > given.reference_len:
            contenders[impl] = f"token by token: too slow beyond {given.reference_len} tokens"
        else:
            contenders[impl] = Contender(functools.partial(ops.gated_delta_rule, impl=impl))
    if given.compile:
        contenders[f"{_COMPILED} compiled"] = Contender(_compiled(_COMPILED))
    else:
        contenders[f"{_COMPILED} compiled"] = "compile=false"
    return contenders


def _peer() -> Contender | str:
    """The torch path of transformers, which serves a CPU; it takes and gives the state and scales by K^-0.5 as ours does."""
    try:
        peer = importlib.import_module(_PEER_MODULE).torch_chunk_gated_delta_rule
    except (ImportError, AttributeError) as error:
        return f"{measure.reason(error)} (pip install 'sleepkit[bench]')"

    def run_peer(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        out, after = peer(q, k, v, log_decay, beta, initial_state=state, output_final_state=True)
        return out, after

    return Contender(run_peer, ours=False)


def _compiled(impl: Impl) -> Operation:
    torch.compiler.reset()  # each shape is compiled for itself, and an earlier one must not use up the limit

    def call(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        out, state = ops.gated_delta_rule(*inputs, impl=impl)
        return out, state

    return torch.compile(call, dynamic=False, fullgraph=True)  # a graph break would quietly measure something else


def _conv_problem(shape: ConvShape, given: OpsSettings) -> Problem:
    """The longest sum is over batch and tokens, for the gradient of a tap."""
    b, t, e, w = shape
    draw = functools.partial(_draw, torch.Generator(given.device).manual_seed(given.seed))
    forward, backward = conv_counts(shape)
    return Problem(
        inputs=(draw(b, t, e), draw(e, w)),
        upstream=(draw(b, t, e),),
        exact=_short_conv,
        tolerance=_rounding(b * t),
        forward=forward,
        backward=backward,
    )


def _conv_contenders() -> dict[str, Contender | str]:
    """Ours, and conv1d with one group a channel: on tensors as the model holds them, and on tensors as conv1d likes them."""

    def conv_BTE(x_BTE: Tensor, weight_EW: Tensor) -> tuple[Tensor]:
        return (_conv1d(x_BTE.transpose(1, 2), weight_EW).transpose(1, 2),)

    def conv_BET(x_BET: Tensor, weight_EW: Tensor) -> tuple[Tensor]:
        return (_conv1d(x_BET, weight_EW),)

    def own_layout(x: Tensor) -> Tensor:
        return x.transpose(1, 2).contiguous() if x.ndim == 3 else x

    return {
        "conv1d": Contender(conv_BTE, ours=False),
        "conv1d channels-first": Contender(conv_BET, ours=False, layout=own_layout),
        "short_conv": Contender(_short_conv),
    }


def _short_conv(x_BTE: Tensor, weight_EW: Tensor) -> tuple[Tensor]:
    return (ops.short_conv(x_BTE, weight_EW)[0],)


def _conv1d(x_BET: Tensor, weight_EW: Tensor) -> Tensor:
    n_taps = weight_EW.shape[1]
    return F.conv1d(x_BET, weight_EW[:, None], padding=n_taps - 1, groups=weight_EW.shape[0])[..., : x_BET.shape[2]]


def _rounding(n_terms: int) -> float:
    """What fp32 may lose in sums of so many terms: 8 eps sqrt(n), eight times the random walk of their roundings."""
    return 8 * torch.finfo(torch.float32).eps * math.sqrt(n_terms)


def _draw(generator: torch.Generator, *sizes: int) -> Tensor:
    return torch.randn(*sizes, generator=generator, device=generator.device)
