"""Everything a training run depends on, as data."""

import dataclasses
from typing import Any, Literal

from sleepkit import tasks
from sleepkit.errors import require, require_count
from sleepkit.model import ModelConfig
from sleepkit.settings import Settings, settings
from sleepkit.sleep import Checkpointing, SleepConfig


@settings
class TaskSettings(Settings):
    """Which task, with which options (the fields of its config class)."""

    name: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def check(self) -> None:
        """Refuse an unknown task or impossible options."""
        self.create()

    def create(self, **overrides: Any) -> tasks.Task:
        """Make the task, with some options replaced."""
        return tasks.create(self.name, **{**self.options, **overrides})


@settings
class Stage(Settings):
    """Part of a curriculum: from ``start_step`` on, these task options replace the run's own."""

    start_step: int
    options: dict[str, Any]


@settings
class OptimiserSettings(Settings):
    """Muon for the matrices, AdamW for the rest; linear warm-up, constant, linear decay to zero.

    Attributes:
        muon_lr: rate of Muon, updates matched to the RMS of AdamW's (arXiv 2502.16982).
        adamw_lr: rate of AdamW.
        weight_decay: decoupled decay of matrices, the embedding included; never of norms, decay rates or biases.
        warmup_steps: steps of linear warm-up.
        decay_share: share of all steps, at the end, over which the rates fall to zero.
        clip_norm: largest norm of the whole gradient.
        muon_apart: make queries, keys and values orthogonal each by itself, and so gate and up of a gated MLP; otherwise what is
            one parameter is one matrix.
    """

    LATER = ("muon_apart",)

    muon_lr: float = 2e-3
    adamw_lr: float = 1e-3
    weight_decay: float = 0.0
    warmup_steps: int = 50
    decay_share: float = 0.2
    clip_norm: float = 1.0
    muon_apart: bool = False

    def check(self) -> None:
        """Refuse impossible rates."""
        for name in ("muon_lr", "adamw_lr", "clip_norm"):
            require(getattr(self, name) > 0, name, "must be above 0", getattr(self, name))
        for name in ("weight_decay", "warmup_steps"):
            require(getattr(self, name) >= 0, name, "must be 0 or more", getattr(self, name))
        require(0 <= self.decay_share <= 1, "decay_share", "must be in [0, 1]", self.decay_share)


@settings
class TrainSettings(Settings):
    """Settings of a training run; its digest names its folder.

    Attributes:
        name: what the run is called.
        task: what it is trained on.
        model: what is trained; its vocabulary must hold the task's.
        sleep: window length, eviction, and N where no law draws it.
        n_passes_weights: law of N: weights of N = 1, 2, ... from which each step's N is drawn; None: always sleep.n_passes.
        curriculum: stages of task options, by rising start step.
        optimiser: rates and clipping.
        steps: optimiser steps.
        batch_size: examples a step.
        seed: root of initialisation, data order and the law of N.
        log_every: steps between rows of the history.
        checkpoint_every: steps between checkpoints.
        dtype: "float32" or "float64".
        device: "cpu" or "cuda".
        n_threads: CPU threads; 0 leaves torch's choice. Results are bit-identical only at the same number.
        checkpointing: what the forward keeps for the backward: "none" (everything), "pass" or "window" (see ``rollout``).
        gradient_passes: k, gradient through the last k passes over each window slept on (see ``rollout``); None: all.
        gradient_windows: j, gradient through the last j windows slept on (see ``rollout``); None: all.
        autocast: matrix products in bfloat16; weights, their gradients and updates, fast weights and loss stay float32.
        compile: run the blocks as code made by torch.compile (see ``HybridLM.compile_blocks``).
        cuda_graphs: launch each step as one CUDA graph, captured once for each N and schedule of windows (``training.graphs``).
        validate_every: steps between counts of right answers by depth on the validation split, at N = sleep.n_passes; 0: never.
        validation_examples: examples of each count, always the same ones.
    """

    LATER = (
        "checkpointing",
        "gradient_passes",
        "gradient_windows",
        "autocast",
        "compile",
        "cuda_graphs",
        "validate_every",
        "validation_examples",
    )

    name: str
    task: TaskSettings
    model: ModelConfig
    sleep: SleepConfig
    n_passes_weights: tuple[float, ...] | None = None
    curriculum: tuple[Stage, ...] = ()
    optimiser: OptimiserSettings = OptimiserSettings()
    steps: int = 1000
    batch_size: int = 256
    seed: int = 0
    log_every: int = 10
    checkpoint_every: int = 100
    dtype: Literal["float32", "float64"] = "float32"
    device: str = "cpu"
    n_threads: int = 0
    checkpointing: Checkpointing = "none"
    gradient_passes: int | None = None
    gradient_windows: int | None = None
    autocast: bool = False
    compile: bool = False
    cuda_graphs: bool = False
    validate_every: int = 0
    validation_examples: int = 512

    def check(self) -> None:
        """Refuse settings that do not fit together."""
        for name in ("steps", "batch_size", "log_every", "checkpoint_every", "validation_examples"):
            require_count(name, getattr(self, name))
        for name in ("seed", "n_threads", "validate_every"):
            require_count(name, getattr(self, name), least=0)
        for name in ("gradient_passes", "gradient_windows"):
            require_count(name, getattr(self, name), or_none=True)
        require(not self.autocast or self.dtype == "float32", "autocast", "must be false where dtype is float64", self.autocast)
        on_cuda = self.device.startswith("cuda")
        require(not self.cuda_graphs or on_cuda, "cuda_graphs", f"must be false on device={self.device!r}", self.cuda_graphs)
        safe = self.name.replace("-", "").replace("_", "").isalnum()
        require(safe, "name", "must be made of letters, digits, - and _", self.name)
        weights = self.n_passes_weights
        if weights is not None:
            good = len(weights) > 0 and min(weights) >= 0 and sum(weights) > 0
            require(good, "n_passes_weights", "must be >= 0 with a positive sum", weights)
        n_tokens = len(self.task.create().vocab)
        fits = self.model.vocab_size >= n_tokens
        require(fits, "vocab_size", f"must hold the task's {n_tokens} tokens", self.model.vocab_size)
        starts = [stage.start_step for stage in self.curriculum]
        require(starts == sorted(set(starts)), "curriculum", "must have rising start steps", starts)
        for stage in self.curriculum:
            staged = self.task.create(**stage.options)
            same = staged.vocab == self.task.create().vocab and staged.seq_len == self.task.create().seq_len
            require(same, "curriculum", "must keep the vocabulary and sequence length", stage.options)

    def task_at(self, step: int) -> tasks.Task:
        """Return the task of a step (counted from 0), with the options of its stage."""
        options: dict[str, Any] = {}
        for stage in self.curriculum:
            if stage.start_step <= step:
                options = stage.options
        return self.task.create(**options)
