"""Whether a figure of the paper came out: rules written before there was anything to compare, applied to the counts."""

import itertools
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr

from sleepkit.analysis.statistics import across_seeds, gains_by_seed, paired_difference, skill
from sleepkit.notation import depth_symbol
from sleepkit.training import wilson_interval

Outcome = Literal["reproduced", "partly", "not"]
_WORDS: dict[Outcome, str] = {"reproduced": "reproduced", "partly": "partly reproduced", "not": "not reproduced"}


class Verdict(NamedTuple):
    """What a figure shows.

    Attributes:
        outcome: "reproduced", "partly" or "not".
        numbers: ours in short, as the reproduction table prints them.
        sentence: the verdict in a sentence or two.
    """

    outcome: Outcome
    numbers: str
    sentence: str

    def markdown(self) -> str:
        """Return the sentence that ends a notebook."""
        return f"**Verdict: {_WORDS[self.outcome]}.** {self.sentence}"


def reach(accuracy: xr.Dataset, n_passes: int) -> int:
    """Return the depth up to which accuracy is half way or more from the better of both floors to 1; 0 if nowhere.

    Args:
        accuracy: Dataset of kind "accuracy".
        n_passes: N.
    """
    row = accuracy.sel(n_passes=n_passes)
    mastered = (skill(row.accuracy, np.maximum(row.floor, row.chance)) >= 0.5).values
    n_mastered = len(mastered) if mastered.all() else int(np.argmin(mastered))
    return int(row.depth[n_mastered - 1]) if n_mastered else 0


def deeper_is_harder(figure: xr.Dataset) -> Verdict:
    """Judge "at a fixed token budget accuracy falls as the reasoning depth grows" (Figure 2a).

    Reproduced: the skill (accuracy from the floor to 1) at the shallowest depth lies above that at the deepest, intervals apart,
    and from no depth to the next does it rise by more than the intervals allow. Partly: the first holds alone.
    """
    accuracy = across_seeds(figure)
    row = accuracy.isel(n_passes=0)
    low, high = skill(row.accuracy_low, row.floor).values, skill(row.accuracy_high, row.floor).values
    falls, rises = bool(low[0] > high[-1]), bool((low[1:] > high[:-1]).any())
    outcome: Outcome = ("partly" if rises else "reproduced") if falls else "not"
    shares = ", ".join(f"t = {int(at.depth)}: {_percent(at.accuracy)}" for at in _by_depth(row))
    floors = ", ".join(_percent(at.floor) for at in _by_depth(row))
    how = "falls from depth to depth" if outcome == "reproduced" else "does not fall steadily" if falls else "does not fall"
    sentence = (
        f"With N = {int(row.n_passes)} at equal tokens, accuracy of one answer {how}: {shares} % "
        f"(best constant answer {floors} %; {_interval(accuracy)})."
    )
    return Verdict(outcome, f"{shares} %", sentence)


def more_passes_go_deeper(figure: xr.Dataset) -> Verdict:
    """Judge "at equal tokens, more passes answer more, and deeper, questions right" (Figures 2b, 3, 4 and 5).

    Reproduced: from each N to the next, accuracy over all depths rises, the 95 % interval of the difference above 0 (paired by
    seed). Partly: it does from the smallest N to the largest. Not: otherwise.
    """
    accuracy, counts = across_seeds(figure), sorted(figure.n_passes.values.tolist())
    steps = [paired_difference(figure, low, high) for low, high in itertools.pairwise(counts)]
    whole = paired_difference(figure, counts[0], counts[-1])
    outcome: Outcome = "reproduced" if all(low > 0 for _, low, _ in steps) else "partly" if whole[1] > 0 else "not"
    means = ", ".join(f"N = {n}: {_percent(accuracy.accuracy.sel(n_passes=n).mean())}" for n in counts)
    letter = depth_symbol(figure.attrs["task"]).paper
    reached = _reached({n: reach(accuracy, n) for n in counts}, letter)
    gain, low, high = (100 * value for value in whole)
    gains = gains_by_seed(figure, counts[0], counts[-1])
    by_seed = f"; by seed {', '.join(_percent(one) for one in gains)}" if len(gains) > 1 else ""
    sentence = (
        f"Over all depths, {means} % of the answers are right; N = {counts[-1]} gains {gain:.1f} points on N = {counts[0]} "
        f"({low:.1f} to {high:.1f}, {_interval(accuracy)}{by_seed}). Half way from the floor to 100 %, or better: {reached}."
    )
    return Verdict(outcome, f"{means} %; half way from the floor or better {reached}", sentence)


def _reached(depths: dict[int, int], letter: str) -> str:
    """Say up to which depth each N comes, and which N come nowhere (depth 0)."""
    far = ", ".join(f"{letter} = {depth} with N = {n}" for n, depth in depths.items() if depth)
    nowhere = ", ".join(f"N = {n}" for n, depth in depths.items() if not depth)
    return "; ".join(words for words in (far and f"up to {far}", nowhere and f"nowhere with {nowhere}") if words)


def a_pass_is_worth_a_layer(figure: xr.Dataset) -> Verdict:
    """Judge "accuracy follows N x layers": at the largest product, do models that loop more reach what deeper ones reach?

    Reproduced: looped models (N above 1) at the largest N x layers answer at least as many questions right as the one of N = 1,
    up to its 95 % interval. Partly: they answer more than the model with as many layers as they have and N = 1. Not: otherwise.
    """
    rows = []
    for layers in figure.layers.values.tolist():
        accuracy = across_seeds(figure.sel(layers=layers))
        for n_passes in accuracy.n_passes.values.tolist():
            row = accuracy.sel(n_passes=n_passes)
            if int(row.n_seeds.max()) > 0:
                rows.append((len(layers.split()), n_passes, *_overall(row)))
    most = max(n_layers * n for n_layers, n, *_ in rows)
    at_most = sorted(row for row in rows if row[0] * row[1] == most)
    deepest, looped = at_most[-1], at_most[:-1]
    alone = {n_layers: high for n_layers, n, _, _, high in rows if n == 1}
    assert deepest[1] == 1
    assert looped
    equal = all(high >= deepest[3] for *_, high in looped)
    better = all(low > alone[n_layers] for n_layers, _, _, low, _ in looped)
    outcome: Outcome = "reproduced" if equal else "partly" if better else "not"
    words = ", ".join(f"{n_layers} layers x N = {n}: {100 * share:.1f} %" for n_layers, n, share, *_ in rows)
    at_equal = ", ".join(f"{n_layers} x {n}: {100 * low:.1f}-{100 * high:.1f}" for n_layers, n, _, low, high in at_most)
    sentence = f"Right over all depths: {words}. At {most} blocks applied to a window, layers x N = {at_equal} (95 % intervals)."
    return Verdict(outcome, words, sentence)


def _overall(row: xr.Dataset) -> tuple[float, float, float]:
    """Return the share of right answers over all depths with its 95 % interval over answers."""
    n_correct, n_total = row.n_correct.sum().values, row.n_total.sum().values
    low, high = wilson_interval(n_correct, n_total)
    return float(n_correct / n_total), float(low), float(high)


def _by_depth(row: xr.Dataset) -> list[xr.Dataset]:
    return [row.sel(depth=depth) for depth in row.depth.values]


def _percent(share: xr.DataArray) -> str:
    return f"{100 * float(share):.1f}"


def _interval(accuracy: xr.Dataset) -> str:
    n_seeds = int(accuracy.n_seeds.max())
    return f"95 % interval over {n_seeds} seeds" if n_seeds > 1 else "95 % interval over the examples of one run"
