"""What a card says is read without torch, and it is what the card itself says."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from sleepkit import zoo
from sleepkit.errors import InvalidInputError
from sleepkit.results.shares import gain_by_depth


def imports_torch(code: str) -> bool:
    """Run code in an interpreter of its own and return whether torch was imported there."""
    done = subprocess.run([sys.executable, "-c", f"{code}\nimport sys; sys.exit('torch' in sys.modules)"], check=False)
    assert done.returncode in (0, 1)
    return bool(done.returncode)


def test_reading_facts_imports_no_torch() -> None:
    assert not imports_torch("from sleepkit import zoo\nfor name in zoo.names(): zoo.facts(name).finding(1, 2), zoo.Facts")


def test_loading_a_card_imports_torch() -> None:
    assert imports_torch("from sleepkit import zoo; zoo.load_card('rule110-explorer')")


@pytest.mark.parametrize("name", zoo.names())
def test_the_facts_are_those_of_the_card(name: str) -> None:
    facts, card = zoo.facts(name), zoo.load_card(name)
    assert (facts.name, facts.summary, facts.provenance) == (card.name, card.summary, card.provenance)
    assert (facts.task, facts.task_options) == (card.task.name, card.task.config.to_dict())
    assert facts.sleep == card.sleep.to_dict()
    assert facts.n_passes_weights == card.settings.n_passes_weights
    assert facts.accuracy.identical(card.accuracy)
    assert (facts.table(), facts.finding(1, 2)) == (card.table(), card.finding(1, 2))


def test_the_n_that_training_drew_are_those_of_positive_weight() -> None:
    assert zoo.facts("rule110-explorer").trained_passes == (1, 2, 3, 4, 5)
    assert zoo.facts("rule110-n2").trained_passes == (2,)


@pytest.mark.parametrize("name", [name for name in zoo.names() if zoo.facts(name).sleep["n_passes"] > 1])
def test_the_best_depth_is_where_the_own_n_beats_one_pass_by_most(name: str) -> None:
    facts = zoo.facts(name)
    accuracy = facts.accuracy.accuracy
    gain = accuracy.sel(n_passes=facts.sleep["n_passes"]) - accuracy.sel(n_passes=1)
    assert float(gain.sel(depth=facts.best_depth)) == float(gain.max())


def test_a_model_of_one_pass_gains_nothing_so_its_best_depth_is_the_last() -> None:
    facts = zoo.facts("rule110-n1")
    assert facts.best_depth == int(facts.accuracy.depth[-1])


def test_the_finding_of_one_n_is_at_the_depth_farthest_above_the_floor() -> None:
    facts = zoo.facts("rule110-n1")
    above = facts.accuracy.accuracy.sel(n_passes=1) - facts.accuracy.floor
    depth = int(above.depth[int(np.argmax(above.values))])
    share = 100 * float(facts.accuracy.accuracy.sel(n_passes=1, depth=depth))
    assert facts.finding_of(1).startswith(
        f"With N = 1 this model answers depth-{depth} questions about evicted text right {share:.1f} %"
    )
    with pytest.raises(KeyError):
        facts.finding_of(99)


def untrained(share: float, *, n_total: int = 400) -> zoo.Facts:
    """Facts of a model that answers alike at every N and depth, but for the luck of each count."""
    facts = zoo.facts("rule110-explorer")
    accuracy = facts.accuracy.copy(deep=True)
    accuracy["n_total"][:] = n_total
    accuracy["n_correct"][:] = np.random.default_rng(1).binomial(n_total, share, accuracy.n_total.shape)
    accuracy["accuracy"] = accuracy.n_correct / accuracy.n_total
    return dataclasses.replace(facts, accuracy=accuracy)


def test_of_a_model_that_answers_alike_at_every_n_the_finding_is_no_difference_beyond_noise() -> None:
    sentence = untrained(0.5).finding(1, 4)
    assert sentence.startswith("No difference beyond noise between N = 4 and N = 1 at any depth: ")
    assert "percentage points" in sentence
    assert "95 % interval" in sentence


def test_of_a_model_that_answers_no_better_than_a_constant_the_finding_says_so() -> None:
    assert untrained(0.45).finding_of(4).startswith("No better than the best constant answer beyond noise: with N = 4 this model")


def test_the_difference_of_a_finding_is_in_percentage_points_with_its_interval() -> None:
    facts = zoo.facts("rule110-explorer")
    gains = gain_by_depth(facts.accuracy, 4, 1)
    at = gains.isel(depth=int(np.argmax(abs(gains.gain.values))))
    low, gain, high = (100 * float(at[name]) for name in ("gain_low", "gain", "gain_high"))
    assert f"{gain:+.1f} percentage points (95 % interval {low:+.1f} to {high:+.1f})" in facts.finding(1, 4)


def test_an_n_that_does_worse_is_compared_where_it_loses_most() -> None:
    facts = zoo.facts("rule110-n1")
    accuracy = facts.accuracy.accuracy
    loss = accuracy.sel(n_passes=2) - accuracy.sel(n_passes=1)
    assert f"depth-{int(loss.depth[int(np.argmin(loss.values))])} questions" in facts.finding(1, 2)
    assert f"{100 * float(loss.min()):+.1f} percentage points" in facts.finding(1, 2)


def test_facts_of_an_unknown_name_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="model name: must be one of"):
        zoo.facts("no-such-model")


def test_the_zoo_has_no_other_names() -> None:
    assert set(zoo.__all__) <= set(dir(zoo))
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        zoo.other  # noqa: B018
