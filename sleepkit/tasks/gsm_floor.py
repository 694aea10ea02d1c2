"""What can be scored in GSM without reading: chance, and the best constant answer by operation count, sampled."""

import functools

import numpy as np

from sleepkit.seeds import stream
from sleepkit.tasks.base import Floor, Split
from sleepkit.tasks.gsm_config import GsmConfig
from sleepkit.tasks.gsm_graph import drawer, words_of

_SAMPLES = 8192


def gsm_floor(config: GsmConfig, split: Split | None) -> Floor:
    """Return the floors of a split (``Gsm.floor`` says what they are)."""
    trained = set(np.flatnonzero(config.ops_law).tolist())
    counts = {"train": trained, None: trained | set(config.grid)}.get(split, set(config.grid))
    depth = np.array(sorted(counts))
    # Names, wording and the root seed do not change the law of the answer: one sample serves them all.
    law = config.replace(seed=0)
    constant = np.array([_best_constant(law, n_ops) for n_ops in depth.tolist()])
    chance = np.full(len(depth), 1 / config.n_answers)
    return Floor(depth, chance, constant, chance, constant, source="sampled")


@functools.lru_cache(maxsize=256)
def _best_constant(config: GsmConfig, n_ops: int) -> float:
    """Share of the most frequent answer among sampled problems; an answer needs neither names nor other facts."""
    draw, take = drawer(config), words_of(stream(config.seed, "gsm floor", n_ops))
    values = np.array([draw.core(n_ops, take).values[0] for _ in range(_SAMPLES)])
    answers = values if config.modulus is None else values % config.modulus
    return float(np.bincount(answers).max() / _SAMPLES)
