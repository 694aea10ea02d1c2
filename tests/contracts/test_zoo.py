"""What the bundled models claim: the card's table shows that sleep pays where reasoning is deep, and it can be counted again."""

import numpy as np
import pytest

from sleepkit import zoo
from sleepkit.training import evaluate


@pytest.fixture(scope="module", params=zoo.names())
def card(request: pytest.FixtureRequest) -> zoo.Card:
    return zoo.load_card(request.param)


@pytest.fixture(scope="module")
def rule110() -> zoo.Card:
    return zoo.load_card("rule110-explorer")


def test_both_tasks_of_the_pictures_are_there() -> None:
    assert {"rule110-explorer", "depo-explorer"} <= set(zoo.names())


def test_every_cell_counts_at_least_2000_held_out_answers(card: zoo.Card) -> None:
    assert card.accuracy.attrs["split"] == "test"
    assert int(card.accuracy.n_total.min()) >= 2000


def test_at_two_depths_where_one_pass_is_near_the_floor_sleep_gains_35_points(rule110: zoo.Card) -> None:
    data = rule110.accuracy
    vanilla = data.accuracy.sel(n_passes=1)
    near_floor = vanilla - data.floor <= 0.05
    gain = data.accuracy.max("n_passes") - vanilla
    assert int((near_floor & (gain >= 0.35)).sum()) >= 2


@pytest.mark.parametrize("name", ["rule110-explorer", "depo-explorer"])
def test_where_n_was_drawn_four_passes_gain_15_points_over_two_at_some_depth(name: str) -> None:
    accuracy = zoo.load_card(name).accuracy.accuracy
    assert float((accuracy.sel(n_passes=4) - accuracy.sel(n_passes=2)).max()) >= 0.15


@pytest.mark.parametrize("n_passes", [1, 4])
def test_counting_again_agrees_with_the_card(card: zoo.Card, n_passes: int) -> None:
    model, _ = zoo.load(card.name)
    again = evaluate(model, card.task, n_passes=n_passes, n_examples=256, window_len=card.sleep.window_len)
    claimed = card.accuracy.accuracy.sel(n_passes=n_passes)
    n_total = again.n_total.sel(n_passes=n_passes)
    spread = np.sqrt(np.clip(claimed * (1 - claimed), 0.01, None) / n_total)
    assert bool((np.abs(again.accuracy.sel(n_passes=n_passes) - claimed) < 4 * spread).all())


def test_the_card_says_where_the_weights_come_from(card: zoo.Card) -> None:
    needed = {"seed", "tokens", "wall_time_s", "device", "weights_digest", "git_revision", "version_torch", "processor"}
    assert needed <= set(card.provenance)
    assert card.provenance["tokens"] == card.settings.steps * card.settings.batch_size * card.task.seq_len
    assert card.summary
