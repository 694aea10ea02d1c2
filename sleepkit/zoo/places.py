"""What a probe looks for in the fast weights: the places of each task, and what is truly there. Plain numpy.

    rule110   the cells of the string just read that its answer depends on: after step s of t those at most t - s from cell 0
    depo      the node that each number of hops leads to, from each node

Axes: B example, T token, P place.
"""

from typing import NamedTuple

import numpy as np

ABSENT = -1


class Places(NamedTuple):
    """The places that a readout reads, in its order.

    Attributes:
        step: [P], the step of the automaton, or the number of hops.
        place: [P], the cell, or the number of the start's name.
    """

    step: np.ndarray
    place: np.ndarray


def automaton_places(width: int, depth: int) -> Places:
    """Return the cells on which cell 0 after ``depth`` steps depends, from step 0 on: Rule 110 sees one cell to either side."""
    step, cell = np.divmod(np.arange((depth + 1) * width), width)
    inside = np.minimum(cell, width - cell) <= depth - step
    return Places(step[inside], cell[inside])


def automaton_classes(cells: np.ndarray, places: Places) -> np.ndarray:
    """Return the cells at the places: strings [B, width] of 0 and 1 -> [B, P]."""
    states = [np.asarray(cells, dtype=np.int64)]
    for _ in range(int(places.step.max())):
        centre, left, right = states[-1], np.roll(states[-1], 1, axis=-1), np.roll(states[-1], -1, axis=-1)
        states.append((centre | right) & ~(left & centre & right))
    return np.stack(states, axis=1)[:, places.step, places.place]


def walk_places(n_symbols: int, n_hops: int) -> Places:
    """Return every start with every number of hops; the starts of one number of hops stand together."""
    hops, start = np.divmod(np.arange(n_hops * n_symbols), n_symbols)
    return Places(hops + 1, start)


def walk_classes(context: np.ndarray, n_symbols: int, places: Places) -> np.ndarray:
    """Return where each walk ends, [B, P]: the name's number among those that are not the start; absent where no edge begins.

    Args:
        context: [B, T] tokens of the edges, two names each, the first name 1; other tokens are no names.
        n_symbols: how many names there are.
        places: of ``walk_places``.
    """
    edges = context.reshape(len(context), -1, 2) - 1
    leads_to = np.full((len(context), n_symbols), ABSENT)
    np.put_along_axis(leads_to, edges[..., 0], edges[..., 1], axis=1)
    ends = [np.broadcast_to(np.arange(n_symbols), leads_to.shape)]
    for _ in range(int(places.step.max())):
        met = np.take_along_axis(leads_to, np.maximum(ends[-1], 0), axis=1)
        ends.append(np.where(ends[-1] == ABSENT, ABSENT, met))
    reached = np.stack(ends, axis=1)[:, places.step, places.place]
    return np.where(reached > places.place, reached - 1, reached)


def walk_name(found: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the number of a name from its number among those that are not the start."""
    return np.where((found != ABSENT) & (found >= start), found + 1, found)
