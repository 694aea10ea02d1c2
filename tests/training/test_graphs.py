"""Steps that are captured and launched again, with a recorder that captures nothing but the work itself: no GPU is needed."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sleepkit.errors import InvalidInputError
from sleepkit.training import Optimiser, build_model, train
from sleepkit.training.graphs import GraphedSteps, Outcome
from sleepkit.training.loop import Trainer, passes_at
from tests.support.compare import assert_same_bits
from tests.support.runs import tiny_settings


class Again:
    """Does captured work again at every launch, on the memory it was captured with, and leaves results in the same place."""

    def __init__(self) -> None:
        self.plain, self.launched, self.captured = 0, 0, 0

    def plainly(self, work: Callable[[], Outcome]) -> Outcome:
        self.plain += 1
        return work()

    def capture(self, work: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
        self.captured += 1
        kept = Outcome(None, torch.zeros(()), torch.zeros(()))  # type: ignore[arg-type]

        def launch() -> None:
            self.launched += 1
            outcome = work()
            kept.loss.copy_(outcome.loss)
            kept.norm.copy_(outcome.norm)

        return launch, kept


def trainer(folder: Path, *, captured: bool) -> Trainer:
    settings = tiny_settings()
    model = build_model(settings)
    optimiser = Optimiser(model, settings.optimiser, steps=settings.steps, captured=captured)
    return Trainer(
        settings, folder, model, optimiser, {"step": 0, "rows": [], "elapsed_s": 0.0, "compile_s": 0.0, "validations": []}
    )


def test_launched_steps_are_those_of_the_loop_and_each_n_is_captured_once(tmp_path: Path) -> None:
    settings, again = tiny_settings(), Again()
    straight, launched = trainer(tmp_path / "a", captured=False), trainer(tmp_path / "b", captured=False)
    steps = GraphedSteps(launched._whole_step, again)
    for step in range(settings.steps):
        batch, windows = straight.make_batch(step)
        n_passes = passes_at(settings, step)
        outcomes = []
        for one, make in ((straight, straight._whole_step), (launched, steps)):
            one.optimiser.set_rates(step)
            outcomes.append(make(batch, windows, n_passes))
        assert_same_bits(outcomes[1].loss, outcomes[0].loss, what=f"loss of step {step}")
        assert_same_bits(outcomes[1].norm, outcomes[0].norm, what=f"norm of step {step}")
    for name, tensor in launched.model.state_dict().items():
        assert_same_bits(tensor, straight.model.state_dict()[name], what=name)
    drawn = [passes_at(settings, step) for step in range(settings.steps)]
    assert again.plain == len(set(drawn))
    assert again.captured == steps.n_graphs == sum(drawn.count(n) > 1 for n in set(drawn))
    assert again.plain + again.launched == settings.steps


def test_rates_on_the_device_make_the_updates_of_rates_in_python() -> None:
    def go(captured: bool) -> dict[str, torch.Tensor]:
        settings = tiny_settings(dtype="float64")
        model = build_model(settings)
        optimiser = Optimiser(model, settings.optimiser, steps=6)
        if captured:  # AdamW keeps rates on a device for graphs alone; as tensors they are the same numbers
            for group in optimiser.parts["muon"].param_groups:
                group["lr"] = torch.tensor(group["lr"], dtype=torch.float64)
        for step in range(6):
            generator = torch.Generator().manual_seed(step)
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            optimiser.step(step)
        return model.state_dict()

    floats, tensors = go(False), go(True)
    for name, tensor in floats.items():
        assert (tensor - tensors[name]).abs().max() < 1e-12, name


def test_graphs_are_refused_without_a_cuda_device() -> None:
    with pytest.raises(InvalidInputError, match="cuda_graphs: must be false on device='cpu', got True"):
        train(tiny_settings(cuda_graphs=True))
