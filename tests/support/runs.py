"""Training runs of a second or two."""

from typing import Any

from safetensors.torch import load_file

from sleepkit.model import ModelConfig
from sleepkit.sleep import SleepConfig
from sleepkit.training import OptimiserSettings, Run, TaskSettings, TrainSettings
from tests.support.compare import assert_same_bits


def tiny_settings(**changes: Any) -> TrainSettings:
    """Return a run of 12 steps over rings of 6 cells, with a law of N and checkpoints at steps 4, 8 and 12."""
    values: dict[str, Any] = {
        "name": "tiny",
        "task": TaskSettings(name="rule110", options={"width": 6, "n_strings": 2, "rollout_depth": [0, 1]}),
        "model": ModelConfig(vocab_size=5, width=16, n_heads=2, layers="attn gdn", mlp_ratio=2.0),
        "sleep": SleepConfig(n_passes=2, window_len=7),
        "n_passes_weights": (1.0, 1.0, 1.0),
        "optimiser": OptimiserSettings(warmup_steps=3, weight_decay=0.01),
        "steps": 12,
        "batch_size": 16,
        "log_every": 1,
        "checkpoint_every": 4,
        "n_threads": 1,
    }
    return TrainSettings(**{**values, **changes})


def assert_same_run(actual: Run, expected: Run) -> None:
    """Refuse a run whose weights or history differ in any bit."""
    weights, expected_weights = (load_file(run.folder / "model" / "model.safetensors") for run in (actual, expected))
    assert weights.keys() == expected_weights.keys()
    for name, tensor in weights.items():
        assert_same_bits(tensor, expected_weights[name], what=name)
        assert_same_bits(actual.model.state_dict()[name], tensor, what=name)
    assert actual.history.step.values.tolist() == expected.history.step.values.tolist()
    for name in ("loss", "accuracy", "n_passes_drawn", "gradient_norm"):
        assert actual.history[name].values.tolist() == expected.history[name].values.tolist(), name
