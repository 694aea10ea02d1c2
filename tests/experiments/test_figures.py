"""The figures of the paper: complete presets, honest verdicts, results that are whole or refused by name."""

import dataclasses
from pathlib import Path
from typing import get_args

import pytest
import xarray as xr

from sleepkit import plots, results
from sleepkit.analysis import across_seeds
from sleepkit.errors import InvalidInputError, StoreError
from sleepkit.experiments import figures, presets
from sleepkit.experiments.cell import digests, gather, join, run_cell
from sleepkit.experiments.verdicts import a_pass_is_worth_a_layer, deeper_is_harder, more_passes_go_deeper, reach
from tests.support.figures import figure_of

SIZES = get_args(presets.Size)
COMMITTED = sorted(path.stem for path in figures.RESULTS.glob("*.nc") if not path.stem.startswith("fig6-"))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", figures.names())
def test_every_cell_of_a_figure_is_another_run(name: str, size: str) -> None:
    cells = figures.get(name).cells(size)
    assert len({cell.digest() for cell in cells}) == len(cells)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["fig2b", "fig3"])
def test_runs_of_all_n_differ_in_n_alone(name: str, size: str) -> None:
    cells = figures.get(name).cells(size)
    by_data: dict[str, set[int]] = {}
    for cell in cells:
        others = cell.with_overrides("sleep.n_passes=1").digest()
        by_data.setdefault(others, set()).add(cell.sleep.n_passes)
    assert len({tuple(sorted(passes)) for passes in by_data.values()}) == 1


@pytest.mark.parametrize("name", figures.names())
def test_a_smoke_run_goes_from_training_to_a_verdict(name: str, tmp_path: Path) -> None:
    data = figures.run(name, "smoke", root=tmp_path, progress=False)
    verdict = figures.get(name).judge(data)
    assert verdict.outcome in ("reproduced", "partly", "not")
    assert verdict.markdown().startswith("**Verdict: ")
    assert figures.table(name, data).count("\n") >= 4
    assert "runs of" in figures.cost(data)
    assert plots.learning_curves(data if "layers" not in data.dims else data.isel(layers=0)).data


@pytest.mark.parametrize("stem", COMMITTED)
def test_committed_results_are_those_of_the_presets(stem: str) -> None:
    name, _, size = stem.rpartition("-")
    assert figures.load(name, size).n_total.sum() > 0


def test_results_of_other_settings_or_half_a_file_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "RESULTS", tmp_path)
    with pytest.raises(StoreError, match=r"fig2a-smoke\.nc"):
        figures.load("fig2a", "smoke")
    path = figures.publish("fig2a", "smoke", root=tmp_path / "runs", progress=False)
    assert figures.load_or_run("fig2a", "smoke").equals(results.load(path))
    path.rename(tmp_path / "fig3-smoke.nc")
    with pytest.raises(StoreError, match=r"must hold the 2 cells of fig3 at size smoke \(2 missing\).*fig3-smoke\.nc"):
        figures.load_or_run("fig3", "smoke")
    whole = (tmp_path / "fig3-smoke.nc").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match=r"fig2a-smoke\.nc"):
        figures.load_or_run("fig2a", "smoke")


def test_a_seed_more_costs_that_seed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "RESULTS", tmp_path)
    examples = figures._EXAMPLES["smoke"]
    ran: list[int] = []

    def counted(cell, **options):
        ran.append(cell.seed)
        return run_cell(cell, **options)

    first = figures.Figure("fig2b", "", "", lambda size: [{"seed": 0}], more_passes_go_deeper)
    monkeypatch.setitem(figures._FIGURES, "fig2b", first)
    monkeypatch.setattr(figures, "run_cell", counted)
    figures.publish("fig2b", "smoke", root=tmp_path / "one", progress=False)
    assert ran == [0]
    monkeypatch.setitem(
        figures._FIGURES, "fig2b", dataclasses.replace(first, grid=lambda size: [{"seed": seed} for seed in (1, 0)])
    )
    figures.publish("fig2b", "smoke", root=tmp_path / "other", progress=False)
    assert ran == [0, 1]
    cells = [
        run_cell(cell, root=tmp_path / "all", n_examples=examples, progress=False) for cell in figures.get("fig2b").cells("smoke")
    ]
    at_once, joined = gather(cells), figures.load("fig2b", "smoke")
    timeless = ["elapsed_s", "wall_time_s", "tokens_per_s"]
    assert joined.drop_vars(timeless, errors="ignore").equals(at_once.drop_vars(timeless, errors="ignore"))
    assert sorted(digests(joined)) == sorted(digests(at_once))
    figures.publish("fig2b", "smoke", root=tmp_path / "nothing to do", progress=False)
    assert ran == [0, 1]
    with pytest.raises(InvalidInputError, match="new: must hold other cells than known"):
        join(joined, at_once)
    monkeypatch.setitem(figures._FIGURES, "fig2b", dataclasses.replace(first, grid=lambda size: [{"seed": 7}]))
    figures.publish("fig2b", "smoke", root=tmp_path / "others", progress=False)
    assert figures.load("fig2b", "smoke").seed.values.tolist() == [7]


def test_unknown_figures_and_sizes_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="figure: must be one of"):
        figures.get("fig9")
    with pytest.raises(InvalidInputError, match="size: must be one of smoke, cpu, paper"):
        figures.run("fig2a", "huge", progress=False)


def test_depth_that_costs_accuracy_is_found_and_depth_that_does_not_is_not() -> None:
    assert deeper_is_harder(figure_of({(1, 0): [990, 700, 300, 110]}, n_total=1000)).outcome == "reproduced"
    assert deeper_is_harder(figure_of({(1, 0): [990, 300, 700, 110]}, n_total=1000)).outcome == "partly"
    assert deeper_is_harder(figure_of({(1, 0): [500, 505, 495, 500]}, n_total=1000)).outcome == "not"


def test_gains_of_every_n_reproduce_and_gains_of_the_last_alone_do_so_partly() -> None:
    steady = {(1, 0): [500, 100], (2, 0): [700, 300], (4, 0): [900, 500]}
    assert more_passes_go_deeper(figure_of(steady, n_total=1000)).outcome == "reproduced"
    late = {(1, 0): [500, 100], (2, 0): [505, 100], (4, 0): [900, 500]}
    assert more_passes_go_deeper(figure_of(late, n_total=1000)).outcome == "partly"
    none = {(1, 0): [500, 100], (2, 0): [505, 100], (4, 0): [495, 104]}
    assert more_passes_go_deeper(figure_of(none, n_total=1000)).outcome == "not"


def test_a_verdict_says_how_deep_each_n_comes_and_which_come_nowhere() -> None:
    some = {(1, 0): [110, 100], (2, 0): [120, 100], (4, 0): [900, 100]}
    numbers = more_passes_go_deeper(figure_of(some, n_total=1000, floor=0.1)).numbers
    assert numbers.endswith("half way from the floor or better up to t = 1 with N = 4; nowhere with N = 1, N = 2")
    none = {(1, 0): [110, 100], (4, 0): [120, 100]}
    assert more_passes_go_deeper(figure_of(none, n_total=1000, floor=0.1)).numbers.endswith("better nowhere with N = 1, N = 4")


def test_one_lucky_seed_of_three_is_no_finding() -> None:
    counts = {(1, seed): [500] for seed in range(3)} | {(4, 0): [900], (4, 1): [510], (4, 2): [505]}
    assert more_passes_go_deeper(figure_of(counts, n_total=1000)).outcome == "not"


def test_a_loop_that_does_what_layers_do_is_worth_them() -> None:
    def layered(looped: int, alone: int, deep: int) -> xr.Dataset:
        two = figure_of({(1, 0): [alone], (2, 0): [looped]}, n_total=1000)
        four = figure_of({(1, 0): [deep]}, n_total=1000)
        parts = [two.expand_dims(layers=["attn gdn"]), four.expand_dims(layers=["attn gdn attn gdn"])]
        of_the_task = {name: two[name] for name in ("floor", "chance")}
        joined = xr.merge(
            [part.drop_vars(list(of_the_task)) for part in parts], combine_attrs="drop", join="outer", compat="no_conflicts"
        )
        return joined.assign(of_the_task).assign_attrs(two.attrs)

    assert a_pass_is_worth_a_layer(layered(800, 500, 790)).outcome == "reproduced"
    assert a_pass_is_worth_a_layer(layered(700, 500, 900)).outcome == "partly"
    assert a_pass_is_worth_a_layer(layered(505, 500, 900)).outcome == "not"
    assert plots.accuracy_by_blocks(layered(800, 500, 790)).data[0].x == (2, 4)


def test_an_odd_number_of_layers_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="n_layers: must be even"):
        presets.get("passes-or-layers", n_layers=3)


def test_reach_ends_at_the_first_depth_less_than_half_way_from_the_floor() -> None:
    counts = {(1, 0): [56, 10, 80], (2, 0): [90, 55, 90], (4, 0): [54, 90, 90]}
    accuracy = across_seeds(figure_of(counts, n_total=100, floor=0.1))
    assert [reach(accuracy, n) for n in (1, 2, 4)] == [1, 3, 0]
