"""The suites train, latency and memory, with tiny settings: what they promise is in the report, and finite."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sleepkit.bench import latency, measure, memory, memory_probe, scaling, throughput, train_probe, training
from sleepkit.bench.footprint import TensorPeak
from sleepkit.bench.latency import LatencySettings
from sleepkit.bench.measure import ROOT
from sleepkit.bench.memory import MemorySettings
from sleepkit.bench.rows import ROWS
from sleepkit.bench.throughput import Steps, Variant
from sleepkit.bench.training import TrainBenchSettings
from sleepkit.errors import InvalidInputError
from sleepkit.experiments import presets
from sleepkit.model import ModelConfig
from sleepkit.training import TrainSettings
from tests.bench.support import assert_all_numbers_are_finite

TINY = ("model.width=8", "model.n_heads=2", "batch_size=4")
TRAIN = TrainBenchSettings(
    compile=False,
    overrides=(*TINY, "n_passes_weights=null"),
    batch_sizes=(4,),
    steps=4,
    warmup_steps=3,
    rounds=1,
    n_passes=(1, 2, 3),
    linearity_rounds=1,
    bound_batch_size=2,
    bound_rounds=1,
    n_threads=1,
)


@pytest.fixture(scope="module")
def train_report() -> dict[str, Any]:
    return training.run(TRAIN)


def test_train_reports_speed_linearity_and_the_bound(train_report: dict[str, Any]) -> None:
    assert_all_numbers_are_finite(train_report)
    assert set(train_report["throughput"]["batch 4"]["variants"]) == {"eager"}
    assert train_report["throughput"]["batch 4"]["differences_of_losses"] == {"first_step": 0.0, "largest": 0.0}
    line = train_report["linearity"]
    assert set(line["by_n_passes"]) == {"1", "2", "3"}
    assert line["by_n_passes"]["1"]["work : work at N = 1"] == 1.0
    assert set(train_report["windows_at_once_bound"]) == {"rule110-explorer", "fig2b"}
    for part in train_report["windows_at_once_bound"].values():
        assert set(part["ratios"]) == {"forward", "forward_backward"}
        assert part["n_windows"] == 4


def test_train_without_an_earlier_revision_says_so_in_the_readme(train_report: dict[str, Any]) -> None:
    figures = [figure for _, figure in ROWS["train"](train_report)]
    assert figures[0] == "not measured (no --against)"
    assert not any(figure.startswith("not measured") for figure in figures[1:])


def scripted(seconds: dict[str, list[float]], **changes: Any) -> Any:
    """A probe that says what we want to hear."""
    told = {"n_passes": [1, 2, 1, 2, 3], "loss": [1.0] * 5, "seq_len": 10, "dropped": [], **changes}

    def probe(variant: Variant) -> Steps:
        name = variant.settings.name
        if not seconds[name]:
            raise InvalidInputError("no compiler")
        more = {key: value[name] if isinstance(value, dict) else value for key, value in told.items()}
        return Steps(seconds=seconds[name], **more)

    return probe


def tiny_settings(*more: str) -> TrainSettings:
    return presets.get("rule110-explorer").with_overrides(*TINY, "steps=2", "log_every=1", "n_threads=1", *more)


def compare(names: str) -> dict[str, Any]:
    variants = {name: Variant(ROOT, tiny_settings(f"name={name}", "batch_size=2")) for name in names}
    return throughput.compare(variants, warmup_steps=2, rounds=2)


def test_only_steady_steps_whose_n_was_warmed_up_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    # Old takes twice as long in steps 2 and 3; warm-up and the step with the new N = 3 must not count.
    seconds = {"o": [9.0, 9.0, 2.0, 4.0, 1.0], "n": [900.0, 9.0, 1.0, 2.0, 500.0]}
    monkeypatch.setattr(throughput, "probe", scripted(seconds))
    found = compare("on")
    assert found["ratios"]["n : o"]["median"] == 2.0
    assert found["variants"]["n"]["tokens_per_s"]["median"] == pytest.approx(2 * 2 * 10 / 3, rel=1e-3)
    assert found["n_passes_of_steady_steps"] == {"1": 1, "2": 1}
    assert found["steps_left_out_because_their_N_was_new"] == 1


def test_a_variant_that_cannot_run_is_reported_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "probe", scripted({"o": [1.0] * 5, "n": [1.0] * 5, "c": []}))
    found = compare("onc")
    assert found["variants"]["c"] == {"unavailable": "InvalidInputError: no compiler"}
    assert list(found["ratios"]) == ["n : o"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_passes": {"o": [1] * 5, "n": [2] * 5}}, "must draw the same N"),
        ({"loss": {"o": [1.0] * 5, "n": [1.1] * 5}}, "first loss"),
    ],
)
def test_variants_that_do_not_do_the_same_work_are_not_compared(
    changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "probe", scripted({"o": [1.0] * 5, "n": [1.0] * 5}, **changes))
    with pytest.raises(InvalidInputError, match=message):
        compare("on")


def test_an_unknown_revision_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="--against: must be a revision of this checkout, got 'no-such-revision'"):
        throughput.resolve("no-such-revision")


def test_an_earlier_revision_is_trained_from_its_own_tree() -> None:
    try:
        revision = throughput.resolve("HEAD")
    except InvalidInputError:
        pytest.skip("this is no git checkout")
    with throughput.earlier_tree(revision) as tree:
        assert (tree / "sleepkit" / "__init__.py").exists()
        steps = throughput.probe(Variant(tree, tiny_settings()))
    assert not tree.exists()
    assert len(steps.seconds) == len(steps.loss) == len(steps.n_passes) == 2
    assert min(steps.seconds) > 0


def test_the_fit_finds_a_line_and_how_far_the_times_are_from_it() -> None:
    work = np.array([1.0, 2.0, 4.0, 8.0])
    offset, slope, deviations = scaling.fit(work, 3 + 2 * work)
    assert (offset, slope) == (pytest.approx(3), pytest.approx(2))
    assert np.abs(deviations).max() < 1e-9
    _, _, deviations = scaling.fit(work, (3 + 2 * work) * np.array([1, 1.1, 1, 1]))
    assert 3 < np.abs(deviations).max() < 10


def test_both_orders_of_windows_run_the_same_layers() -> None:
    settings = training._settings(TRAIN, "rule110-explorer")
    model = scaling.build_model(settings)
    pieces = [torch.randn(2, 5, 8)]
    assert torch.equal(scaling._in_turn(model, pieces)(), scaling._at_once(model, pieces)())


@pytest.fixture(scope="module")
def latency_report() -> dict[str, Any]:
    return latency.run(LatencySettings(n_passes=(1, 3), rounds=3, n_young=20, n_old=100, n_held=200, sleep_rounds=3, n_threads=1))


def test_latency_reports_tokens_sleeps_and_bytes(latency_report: dict[str, Any]) -> None:
    assert_all_numbers_are_finite(latency_report)
    assert latency_report["ratios"]["bytes held, at the end : after one window"] == 1.0
    assert set(latency_report["ratios"]["sleep : (N - 1) passes"]) == {"3"}
    assert latency_report["token_by_age"]["n_read"] == {"young": 34, "old": 102}
    assert latency_report["bytes_held"]["n_read"] == 204
    assert set(latency_report["token_by_n_passes"]["us"]) == {"1", "3"}
    assert len(ROWS["latency"](latency_report)) == 4


class Clocked:
    """A session that only remembers what it was given."""

    def __init__(self, name: str, log: list[tuple[str, int]]) -> None:
        self.name, self.log = name, log

    def read(self, tokens: Tensor) -> None:
        self.log.append((self.name, tokens.shape[1]))

    def fork(self) -> "Clocked":
        return Clocked(f"{self.name}'", self.log)


def test_sessions_take_turns_at_every_position_and_the_closing_token_is_not_timed() -> None:
    log: list[tuple[str, int]] = []
    sessions: Any = {name: Clocked(name, log) for name in "ab"}
    task = latency.zoo.load("rule110-explorer")[1].task
    seconds = latency._read_in_turns(sessions, task, 3, 2, fork=False, progress=False)
    read = [name for name, _ in log if not name.endswith("'")]
    assert "".join(read) == "abab" + "ab" + "baba" + "ba"
    assert seconds["a"].shape == (2, 2)


def test_a_window_gives_the_median_of_its_ratios_at_equal_positions() -> None:
    of, to = np.array([[2.0, 30.0, 8.0]]), np.array([[1.0, 10.0, 2.0]])
    assert latency._window_ratios(of, to) == [3.0]


def test_the_peak_counts_what_is_alive_at_once() -> None:
    given = torch.ones(1000)
    with TensorPeak() as counted:
        first = given + 1  # 4000 bytes; what was given counts nothing, nor does a view of it
        view = given[:10]
        second = first * 2
        assert (counted.held, counted.peak) == (8000, 8000)
        del first
        third = second[5:] + 1
        assert (counted.held, counted.peak) == (4000 + 3980, 8000)
        del second, third
        last = given + given
    assert (counted.held, counted.peak) == (last.nbytes, 8000)
    assert view.shape == (10,)


def test_the_peak_sees_the_backward_too() -> None:
    weight = torch.ones(1000, requires_grad=True)
    with TensorPeak() as forward, torch.no_grad():
        weight.exp().sum()
    with TensorPeak() as both:
        weight.exp().sum().backward()
    assert both.peak >= forward.peak + 4000
    assert both.held == 4000  # the gradient


MEMORY = MemorySettings(
    models=(("rule110-explorer", 2),),
    overrides=("model.width=8", "model.n_heads=2"),
    n_passes=3,
    checkpointing=("none", "pass", "nonsense"),
    rounds=1,
    n_threads=1,
)


def test_memory_reports_peaks_and_times_of_every_mode_and_names_the_impossible_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def here(_program: Any, order: dict[str, Any], *, tree: Path) -> dict[str, Any]:
        if order["checkpointing"] == "nonsense":
            raise InvalidInputError("checkpointing: must be one of none, pass, got 'nonsense'")
        chosen = presets.of_size(order["preset"], "paper").with_overrides(*order["overrides"])
        return memory_probe.peaks(chosen, n_passes=order["n_passes"], checkpointing=order["checkpointing"])

    monkeypatch.setattr(measure, "ask", here)
    found = memory.run(MEMORY)
    assert_all_numbers_are_finite(found)
    (part,) = found["models"].values()
    assert set(part["time"]) == {"N = 1, none", "N = 1, pass", "N = 3, none", "N = 3, pass"}
    assert "nonsense" in part["peaks"]["N = 3, nonsense"]["unavailable"]
    ratios = found["ratios"]["rule110-explorer"]
    assert ratios["memory, N = 3, none : N = 1, none"] > 2
    assert ratios["memory, N = 3, pass : N = 1, none"] < ratios["memory, N = 3, none : N = 1, none"]
    assert "memory, N = 3, pass : N = 1, pass" in ratios
    peak, took = (figure for _, figure in ROWS["memory"](found))
    assert "N = 3, pass : N = 1, none" in peak
    assert "N = 3, pass : N = 3, none" in took


def test_the_peak_of_a_step_is_measured_in_a_process_of_its_own_and_is_the_same_here() -> None:
    step_of = memory._settings(MEMORY, "rule110-explorer", 2)
    found = memory._probe("rule110-explorer", step_of, MEMORY, memory.Case(2, "none"))
    assert found["tensor_bytes"] == memory_probe.peaks(step_of, n_passes=2, checkpointing="none")["tensor_bytes"]
    assert found["loss"] > 0


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        (TrainBenchSettings, {"warmup_steps": 56}),
        (TrainBenchSettings, {"n_passes": (1, 2)}),
        (LatencySettings, {"n_passes": (2, 1)}),
        (LatencySettings, {"rounds": 0}),
        (MemorySettings, {"checkpointing": ("pass",)}),
        (MemorySettings, {"n_passes": 1}),
    ],
)
def test_impossible_settings_are_refused(settings: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        settings(**wrong)


def test_settings_are_json() -> None:
    for given in (TRAIN, LatencySettings(), MemorySettings()):
        assert type(given).from_dict(json.loads(given.to_json())) == given


def test_the_probe_uses_nothing_but_the_package_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "sleepkit").mkdir()
    (tmp_path / "sleepkit" / "__init__.py").write_text("")
    with pytest.raises(InvalidInputError, match="has no attribute 'TrainSettings'"):
        throughput.probe(Variant(tmp_path, tiny_settings()))


def test_settings_an_earlier_revision_lacks_are_dropped_at_their_default_and_else_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = Steps([1], [1.0], [1.0], 10, ["compile", "model.mlp_ratio"])
    monkeypatch.setattr(measure, "ask", lambda *_, **__: steps._asdict())
    assert throughput.probe(Variant(ROOT, tiny_settings("model.mlp_ratio=4.0"))) == steps
    with pytest.raises(InvalidInputError, match=r"model.mlp_ratio: must be at its default .* got 2.0"):
        throughput.probe(Variant(ROOT, tiny_settings("model.mlp_ratio=2.0")))
    with pytest.raises(InvalidInputError, match=r"compile: must be at its default .* got True"):
        throughput.probe(Variant(ROOT, tiny_settings("model.mlp_ratio=4.0", "compile=true")))


def test_a_probe_keeps_the_settings_its_sleepkit_has_and_names_the_others() -> None:
    dropped: list[str] = []
    plain = TrainSettings.to_dict(tiny_settings()) | {"invented": 1}
    assert "invented" not in train_probe.known(plain, TrainSettings, "", dropped)
    train_probe.known({"width": 8, "depth": 2}, ModelConfig, "model.", dropped)
    assert dropped == ["invented", "model.depth"]
