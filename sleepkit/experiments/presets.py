"""Complete settings, by name. A preset is a function that returns a whole TrainSettings."""

import inspect
from collections.abc import Callable
from typing import Any

from sleepkit.errors import require
from sleepkit.model import ModelConfig
from sleepkit.sleep import SleepConfig
from sleepkit.training import OptimiserSettings, Stage, TaskSettings, TrainSettings

_PRESETS: dict[str, Callable[..., TrainSettings]] = {}


def preset(make: Callable[..., TrainSettings]) -> Callable[..., TrainSettings]:
    """Register a preset under its function name, with hyphens."""
    _PRESETS[make.__name__.replace("_", "-")] = make
    return make


def names() -> list[str]:
    """Return the names ``get`` knows."""
    return sorted(_PRESETS)


def get(name: str, **options: Any) -> TrainSettings:
    """Return the settings of a preset.

    Args:
        name: one of ``names()``.
        options: arguments of the preset function, e.g. ``n_passes``.

    Raises:
        InvalidInputError: for an unknown preset or option.
    """
    require(name in _PRESETS, "preset", f"must be one of {', '.join(names())}", name)
    known = list(inspect.signature(_PRESETS[name]).parameters)
    for option, value in options.items():
        require(option in known, option, f"is no option of preset {name!r}; known: {', '.join(known) or 'none'}", value)
    return _PRESETS[name](**options)


def describe(name: str) -> str:
    """Return the first line of a preset's description.

    Raises:
        InvalidInputError: for an unknown preset.
    """
    require(name in _PRESETS, "preset", f"must be one of {', '.join(names())}", name)
    return (inspect.getdoc(_PRESETS[name]) or "").partition("\n")[0]


@preset
def rule110_explorer(*, steps: int = 6000, seed: int = 0, n_threads: int = 1) -> TrainSettings:
    """One small model for a whole slider: depths 1..10 on a ring of 16, N drawn from 1..5 at every step.

    The MLP is narrow (as wide as the residual stream), so that one pass can make only a step or two of the automaton and deeper
    questions need more passes. Depths are learnt in order: the curriculum asks shallow questions first and deeper ones, more
    often, later.
    """
    depths = list(range(1, 11))

    def weights(deepest: int) -> dict[str, Any]:
        return {"depth_weights": [min(1.0, 0.25 + 0.25 * d) if d <= deepest else 0.0 for d in depths]}

    starts = {0: 3, 350: 4, 700: 5, 1100: 6, 1700: 7, 2500: 8, 3400: 9, 4400: 10}
    return TrainSettings(
        name="rule110-explorer",
        task=TaskSettings(name="rule110", options={"width": 16, "n_strings": 4, "rollout_depth": depths}),
        model=ModelConfig(vocab_size=3 + len(depths), width=64, layers="attn gdn", n_heads=4, mlp_ratio=1.0),
        sleep=SleepConfig(n_passes=4, window_len=17),
        n_passes_weights=(0.15, 0.2, 0.2, 0.3, 0.15),
        curriculum=tuple(Stage(start_step=start, options=weights(deepest)) for start, deepest in starts.items()),
        optimiser=OptimiserSettings(muon_lr=2e-3, adamw_lr=1e-3, warmup_steps=50, decay_share=0.25),
        steps=steps,
        batch_size=128,
        seed=seed,
        log_every=20,
        checkpoint_every=100,
        n_threads=n_threads,
    )


@preset
def fig2b(*, n_passes: int = 1, seed: int = 0) -> TrainSettings:
    """Figure 2b of Lee et al. 2026 at paper size: Rule 110, t = 32, about 5 billion tokens, fixed N."""
    return _rule110_paper("fig2b", rollout_depth=32, n_passes=n_passes, seed=seed, steps=97_656)


@preset
def fig2a(*, rollout_depth: int = 8, n_passes: int = 1, seed: int = 0) -> TrainSettings:
    """Figure 2a of Lee et al. 2026 at paper size: Rule 110 at one depth, 40 million tokens."""
    return _rule110_paper("fig2a", rollout_depth=rollout_depth, n_passes=n_passes, seed=seed, steps=782)


@preset
def fig3(*, n_passes: int = 1, seed: int = 0) -> TrainSettings:
    """Figure 3 of Lee et al. 2026 at paper size: Depo, 75 nodes, up to 16 hops, 100,000 steps, fixed N.

    Ten layers in the style of Jet-Nemotron that alternate attention and Jet layers, Gated DeltaNet with a dynamic short
    convolution. How many of the paper's ten are attention it does not say: every other one, as in its Eq. 5. Evaluation asks 1,
    2, 4, 8 and 16 hops.
    """
    return TrainSettings(
        name="fig3",
        task=TaskSettings(name="depo"),
        model=ModelConfig(vocab_size=118, width=512, layers=" ".join(["attn jet"] * 5), n_heads=8),
        sleep=SleepConfig(n_passes=n_passes, window_len=75),
        optimiser=OptimiserSettings(muon_lr=2e-3, adamw_lr=5e-5, warmup_steps=100, decay_share=0.2),
        steps=100_000,
        batch_size=128,
        seed=seed,
        log_every=10,
        checkpoint_every=500,
    )


@preset
def depo_explorer(*, steps: int = 6000, seed: int = 0, n_threads: int = 1) -> TrainSettings:
    """Figure 3 on a laptop: Depo with a cycle of 8 in one window, 1 to 4 hops, N drawn from 1..4 at every step.

    Names are single letters of 12. Hops are learnt in order, each after a plateau.
    """
    options = {
        "names": "single",
        "n_symbols": 12,
        "n_nodes": 8,
        "n_nodes_law": "fixed",
        "n_hops": 4,
        "test_hops": [1, 2, 3, 4],
        "n_queries": 8,
        "window_len": 32,
        "ask_mark": False,
    }
    return TrainSettings(
        name="depo-explorer",
        task=TaskSettings(name="depo", options=options),
        model=ModelConfig(vocab_size=18, width=64, layers="attn gdn", n_heads=4),
        sleep=SleepConfig(n_passes=4, window_len=32),
        n_passes_weights=(0.15, 0.2, 0.3, 0.35),
        optimiser=OptimiserSettings(muon_lr=2e-3, adamw_lr=1e-3, warmup_steps=50, decay_share=0.2),
        steps=steps,
        batch_size=256,
        seed=seed,
        log_every=20,
        checkpoint_every=100,
        n_threads=n_threads,
    )


def _rule110_paper(name: str, *, rollout_depth: int, n_passes: int, seed: int, steps: int) -> TrainSettings:
    options = {"width": 24, "n_strings": 4, "rollout_depth": rollout_depth}
    return TrainSettings(
        name=name,
        task=TaskSettings(name="rule110", options=options),
        model=ModelConfig(vocab_size=3, width=256, layers="attn gdn attn gdn", n_heads=4),
        sleep=SleepConfig(n_passes=n_passes, window_len=24),
        optimiser=OptimiserSettings(muon_lr=2e-3, adamw_lr=5e-5, warmup_steps=100, decay_share=0.2),
        steps=steps,
        batch_size=512,
        seed=seed,
        log_every=10,
        checkpoint_every=500,
    )
