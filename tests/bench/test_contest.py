"""Nothing is timed that does not compute the same."""

import functools
import math
import sys
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from sleepkit import ops
from sleepkit.bench import ceilings, operations
from sleepkit.bench.contest import Contender, Turns, contest, largest_difference
from sleepkit.bench.counts import DeltaShape
from sleepkit.bench.operations import OpsSettings, delta_problem
from sleepkit.bench.rows import ROWS
from sleepkit.errors import InvalidInputError
from tests.bench.support import assert_all_numbers_are_finite

SHAPE = DeltaShape(2, 2, 9, 4, 6)
TINY = OpsSettings(
    delta_shapes=((2, 2, 9, 4, 6), (1, 2, 20, 4, 4)),
    conv_shapes=((2, 9, 8),),
    rounds=2,
    slot_s=0.0,
    compile=False,
    ceiling_rounds=1,
    n_threads=1,
)


def ours(*inputs: Tensor) -> Sequence[Tensor]:
    return ops.gated_delta_rule(*inputs, impl="chunked")


def forgets_the_scale(*inputs: Tensor) -> Sequence[Tensor]:
    return ops.gated_delta_rule(*inputs, impl="chunked", scale=1.0)


def forgets_the_state(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, state: Tensor) -> Sequence[Tensor]:
    return ours(q, k, v, log_decay, beta, 0 * state)


def cuts_the_gradient_of_the_state(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, state: Tensor
) -> Sequence[Tensor]:
    return ours(q, k, v, log_decay, beta, state.detach() + 0 * state)


def rounds_to_16_bits(*inputs: Tensor) -> Sequence[Tensor]:
    out, state = ours(*inputs)
    return out.bfloat16().float(), state


def gives_nan(*inputs: Tensor) -> Sequence[Tensor]:
    out, state = ours(*inputs)
    return out * math.nan, state


def is_broken(*inputs: Tensor) -> Sequence[Tensor]:
    raise RuntimeError("no kernel")


@pytest.fixture(scope="module")
def best() -> ceilings.Ceilings:
    return ceilings.measure(copy_bytes=2**16, matmul_size=16, rounds=1)


@pytest.mark.parametrize(
    "wrong", [forgets_the_scale, forgets_the_state, cuts_the_gradient_of_the_state, rounds_to_16_bits, gives_nan, is_broken]
)
def test_an_implementation_that_computes_something_else_is_named_and_never_timed(
    wrong: operations.Operation, best: ceilings.Ceilings
) -> None:
    contenders: dict[str, Contender | str] = {
        "peer": Contender(wrong, ours=False),
        "ours": Contender(ours),
        "gone": "not installed",
    }
    found = contest(delta_problem(SHAPE, TINY), contenders, best, Turns(rounds=2, slot_s=0.0))
    assert "unavailable" in found["agreement"]["peer"]
    assert found["agreement"]["gone"] == {"unavailable": "not installed"}
    assert found["agreement"]["ours"]["largest_relative_difference"] <= found["agreement"]["ours"]["allowed"]
    assert "peer" not in found["forward"]
    assert "ours" in found["forward"]
    assert found["ratios"] == {"forward_backward": {}, "forward": {}}


def test_a_right_peer_is_timed_and_the_ratio_is_peer_to_ours(best: ceilings.Ceilings) -> None:
    def twice(*inputs: Tensor) -> Sequence[Tensor]:
        for _ in range(20):
            ours(*inputs)
        return ours(*inputs)

    contenders: dict[str, Contender | str] = {"slow": Contender(twice, ours=False), "quick": Contender(ours)}
    found = contest(delta_problem(SHAPE, TINY), contenders, best, Turns(rounds=5, slot_s=0.0))
    assert list(found["ratios"]["forward"]) == ["slow : quick"]
    assert found["ratios"]["forward"]["slow : quick"]["median"] > 5
    assert found["forward"]["slow"]["ms"]["median"] > found["forward"]["quick"]["ms"]["median"]
    assert found["forward_backward"]["flops_needed"] == 3 * found["forward"]["flops_needed"]


def test_nobody_left_is_a_report_without_ratios(best: ceilings.Ceilings) -> None:
    found = contest(delta_problem(SHAPE, TINY), {"gone": "not installed"}, best, Turns(rounds=1))
    assert found == {"ratios": {}, "agreement": {"gone": {"unavailable": "not installed"}}}


def test_differences_are_relative_and_infinite_where_they_mean_nothing() -> None:
    one = [torch.tensor([1.0, -4.0])]
    assert largest_difference([torch.tensor([1.0, -3.0])], one) == 0.25
    assert largest_difference([torch.tensor([math.nan, -4.0])], one) == math.inf
    assert largest_difference([torch.zeros(3)], one) == math.inf
    assert largest_difference(one * 2, one) == math.inf


def test_the_convolutions_agree_in_both_layouts() -> None:
    problem = operations._conv_problem(operations.ConvShape(2, 5, 3, 4), TINY)
    best = ceilings.measure(copy_bytes=2**16, matmul_size=16, rounds=1)
    found = contest(problem, operations._conv_contenders(), best, Turns(rounds=1, slot_s=0.0))
    assert set(found["ratios"]["forward"]) == {"conv1d : short_conv", "conv1d channels-first : short_conv"}


def test_the_suite_measures_every_implementation_and_says_which_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, operations._PEER_MODULE, None)
    found = operations.run(TINY)
    assert_all_numbers_are_finite(found)
    small, long = found["gated_delta_rule"].values()
    assert set(small["agreement"]) == {"transformers", *operations.IMPLS, "chunked compiled"}
    assert "pip install" in small["agreement"]["transformers"]["unavailable"]
    assert small["agreement"]["chunked compiled"] == {"unavailable": "compile=false"}
    assert "ImplUnavailableError" in small["agreement"]["triton"]["unavailable"]
    for part, timed in ((small, {"reference", "chunked"}), (long, {"chunked"})):
        assert timed <= set(part["forward_backward"]) - {"flops_needed", "bytes_at_least"}
        assert {"ms", "GFLOP_per_s", "share_of_matmul", "GB_per_s", "share_of_copy"} == set(part["forward"]["chunked"])
    assert "too slow" in long["agreement"]["reference"]["unavailable"]
    rows = dict(ROWS["ops"](found))
    assert len(rows) == 3
    assert [figure.startswith("not measured") for figure in rows.values()] == [True, True, False]


def test_a_peer_that_is_there_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        operations, "_peer", lambda: Contender(functools.partial(ops.gated_delta_rule, impl="chunked"), ours=False)
    )
    found = operations.run(TINY.replace(delta_shapes=(tuple(SHAPE),), conv_shapes=()))
    ratios = found["ratios"]["gated_delta_rule"][SHAPE.name]
    assert "transformers : chunked" in ratios["forward_backward"]
    ((_, figure),) = ROWS["ops"](found)
    assert "chunked" in figure
    assert "not measured" not in figure


def test_the_peer_of_transformers_agrees_where_it_is_installed(best: ceilings.Ceilings) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed (extra 'bench')")
    peer = operations._peer()
    assert isinstance(peer, Contender)
    found = contest(
        delta_problem(SHAPE, TINY), {"transformers": peer, "ours": Contender(ours)}, best, Turns(rounds=1, slot_s=0.0)
    )
    assert "largest_relative_difference" in found["agreement"]["transformers"]


@pytest.mark.parametrize(
    "wrong", [{"delta_shapes": [[1, 2, 3]]}, {"conv_shapes": [[1, 0, 3]]}, {"rounds": 0}, {"ceiling_rounds": 0}, {"round": 1}]
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        OpsSettings(**wrong)
