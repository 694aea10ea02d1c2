"""The comparison of Muon's two ways: same tokens, settings of the published models, goes on where it stopped."""

import json
from pathlib import Path

import pytest

from sleepkit import zoo
from sleepkit.bench import muon


@pytest.mark.parametrize("model", muon.MODELS)
def test_both_ways_differ_in_that_setting_alone_and_one_is_the_published_model(model: str) -> None:
    whole, apart = (muon.settings_of(model, apart=way, seed=0) for way in (False, True))
    assert whole.replace(name="x", optimiser=whole.optimiser.replace(muon_apart=True)) == apart.replace(name="x")
    published = zoo.load_card(model).settings
    assert whole.replace(name=published.name, seed=published.seed) == published


def test_it_trains_both_ways_and_starts_no_finished_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(muon, "SEEDS", (5,))
    monkeypatch.setattr(muon, "MODELS", ("rule110-explorer",))
    arguments = ["--root", str(tmp_path), "--output", str(tmp_path / "muon.json"), "--steps", "1", "--examples", "2", "--quiet"]
    results = []
    for _ in range(2):
        assert muon.main(arguments) == 0
        results.append(json.loads((tmp_path / "muon.json").read_text())["runs"])
        written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/checkpoint-*")}
    assert results[0] == results[1]
    assert [(row["apart"], row["seed"], row["steps"]) for row in results[0]] == [(False, 5, 1), (True, 5, 1)]
    assert len(written) == 2
    assert "rule110-explorer-whole-5: accuracy" in capsys.readouterr().out
