"""What can be scored in Depo without memory, exactly."""

import numpy as np

from sleepkit.tasks.base import Floor, Split
from sleepkit.tasks.depo_config import DepoConfig


def depo_floor(config: DepoConfig, split: Split | None) -> Floor:
    """Return the floors of a split (``Depo.floor`` says what they are)."""
    law = np.zeros(config.n_nodes + 1)
    law[config.n_nodes] = 1.0
    hops = set(config.grid)
    if split == "train":
        law = config.node_weights / config.node_weights.sum()
    if split in ("train", None):
        trained = set(np.flatnonzero(config.hops_law).tolist())
        hops = trained if split == "train" else hops | trained
    depth = np.array(sorted(hops))
    sizes = np.flatnonzero(law)
    # An answer comes from a cycle of n nodes in proportion to the questions such a cycle is asked.
    n_asked = np.minimum(sizes, config.n_queries)
    share = law[sizes] * n_asked / (law[sizes] * n_asked).sum()
    wraps = depth[:, None] % sizes == 0
    same_name = float(share @ _likeliest_name(config)[sizes])
    same_as_asked = wraps.astype(np.float64) @ share
    once = (law[sizes] * (n_asked == 1)).sum()
    exact_same_name = float((law[sizes] * (n_asked == 1)) @ _likeliest_name(config)[sizes]) if once else 0.0
    return Floor(
        depth=depth,
        chance=np.full(len(depth), float(share @ (1 / sizes))),
        constant=np.maximum(same_name, same_as_asked),
        exact_chance=np.full(len(depth), float(law[sizes] @ (1 / sizes.astype(np.float64)) ** n_asked)),
        exact_constant=np.maximum(exact_same_name, wraps.astype(np.float64) @ law[sizes]),
        source="exact",
    )


def _likeliest_name(config: DepoConfig) -> np.ndarray:
    """[n_nodes + 1] chance that the node which answers in a cycle of n nodes bears the likeliest name.

    Every node is as likely to answer, so this is the chance that a cycle holds the name, over n. Names of one length are equally
    likely; of two lengths, the expected number of names of one token follows from the law of the draw, step by step.
    """
    sizes = np.arange(config.n_nodes + 1)
    if not (config.n_single and config.n_double):
        return np.full(len(sizes), 1 / config.n_names)
    likeliest = np.zeros(len(sizes))
    used = np.arange(len(sizes))
    chance = (used == 0).astype(np.float64)  # of having drawn so many names of one token
    for n in sizes[1:]:
        single = np.maximum(1 - used / config.n_single, 0)
        double = np.maximum(1 - (n - 1 - used) / config.n_double, 0)
        short = chance * single / (single + double)
        chance = chance - short + np.concatenate([[0.0], short[:-1]])
        n_single = float(chance @ used)
        likeliest[n] = max(n_single / config.n_single, (n - n_single) / config.n_double) / n
    return likeliest
