"""Who updates which parameter, at what rate, and the state of the optimisers as tensors."""

import itertools

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from sleepkit.training import Optimiser, OptimiserSettings, describe_split, muon, split_parameters
from sleepkit.training.optimiser import stacked_rows
from tests.support.compare import assert_close, assert_same_bits
from tests.support.models import fresh_model, small_model

VARIANTS = ({}, {"tie_embeddings": True}, {"mlp": "swiglu"}, {"layers": "gdn"}, {"layers": "attn attn"})


@pytest.mark.parametrize("changes", VARIANTS)
def test_every_parameter_is_in_exactly_one_group(changes: dict[str, object]) -> None:
    model = small_model(**changes)
    groups = split_parameters(model)
    assert set(groups) == {"muon", "adamw", "adamw_undecayed"}
    sorted_in = [(name, parameter) for group in groups.values() for name, parameter in group.items()]
    assert sorted(name for name, _ in sorted_in) == sorted(name for name, _ in model.named_parameters())
    assert {id(parameter) for _, parameter in sorted_in} == {id(parameter) for parameter in model.parameters()}


def test_matrices_in_the_blocks_go_to_muon_and_everything_else_to_adamw() -> None:
    groups = split_parameters(small_model(layers="attn gdn"))
    matrices = [f"layers.0.mixer.{name}.weight" for name in ("qkv", "out")]
    matrices += [f"layers.1.mixer.{name}.weight" for name in ("qkv", "gate", "out")]
    matrices += [f"layers.{layer}.mlp.{name}.weight" for layer, name in itertools.product((0, 1), ("up", "down"))]
    assert sorted(groups["muon"]) == sorted(matrices)
    special = ["embedding.weight", "projection.weight", "layers.1.mixer.conv", "layers.1.mixer.decay_and_beta.weight"]
    assert sorted(groups["adamw"]) == sorted(special)
    undecayed = ["final_norm.weight", "layers.1.mixer.A_log", "layers.1.mixer.dt_bias", "layers.1.mixer.norm.weight"]
    undecayed += [f"layers.0.mixer.{name}_norm.weight" for name in ("query", "key")]
    undecayed += [f"layers.{layer}.{name}_norm.weight" for layer, name in itertools.product((0, 1), ("mixer", "mlp"))]
    assert sorted(groups["adamw_undecayed"]) == sorted(undecayed)


def test_the_printed_split_names_every_parameter_once() -> None:
    model = small_model()
    names = [line.split()[1] for line in describe_split(model).splitlines()]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


def rates(settings: OptimiserSettings, steps: int) -> list[float]:
    optimiser = Optimiser(small_model(), settings, steps=steps)
    return [optimiser.rate_factor(step) for step in range(steps)]


def test_the_rate_rises_stays_and_falls() -> None:
    factors = rates(OptimiserSettings(warmup_steps=4, decay_share=0.5), 16)
    expected = [0.25, 0.5, 0.75, *[1.0] * 6, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    assert factors == pytest.approx(expected, abs=1e-15)


@hypothesis.given(warmup=st.integers(0, 30), share=st.floats(0, 1), steps=st.integers(1, 60))
def test_the_rate_factor_stays_in_the_unit_interval_and_has_one_top(warmup: int, share: float, steps: int) -> None:
    factors = rates(OptimiserSettings(warmup_steps=warmup, decay_share=share), steps)
    assert all(0 < factor <= 1 for factor in factors)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


def test_without_gradients_only_decayed_parameters_shrink_by_rate_times_decay() -> None:
    model = fresh_model(layers="attn gdn")
    settings = OptimiserSettings(muon_lr=0.1, adamw_lr=0.2, weight_decay=0.5, warmup_steps=0, decay_share=0.0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser = Optimiser(model, settings, steps=10)
    optimiser.step(0)
    kept = {"muon": 1 - 0.1 * 0.5, "adamw": 1 - 0.2 * 0.5, "adamw_undecayed": 1.0}
    for group, parameters in optimiser.groups.items():
        for name, parameter in parameters.items():
            assert_close(parameter, kept[group] * before[name], tolerance=1e-15, what=name)


def test_the_whole_gradient_is_clipped_and_its_norm_before_is_returned() -> None:
    model = fresh_model(layers="gdn")
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    expected = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).norm()
    seen: list[torch.Tensor] = []
    optimiser = Optimiser(model, OptimiserSettings(clip_norm=0.5), steps=10)
    for part in optimiser.parts.values():
        part.register_step_pre_hook(
            lambda *_: seen.append(torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]))
        )
    assert_close(optimiser.step(0), expected, what="norm before clipping")
    assert_close(seen[0].norm(), torch.tensor(0.5), tolerance=1e-6, what="norm after clipping")
    assert all(parameter.grad is None for parameter in model.parameters())


def test_optimiser_state_put_back_gives_the_same_steps_bit_for_bit() -> None:
    def make() -> tuple[torch.nn.Module, Optimiser]:
        model = fresh_model(layers="attn gdn", dtype=torch.float32)
        return model, Optimiser(model, OptimiserSettings(), steps=20)

    def go(model: torch.nn.Module, optimiser: Optimiser, steps: range) -> None:
        for step in steps:
            for number, parameter in enumerate(model.parameters()):
                parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(100 * step + number))
            optimiser.step(step)

    straight, resumed = make(), make()
    go(*straight, range(8))
    go(*resumed, range(5))
    again = make()
    again[0].load_state_dict(resumed[0].state_dict())
    again[1].load_state_tensors(resumed[1].state_tensors())
    go(*again, range(5, 8))
    for name, tensor in again[0].state_dict().items():
        assert_same_bits(tensor, straight[0].state_dict()[name], what=name)


def test_state_of_a_parameter_that_is_not_there_is_refused() -> None:
    optimiser = Optimiser(small_model(), OptimiserSettings(), steps=5)
    with pytest.raises(KeyError, match="no parameter for 'muon/nowhere/momentum_buffer'"):
        optimiser.load_state_tensors({"muon/nowhere/momentum_buffer": torch.zeros(1)})


def matrices(dtype: torch.dtype = torch.float64) -> list[torch.nn.Parameter]:
    """Three of one shape, and two of others."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(6, 4), (4, 6), (6, 4), (6, 4), (5, 5)]
    return [torch.nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)) for shape in shapes]


def step_with(optimiser: torch.optim.Optimizer, parameters: list[torch.nn.Parameter], steps: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for parameter in parameters:
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.grad = drawn.to(parameter.dtype)
        optimiser.step()


def test_muon_moves_weights_as_that_of_torch_does_but_for_its_rounding_to_bfloat16() -> None:
    start, ours, theirs = matrices(torch.float32), matrices(torch.float32), matrices(torch.float32)
    step_with(muon.Muon(ours, lr=0.1, weight_decay=0.3), ours, 3)
    step_with(torch.optim.Muon(theirs, lr=0.1, weight_decay=0.3, adjust_lr_fn="match_rms_adamw"), theirs, 3)
    for one, other, before in zip(ours, theirs, start, strict=True):
        assert (one - other).norm() < 0.03 * (one - before).norm()


def test_muon_updates_each_of_many_matrices_as_if_it_were_alone() -> None:
    together, alone = matrices(), matrices()
    step_with(muon.Muon(together, lr=0.1, weight_decay=0.3), together, 3)

    class Apart(torch.optim.Optimizer):
        def step(self, closure: None = None) -> None:  # type: ignore[override]
            for part in parts:
                part.step()

    parts = [muon.Muon([parameter], lr=0.1, weight_decay=0.3) for parameter in alone]
    step_with(Apart(alone, {}), alone, 3)
    for one, other in zip(together, alone, strict=True):
        assert_close(one, other, tolerance=1e-14)


def test_orthogonalising_keeps_singular_vectors_and_makes_their_values_alike() -> None:
    matrix = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    made = muon.orthogonalised(matrix)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    assert values.max() > 2 * values.min()
    inside = left.mT @ made @ right.mT
    assert_close(inside, torch.diag_embed(inside.diagonal(dim1=1, dim2=2)), tolerance=1e-12, what="vectors")
    assert bool(((inside.diagonal(dim1=1, dim2=2) > 0.65) & (inside.diagonal(dim1=1, dim2=2) < 1.25)).all())


def test_muon_calls_a_closure_with_gradients_on_and_returns_its_loss() -> None:
    parameter = torch.nn.Parameter(torch.eye(3))
    calls: list[bool] = []

    def closure() -> torch.Tensor:
        calls.append(torch.is_grad_enabled())
        loss = parameter.square().sum()
        loss.backward()
        return loss

    before = parameter.detach().clone()
    with torch.no_grad():
        loss = muon.Muon([parameter], lr=0.1, weight_decay=0.0).step(closure)
    assert calls == [True]
    assert isinstance(loss, torch.Tensor)
    assert loss.item() == 3.0
    assert not torch.equal(parameter, before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": -1.0}, r"lr: must be a number in \[0, inf\), got -1.0"),
        ({"lr": float("nan")}, r"lr: must be a number in \[0, inf\), got nan"),
        ({"lr": torch.tensor(float("inf"))}, r"lr: must be a number in \[0, inf\), got inf"),
        ({"lr": "1"}, "lr: must be a number, got '1'"),
        ({"weight_decay": -0.1}, r"weight_decay: must be a number in \[0, inf\), got -0.1"),
        ({"momentum": 1.0}, r"momentum: must be a number in \[0, 1\), got 1.0"),
        ({"momentum": float("nan")}, r"momentum: must be a number in \[0, 1\), got nan"),
    ],
)
def test_muon_refuses_numbers_out_of_range(changes: dict[str, object], message: str) -> None:
    options: dict[str, object] = {"lr": 0.1, "weight_decay": 0.0, **changes}
    with pytest.raises(ValueError, match=f"^{message}$"):
        muon.Muon([torch.nn.Parameter(torch.eye(2))], **options)
    optimiser = muon.Muon([torch.nn.Parameter(torch.eye(2))], lr=0.1, weight_decay=0.0)
    with pytest.raises(ValueError, match=f"^{message}$"):
        optimiser.add_param_group({"params": [torch.nn.Parameter(torch.eye(2))], **changes})
    assert len(optimiser.param_groups) == 1


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_muon_refuses_what_is_no_matrix(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^params: must be matrices \(of two axes\), got \("):
        muon.Muon([torch.nn.Parameter(torch.zeros(shape))], lr=0.1, weight_decay=0.0)


def test_muon_refuses_rows_that_do_not_add_up() -> None:
    parameter = torch.nn.Parameter(torch.zeros(5, 2))
    for rows in ((2, 2), (5, 0), (6, -1)):
        with pytest.raises(ValueError, match=r"^rows: must be above 0 and add up to 5, got"):
            muon.Muon([parameter], lr=0.1, weight_decay=0.0, rows={parameter: rows})


def test_rows_apart_move_as_parameters_of_their_own() -> None:
    stacked, parts = torch.nn.Parameter(torch.ones(7, 3)), [torch.nn.Parameter(torch.ones(n, 3)) for n in (2, 5)]
    generator = torch.Generator().manual_seed(3)
    optimisers = [muon.Muon([stacked], lr=0.1, weight_decay=0.2, rows={stacked: (2, 5)})]
    optimisers += [muon.Muon([part], lr=0.1, weight_decay=0.2) for part in parts]
    for _ in range(3):
        stacked.grad = torch.randn(7, 3, generator=generator)
        for part, gradient in zip(parts, stacked.grad.split([2, 5]), strict=True):
            part.grad = gradient.clone()
        for optimiser in optimisers:
            optimiser.step()
    assert_close(stacked, torch.cat(parts), tolerance=1e-6)


@pytest.mark.parametrize("changes", [*VARIANTS, {"layers": "jet mamba2", "n_heads": 4, "n_key_heads": 2}])
def test_stacked_rows_are_those_of_queries_keys_and_values_and_of_gate_and_up(changes: dict[str, object]) -> None:
    model = small_model(**changes)
    rows = stacked_rows(model)
    stacked = {name for name, parameter in model.named_parameters() if parameter in rows}
    gated = changes.get("mlp") == "swiglu"
    wanted = {name for name, _ in model.named_parameters() if name.endswith(("qkv.weight", *(["up.weight"] if gated else [])))}
    assert stacked == wanted
    assert all(sum(parts) == parameter.shape[0] for parameter, parts in rows.items())
    assert Optimiser(model, OptimiserSettings(muon_apart=True), steps=1).parts["muon"].rows == rows  # type: ignore[attr-defined]


def test_taking_them_apart_is_a_setting_that_leaves_earlier_digests_alone() -> None:
    assert OptimiserSettings().digest() == OptimiserSettings(muon_apart=False).digest()
    assert OptimiserSettings().digest() != OptimiserSettings(muon_apart=True).digest()
