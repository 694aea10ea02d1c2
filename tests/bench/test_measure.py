"""Timing: turns, medians, ratios, and parts that cannot run."""

import sys
import time
from pathlib import Path

import pytest
import torch

from sleepkit.bench import ceilings, measure
from sleepkit.errors import InvalidInputError

ROOT = Path(__file__).parents[2]


def test_calls_take_turns_after_their_warmups() -> None:
    made: list[str] = []
    seconds = measure.interleave({"a": lambda: made.append("a"), "b": lambda: made.append("b")}, rounds=3, warmups=2)
    assert "".join(made) == "aabb" + "ababab"
    assert {name: len(took) for name, took in seconds.items()} == {"a": 3, "b": 3}


def test_a_short_call_is_repeated_within_its_turn_and_averaged() -> None:
    made: list[float] = []

    def short() -> None:
        time.sleep(0.001)
        made.append(1)

    took = measure.interleave({"short": short}, rounds=2, warmups=0, slot_s=0.2)["short"]
    assert len(made) >= 1 + 2 * 2
    assert all(0.001 <= seconds < 0.2 for seconds in took)


def test_seconds_are_those_of_the_call() -> None:
    seconds = measure.interleave({"slow": lambda: time.sleep(0.02), "fast": lambda: None}, rounds=3)
    assert min(seconds["slow"]) >= 0.02
    assert measure.spread(measure.ratios(seconds["slow"], seconds["fast"]))["median"] > 5


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds() -> None:
    # A machine that gets slower by the round: the ratio of the medians would be 2 too, that of the sums 1.6.
    slow, fast = [2.0, 20.0, 100.0], [1.0, 10.0, 80.0]
    assert measure.ratios(slow, fast) == [2.0, 2.0, 1.25]
    assert measure.spread(measure.ratios(slow, fast))["median"] == 2.0


def test_a_spread_holds_median_quartiles_range_and_number() -> None:
    found = measure.spread([5.0, 1.0, 2.0, 4.0, 3.0], factor=10)
    assert found == {"median": 30.0, "quartiles": [20.0, 40.0], "range": [10.0, 50.0], "n": 5}


def test_numbers_are_rounded_to_significant_digits() -> None:
    assert [measure.digits(value) for value in (123456.0, 0.000123456, 1.0)] == [123500.0, 0.0001235, 1.0]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: measure.interleave({"a": lambda: None}, rounds=0),
        lambda: measure.interleave({}, rounds=1),
        lambda: measure.ratios([1.0], [1.0, 2.0]),
        lambda: measure.spread([]),
    ],
)
def test_what_cannot_be_measured_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidInputError):
        wrong()  # type: ignore[operator]


def test_a_part_that_cannot_run_says_why_in_one_line() -> None:
    def part() -> measure.Figures:
        raise RuntimeError("no\n compiler")

    assert measure.attempt(part) == {"unavailable": "RuntimeError: no compiler"}


def test_a_mistake_of_our_own_is_not_taken_for_a_missing_part() -> None:
    def part() -> measure.Figures:
        raise KeyError("typo")

    with pytest.raises(KeyError):
        measure.attempt(part)


def test_a_probe_that_fails_is_refused_with_its_last_words(tmp_path: Path) -> None:
    probe = tmp_path / "probe.py"
    probe.write_text("import sys, json\nprint('noise')\nprint(json.dumps(json.loads(sys.argv[1]) | {'answer': 1}))\n")
    assert measure.ask([str(probe)], {"asked": 2}, tree=ROOT) == {"asked": 2, "answer": 1}
    probe.write_text("import sys\nsys.exit('out of luck')\n")
    with pytest.raises(InvalidInputError, match=r"probe.py: must run to its end, got 'out of luck'"):
        measure.ask([str(probe)], {}, tree=ROOT)


def test_a_number_of_threads_holds_for_the_measurement_only() -> None:
    before = torch.get_num_threads()
    with measure.threads(before + 1) as n_threads:
        assert n_threads == torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_bars_go_to_stderr_and_only_if_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(measure.bar([1, 2], description="quiet", progress=False)) == [1, 2]
    assert capsys.readouterr() == ("", "")
    assert list(measure.bar([1, 2], description="shown", progress=True)) == [1, 2]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "shown" in printed.err
    assert sys.stderr is not sys.stdout


def test_ceilings_are_the_best_rounds_and_shares_are_of_them() -> None:
    best = ceilings.measure(copy_bytes=2**20, matmul_size=64, rounds=3)
    assert best.copy == pytest.approx(1e9 * best.report["copy_GB_per_s"]["range"][1], rel=1e-3)
    assert best.matmul == pytest.approx(1e9 * best.report["matmul_GFLOP_per_s"]["range"][1], rel=1e-3)
    one = best._replace(copy=2e9, matmul=4e9).rates(0.5, flops=10**9, n_bytes=10**9)
    assert one == {"GFLOP_per_s": 2.0, "share_of_matmul": 0.5, "GB_per_s": 2.0, "share_of_copy": 1.0}
