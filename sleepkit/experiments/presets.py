"""Complete settings, by name. A preset is a function that returns a whole TrainSettings."""

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from sleepkit.errors import nearest, require, require_known
from sleepkit.model import ModelConfig
from sleepkit.sleep import SleepConfig
from sleepkit.training import OptimiserSettings, Stage, TaskSettings, TrainSettings

Size = Literal["smoke", "cpu", "paper"]
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
    known = options_of(name)
    for option, value in options.items():
        listed = f"{', '.join(known) or 'none'}{nearest(option, known)}"
        require(option in known, option, f"is no option of preset {name!r}; known: {listed}", value)
    if "size" in options:
        require(options["size"] in get_args(Size), "size", f"must be one of {', '.join(get_args(Size))}", options["size"])
    return _PRESETS[name](**options)


def of_size(name: str, size: str) -> TrainSettings:
    """Return the settings of a preset at a size, or the only ones of a preset that has no sizes.

    Raises:
        InvalidInputError: for an unknown preset or size.
    """
    return get(name, size=size) if "size" in options_of(name) else get(name)


def changed(name: str, changes: Mapping[str, Any]) -> TrainSettings:
    """Return the settings of a preset with changes: of its options, or of settings by their dotted names.

    Args:
        name: one of ``names()``.
        changes: values by name, e.g. ``{"size": "paper", "sleep.n_passes": 4}``; a name that is both is the option's.

    Raises:
        InvalidInputError: for an unknown name, or a value that breaks a rule.
    """
    known = options_of(name)
    made = get(name, **{option: value for option, value in changes.items() if option in known})
    rest = {path: value for path, value in changes.items() if path not in known}
    for path, value in rest.items():
        there = "." in path or path in made.to_dict()
        listed = f"options: {', '.join(known) or 'none'}; settings: {', '.join(made.to_dict())}"
        near = nearest(path, [*known, *made.to_dict()])
        require(there, path, f"is no setting and no option of preset {name!r}; {listed}{near}", value)
    return made.with_overrides(*(f"{path}={json.dumps(value)}" for path, value in rest.items()))


def options_of(name: str) -> list[str]:
    """Return the names of a preset's options.

    Raises:
        InvalidInputError: for an unknown preset.
    """
    require_known("preset", name, names())
    return list(inspect.signature(_PRESETS[name]).parameters)


def describe(name: str) -> str:
    """Return the first line of a preset's description.

    Raises:
        InvalidInputError: for an unknown preset.
    """
    require_known("preset", name, names())
    return (inspect.getdoc(_PRESETS[name]) or "").partition("\n")[0]


@preset
def rule110_explorer(*, steps: int = 6000, seed: int = 0, n_threads: int = 1) -> TrainSettings:
    """One small model for a whole slider: depths 1..10 on a ring of 16, N drawn from 1..5 at every step.

    The MLP is narrow (as wide as the residual stream), so that one pass can make only a step or two of the automaton and deeper
    questions need more passes. Depths are learnt in order: the curriculum asks shallow questions first and deeper ones, more
    often, later.
    """
    depths = list(range(1, 11))
    starts = {0: 3, 350: 4, 700: 5, 1100: 6, 1700: 7, 2500: 8, 3400: 9, 4400: 10}
    return TrainSettings(
        name="rule110-explorer",
        task=TaskSettings(name="rule110", options={"width": 16, "n_strings": 4, "rollout_depth": depths}),
        model=ModelConfig(vocab_size=3 + len(depths), width=64, layers="attn gdn", n_heads=4, mlp_ratio=1.0),
        sleep=SleepConfig(n_passes=4, window_len=17),
        n_passes_weights=(0.15, 0.2, 0.2, 0.3, 0.15),
        curriculum=tuple(Stage(start_step=start, options=_up_to(deepest, depths)) for start, deepest in starts.items()),
        optimiser=OptimiserSettings(muon_lr=2e-3, adamw_lr=1e-3, warmup_steps=50, decay_share=0.25),
        steps=steps,
        batch_size=128,
        seed=seed,
        log_every=20,
        checkpoint_every=100,
        n_threads=n_threads,
    )


@preset
def fig2a(*, size: Size = "cpu", rollout_depth: int = 8, n_passes: int = 1, seed: int = 0) -> TrainSettings:
    """Figure 2a of Lee et al. 2026: Rule 110 at one depth t, N = 1, accuracy against tokens.

    "paper" is 40 million tokens on the paper's model. "cpu" is 13 million tokens on a ring of 16 and a model of two layers, some
    four minutes a run on one core. "smoke" only shows that everything runs.
    """
    options: dict[str, Any] = {"width": 24, "n_strings": 4, "rollout_depth": rollout_depth, "seed": seed}
    if size == "paper":
        return _rule110_paper("fig2a", options, n_passes=n_passes, seed=seed, steps=782, validate_every=20)
    return _rule110_small(f"fig2a-{size}", {**options, "width": 16}, size=size, n_passes=n_passes, seed=seed, mlp_ratio=4.0)


@preset
def fig2b(*, size: Size = "cpu", n_passes: int = 1, seed: int = 0) -> TrainSettings:
    """Figure 2b of Lee et al. 2026: Rule 110, fixed N, the same tokens in the same order for every N.

    "paper" asks t = 32 alone and takes about 5 billion tokens. On a laptop a single deep t does not leave the floor, so "cpu"
    asks one model for t = 1..8, shallow steps first, over 15 million tokens; accuracy by t then shows how deep each N reaches.
    "smoke" only shows that everything runs. The seed sets initialisation and data: every N of a seed sees the same.
    """
    if size == "paper":
        options: dict[str, Any] = {"width": 24, "n_strings": 4, "rollout_depth": 32, "seed": seed}
        return _rule110_paper("fig2b", options, n_passes=n_passes, seed=seed, steps=97_656, validate_every=500)
    depths = list(range(1, 9))
    options = {"width": 16, "n_strings": 4, "rollout_depth": depths, "seed": seed}
    made = _rule110_small(f"fig2b-{size}", options, size=size, n_passes=n_passes, seed=seed, mlp_ratio=1.0, steps=1600)
    starts = {0: 3, 250: 4, 500: 5, 750: 6, 1000: 7, 1250: 8} if size == "cpu" else {0: 3, 5: 8}
    return made.replace(curriculum=tuple(Stage(start_step=start, options=_up_to(d, depths)) for start, d in starts.items()))


@preset
def passes_or_layers(*, size: Size = "cpu", n_layers: int = 2, n_passes: int = 1, seed: int = 0) -> TrainSettings:
    """Is a pass worth a layer? Figure 2b with models of 2, 4 or 8 layers, so that layers x N can be held.

    Beyond the paper. Two layers at the sizes "cpu" and "smoke", and four at "paper", are the runs of Figure 2b themselves.

    Raises:
        InvalidInputError: if the number of layers is odd: attention and fast weights take turns.
    """
    require(n_layers >= 2 and n_layers % 2 == 0, "n_layers", "must be even and 2 or more", n_layers)
    made = fig2b(size=size, n_passes=n_passes, seed=seed)
    return made.replace(model=made.model.replace(layers=" ".join(["attn gdn"] * (n_layers // 2))))


@preset
def fig3(*, size: Size = "cpu", n_passes: int = 1, seed: int = 0) -> TrainSettings:
    """Figure 3 of Lee et al. 2026: Depo, fixed N, loss and accuracy by the number of hops.

    "paper" has 75 nodes in four windows, up to 16 hops and 100,000 steps; ten layers in the style of Jet-Nemotron that alternate
    attention and Jet layers, Gated DeltaNet with a dynamic short convolution. How many of the paper's ten are attention it does
    not say: every other one, as in its Eq. 5. Evaluation asks 1, 2, 4, 8 and 16 hops. "cpu" has a cycle of 12 in one window, 1
    to 8 hops (those up to 4 asked four times as often) and 4,000 steps. "smoke" only shows that everything runs.
    """
    if size == "paper":
        return TrainSettings(
            name="fig3",
            task=TaskSettings(name="depo", options={"seed": seed}),
            model=ModelConfig(vocab_size=118, width=512, layers=" ".join(["attn jet"] * 5), n_heads=8),
            sleep=SleepConfig(n_passes=n_passes, window_len=75),
            optimiser=OptimiserSettings(muon_lr=2e-3, adamw_lr=5e-5, warmup_steps=100, decay_share=0.2),
            steps=100_000,
            batch_size=128,
            seed=seed,
            log_every=10,
            checkpoint_every=500,
            validate_every=1000,
        )
    options = {
        "names": "single",
        "n_symbols": 16,
        "n_nodes": 12,
        "n_nodes_law": "fixed",
        "n_hops": 8,
        "hop_weights": [4, 4, 4, 4, 1, 1, 1, 1],
        "test_hops": list(range(1, 9)),
        "n_queries": 6,
        "window_len": 24,
        "ask_mark": False,
        "seed": seed,
    }
    return TrainSettings(
        name=f"fig3-{size}",
        task=TaskSettings(name="depo", options=options),
        model=ModelConfig(vocab_size=26, width=64, layers="attn gdn", n_heads=4),
        sleep=SleepConfig(n_passes=n_passes, window_len=24),
        optimiser=OptimiserSettings(muon_lr=2e-3, adamw_lr=1e-3, warmup_steps=50, decay_share=0.2),
        batch_size=256 if size == "cpu" else 16,
        seed=seed,
        **_length(size, 4000),
    )


@preset
def fig4(*, size: Size = "cpu", n_passes: int = 1, seed: int = 0) -> TrainSettings:
    """Figure 4 of Lee et al. 2026, from scratch: GSM in symbols, fixed N, accuracy by operations.

    The paper goes on training two pretrained models, Jet-Nemotron 2B and Ouro 1.4B, on text; here a model of ten layers learns
    such problems from nothing, in a closed vocabulary: 2,600 tokens in windows of 2,000, 1 to 8 operations, the question first.
    "cpu" has 104 tokens in two windows, 1 to 4 operations of the three simplest forms, answers mod 5, so that a small model
    spends its training on the chain and not on tables of sums. "smoke" only shows that everything runs.
    """
    if size == "paper":
        options: dict[str, Any] = {"context_len": 2600, "window_len": 2000, "n_kinds": 24, "n_places": 28, "seed": seed}
        task = TaskSettings(name="gsm", options=options)
        return TrainSettings(
            name="fig4",
            task=task,
            model=ModelConfig(vocab_size=len(task.create().vocab), width=512, layers=" ".join(["attn gdn"] * 5), n_heads=8),
            sleep=SleepConfig(n_passes=n_passes, window_len=2000),
            optimiser=OptimiserSettings(muon_lr=1e-3, adamw_lr=5e-5, warmup_steps=100, decay_share=0.2),
            steps=50_000,
            batch_size=256,
            seed=seed,
            log_every=10,
            checkpoint_every=500,
            validate_every=1000,
            checkpointing="window",
        )
    options = {
        "n_ops": 4,
        "forms": ["leaf", "copy", "plus"],
        "context_len": 104,
        "window_len": 52,
        "n_kinds": 5,
        "n_places": 5,
        "n_totals": 0,
        "max_value": 100,
        "modulus": 5,
        "seed": seed,
    }
    task = TaskSettings(name="gsm", options=options)
    return TrainSettings(
        name=f"fig4-{size}",
        task=task,
        model=ModelConfig(vocab_size=len(task.create().vocab), width=64, layers="attn gdn", n_heads=4),
        sleep=SleepConfig(n_passes=n_passes, window_len=52),
        optimiser=OptimiserSettings(muon_lr=2e-3, adamw_lr=1e-3, warmup_steps=50, decay_share=0.2),
        batch_size=32 if size == "cpu" else 16,
        seed=seed,
        **_length(size, 12_000),
    )


@preset
def fig5(*, size: Size = "cpu", n_passes: int = 1, seed: int = 0) -> TrainSettings:
    """Figure 5 of Lee et al. 2026, from scratch: the problems of Figure 4 under sliding eviction, fixed N.

    After sleep the newest L - 1 tokens stay in the cache. The paper's L is 512 (4 to 6 windows); its pretrained Ouro is first
    trained for an epoch with hard eviction, the new layers alone. From scratch there is nothing to protect: all is trained at
    once. "cpu" has four windows of 26 tokens.
    """
    made = fig4(size=size, n_passes=n_passes, seed=seed)
    window_len = 512 if size == "paper" else 26
    task = made.task.replace(options={**made.task.options, "window_len": window_len})
    sleep = made.sleep.replace(window_len=window_len, eviction="sliding")
    return made.replace(name=made.name.replace("fig4", "fig5"), task=task, sleep=sleep)


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


def _rule110_paper(
    name: str, options: dict[str, Any], *, n_passes: int, seed: int, steps: int, validate_every: int
) -> TrainSettings:
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
        validate_every=validate_every,
    )


def _rule110_small(
    name: str, options: dict[str, Any], *, size: Size, n_passes: int, seed: int, mlp_ratio: float, steps: int = 1500
) -> TrainSettings:
    task = TaskSettings(name="rule110", options=options)
    made = task.create()
    return TrainSettings(
        name=name,
        task=task,
        model=ModelConfig(vocab_size=len(made.vocab), width=64, layers="attn gdn", n_heads=4, mlp_ratio=mlp_ratio),
        sleep=SleepConfig(n_passes=n_passes, window_len=made.window_len),
        optimiser=OptimiserSettings(muon_lr=2e-3, adamw_lr=1e-3, warmup_steps=50, decay_share=0.2),
        batch_size=128 if size == "cpu" else 16,
        seed=seed,
        **_length(size, steps),
    )


def _length(size: Size, steps: int) -> dict[str, Any]:
    """Return how long a run that is smaller than the paper's goes on, and how often it is looked at."""
    if size == "cpu":
        return {"steps": steps, "log_every": 20, "checkpoint_every": 100, "validate_every": steps // 40, "n_threads": 1}
    small = {"steps": 10, "log_every": 5, "checkpoint_every": 10, "validate_every": 5, "validation_examples": 64}
    return {**small, "n_threads": 1}


def _up_to(deepest: int, depths: list[int]) -> dict[str, Any]:
    return {"depth_weights": [min(1.0, 0.25 + 0.25 * d) if d <= deepest else 0.0 for d in depths]}
