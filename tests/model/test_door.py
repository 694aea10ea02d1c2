"""The door for modules: what is exchanged, hooked, replaced or patched is called, as often as it acts; what is wrong, refused."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from sleepkit.errors import InvalidInputError
from sleepkit.kernels import build
from sleepkit.model import HybridLM, ModelConfig
from sleepkit.model.passes import FASTEST, PLAIN
from sleepkit.model.state import AttentionCache, ModelState
from sleepkit.sleep import Session, SleepConfig, rollout
from tests.support.batches import ask_at_the_end
from tests.support.compare import assert_close, assert_same_bits
from tests.support.doors import take_off_type_checks
from tests.support.models import assert_same_state, fresh_model, random_state, random_tokens

WEIGHTED = ("mixer_norm", "mlp_norm", "mixer.qkv", "mixer.out", "mlp.up", "mlp.down")
ATTENTION, FAST = (
    (*WEIGHTED, "mixer.query_norm", "mixer.key_norm"),
    (*WEIGHTED, "mixer.norm", "mixer.gate", "mixer.decay_and_beta"),
)
MODULES = [*(f"layers.0.{name}" for name in ATTENTION), *(f"layers.1.{name}" for name in FAST)]


def outcome(model: HybridLM, *, n_passes: int = 2) -> Tensor:
    hidden, state = model.blocks(model.embed(random_tokens(2, 5)), random_state(model, 2), n_passes)
    return torch.cat([hidden.flatten(), *(layer.flatten() for layer in state.fast_weights if layer is not None)])


def as_modules(model: HybridLM) -> Tensor:
    model._functions = PLAIN
    result = outcome(model)
    model._functions = FASTEST
    return result


def replace_forward(module: nn.Module) -> None:
    before = module.forward
    module.forward = lambda *values: 2 * before(*values)  # type: ignore[method-assign]


def exchange(module: nn.Module) -> None:
    class Doubled(type(module)):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    module.__class__ = Doubled


CHANGES: dict[str, Callable[[nn.Module], Any]] = {
    "forward": replace_forward,
    "class": exchange,
    "hook": lambda module: module.register_forward_hook(lambda _m, _i, out: 2 * out),
    "hook before": lambda module: module.register_forward_pre_hook(lambda _m, given: (given[0] + 1,)),
}


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_was_changed_is_called(name: str, how: str) -> None:
    model = fresh_model(layers="attn gdn")
    before = outcome(model)
    CHANGES[how](model.get_submodule(name))
    actual = outcome(model)
    assert not torch.allclose(actual, before)
    assert_close(actual, as_modules(model), tolerance=1e-10)


@pytest.mark.parametrize("name", [name for name in MODULES if name.endswith("norm")])
def test_each_norm_has_its_own_eps(name: str) -> None:
    model, twin = fresh_model(layers="attn gdn"), fresh_model(layers="attn gdn")
    before = outcome(model)
    model.get_submodule(name).eps = 0.5
    twin.get_submodule(name).register_forward_hook(
        lambda norm, given, _: F.rms_norm(given[0], norm.normalized_shape, norm.weight, 0.5)
    )
    assert not torch.allclose(outcome(model), before, rtol=1e-4)
    assert_close(outcome(model), outcome(twin))


def test_norms_that_agree_on_another_eps_stay_one_operation() -> None:
    model = fresh_model(layers="attn gdn")
    for module in model.modules():
        if isinstance(module, nn.RMSNorm):
            module.eps = 0.25
    assert_close(outcome(model), as_modules(model))
    if build.why_unavailable() is None:
        assert [layer.path for layer in model.explain().layers] == ["one operation"] * 2


def prune(model: HybridLM) -> None:
    for number in (0, 1):
        mlp = model.layers[number].mlp
        mlp.up.weight, mlp.down.weight = nn.Parameter(mlp.up.weight[:-3].clone()), nn.Parameter(mlp.down.weight[:, :-3].clone())


def add_bias(model: HybridLM) -> None:
    model.layers[0].mixer.out.bias = nn.Parameter(torch.ones(8, dtype=torch.float64))
    model.layers[1].mixer.gate.bias = nn.Parameter(torch.ones(8, dtype=torch.float64))


def spread(model: HybridLM) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight = nn.Parameter(module.weight.detach().T.contiguous().T)
        elif isinstance(module, nn.RMSNorm):
            module.weight = nn.Parameter(torch.full((1,), 1.5, dtype=torch.float64).expand(module.weight.shape))


def tie(model: HybridLM) -> None:
    model.layers[1].mlp.up.weight = model.layers[0].mlp.up.weight
    model.layers[0].mlp_norm = model.layers[0].mixer_norm


@pytest.mark.parametrize("change", [prune, add_bias, spread, tie])
def test_parameters_exchanged_in_place_give_what_the_modules_give_and_their_gradients(change: Callable[[HybridLM], None]) -> None:
    model = fresh_model(layers="attn gdn")
    before = outcome(model)
    change(model)
    actual, expected = outcome(model), as_modules(model)
    assert not torch.allclose(actual, before)
    assert_close(actual, expected, tolerance=1e-11)
    parameters = [p for name, p in model.layers.named_parameters()]
    pairs = zip(*(torch.autograd.grad(x.square().sum(), parameters) for x in (actual, expected)), strict=True)
    for one, other in pairs:
        assert_close(one, other, tolerance=1e-10)


@pytest.fixture
def linear_patched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    calls, forward = list[int](), nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: calls.append(1) or forward(self, x))
    return calls  # type: ignore[return-value]


def test_a_class_whose_forward_was_patched_is_called(linear_patched: list[int]) -> None:
    model = fresh_model(layers="attn gdn")
    outcome(model, n_passes=3)
    assert len(linear_patched) == 3 * (4 + 6)
    assert "Linear.forward was exchanged" in str(model.explain())


def test_a_hook_of_all_modules_is_called_for_every_module() -> None:
    model, seen = fresh_model(layers="attn gdn"), list[nn.Module]()
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(module))
    try:
        outcome(model)
    finally:
        handle.remove()
    for name, module in model.layers.named_modules():
        if name:
            assert sum(module is other for other in seen) == 2, name


CALLED = {
    "layers.0.mixer_norm": 1,
    "layers.1.mixer.norm": 4,
    "layers.2": 4,
    "layers.2.mlp.up": 4,
    "layers.3.mlp": 1,
    "loop_norm": 3,
}


@pytest.mark.parametrize("how", ["blocks", "consolidate", "observe", "rollout", "session", "recompute", "compiled"])
@pytest.mark.parametrize("name", CALLED)
def test_a_hook_is_called_as_often_as_its_module_acts(name: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers 1 and 2 are looped four times; layer 2 is attention, whose last pass nobody reads, and so is the coda."""
    model = fresh_model(layers="attn gdn attn attn", loop=(1, 3), loop_norm=True)
    calls = list[int]()
    tokens = random_tokens(2, 4)
    if how == "compiled":
        take_off_type_checks(monkeypatch)
        model.compile_blocks(backend="eager")
    model.get_submodule(name).register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        if how == "rollout":
            rollout(model, tokens, SleepConfig(n_passes=4, window_len=4))
        elif how == "session":
            session = Session(model, SleepConfig(n_passes=4, window_len=5), batch_size=2)
            session.read(tokens)
            session.sleep()
        elif how in ("consolidate", "compiled"):
            model.consolidate(model.embed(tokens), model.initial_state(2), 4)
        else:
            options: dict[str, Any] = {"observe": {"observe": lambda _: None}, "recompute": {"recompute": True}}.get(how, {})
            model.blocks(model.embed(tokens), model.initial_state(2), 4, **options)
    coda_too = how == "session" and name == "layers.3.mlp"  # read awake, and once more at the end of sleep
    assert len(calls) == CALLED[name] + coda_too


def test_hooks_change_neither_state_nor_attention_seen() -> None:
    model, views = fresh_model(), list[Any]()
    hidden, state = model.embed(random_tokens(2, 5)), random_state(model, 2)
    expected = model.consolidate(hidden, state, 3)
    model.blocks(hidden, state, 3, observe=views.append)
    for layer in model.layers:
        layer.mixer_norm.register_forward_hook(lambda *_: None)
    actual = model.consolidate(hidden, state, 3)
    model.blocks(hidden, state, 3, observe=views.append)
    for one, other in zip(actual.fast_weights, expected.fast_weights, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert_close(one, other, tolerance=1e-10)
    for number, seen in views[2].attention.items():
        assert_close(views[5].attention[number], seen, tolerance=1e-10)


def test_backward_hooks_are_called_in_every_pass() -> None:
    model, calls = fresh_model(layers="attn gdn"), list[int]()
    model.layers[1].mixer.norm.register_full_backward_hook(lambda *_: calls.append(1))
    outcome(model, n_passes=3).sum().backward()
    assert len(calls) == 3


def test_explain_says_which_path_and_why() -> None:
    if build.why_unavailable() is not None:
        pytest.skip(str(build.why_unavailable()))
    model = fresh_model(layers="attn gdn jet mamba2 gdn attn")
    model.layers[4].mlp.up.register_forward_hook(lambda *_: None)
    model.layers[5].mixer.query_norm.eps = 0.1
    explained = model.explain(batch_size=3, window_len=7)
    assert [layer.path for layer in explained.layers] == ["one operation"] * 2 + ["modules"] * 4
    jet, mamba, hooked, attention = explained.layers[2:]
    assert "not Jet" in jet.reason
    assert str(jet.operation).startswith("native: ")
    assert str(mamba.operation).startswith("chunked: ")
    assert hooked.reason == "mlp.up is hooked"
    assert "one eps" in attention.reason
    assert attention.operation is None
    assert len(str(explained).splitlines()) == 6
    assert "a tensor" not in str(explained)
    assert all("1 to 256 tokens" in layer.reason for layer in model.explain(window_len=300).layers[:2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "autocast" in model.explain().layers[0].reason
    assert "bfloat16" in copy.deepcopy(model).to(torch.bfloat16).explain().layers[0].reason
    model.compile_blocks(backend="eager")
    assert [layer.path for layer in model.explain().layers[3:5]] == ["compiled", "modules"]
    with pytest.raises(InvalidInputError, match="window_len"):
        model.explain(window_len=0)


def test_shapes_of_a_model_come_from_the_meta_device_and_from_fake_tensors() -> None:
    config = ModelConfig(vocab_size=16, width=32, layers="attn gdn jet mamba2")
    with torch.device("meta"):
        model = HybridLM(config)
        tokens = torch.zeros(3, 8, dtype=torch.int64)
    hidden, state = model.blocks(model.embed(tokens), model.initial_state(3), 2)
    assert model.head(hidden).shape == (3, 8, 16)
    assert all(layer is None or layer.is_meta for layer in model.consolidate(model.embed(tokens), state, 2).fast_weights)
    with FakeTensorMode():
        fake = HybridLM(config)
        hidden, _ = fake.blocks(fake.embed(torch.zeros(3, 8, dtype=torch.int64)), fake.initial_state(3), 2)
        assert fake.head(hidden).shape == (3, 8, 16)


@pytest.mark.filterwarnings("ignore")
def test_a_traced_model_gives_the_numbers_of_the_model() -> None:
    model = fresh_model(layers="attn gdn").requires_grad_(False)

    def run(tokens: Tensor) -> Tensor:
        return model.head(model.blocks(model.embed(tokens), model.initial_state(2), 2)[0])

    first, second = random_tokens(2, 6), random_tokens(2, 6, seed=1)
    with torch.no_grad():
        made = make_fx(run)(first)
        for tokens in (first, second):
            assert_close(made(tokens), run(tokens), tolerance=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_transforms_differentiate_a_model() -> None:
    model = fresh_model(layers="attn gdn")
    hidden, state = model.embed(random_tokens(2, 4)).detach(), random_state(model, 2)

    def run(h: Tensor) -> Tensor:
        return model.blocks(h, state, 2).hidden.square().sum()

    leaf = hidden.clone().requires_grad_()
    (expected,) = torch.autograd.grad(run(leaf), leaf)
    assert_close(torch.func.grad(run)(hidden), expected, tolerance=1e-9)


WRONG_STATES: dict[str, Callable[[ModelState], Any]] = {
    "must be of batch 3": lambda s: s.map(lambda x: torch.cat([x, x])[:2]),
    "must have 4 layers": lambda s: s._replace(fast_weights=s.fast_weights[:-1]),
    "must have shape": lambda s: s.map(lambda x: x[..., :-1]),
    "must be torch.float64": lambda s: s.map(lambda x: x.float()),
    "must be a dense tensor of real numbers": lambda s: s.map(lambda x: x.to_sparse()),
    "must be on cpu": lambda s: s.map(lambda x: x.to("meta")),
    "must be None": lambda s: s._replace(fast_weights=s.fast_weights[::-1]),
    "must be a tensor of shape": lambda s: s._replace(fast_weights=(None,) * 4),
    "must be a dense tensor of real": lambda s: s.map(lambda x: x.long()),
    "tails of convolutions": lambda s: s._replace(conv_tails=s.fast_weights),
}


@pytest.mark.parametrize("rule", WRONG_STATES)
def test_a_state_of_something_else_is_refused_in_a_line(rule: str) -> None:
    model, tokens = fresh_model(), random_tokens(3, 5)
    state, hidden = WRONG_STATES[rule](random_state(model, 3)), model.embed(random_tokens(3, 5))
    for call in (
        lambda: model.blocks(hidden, state),
        lambda: model.consolidate(hidden, state, 2),
        lambda: model.run_layers(hidden, state, (0, 4)),
        lambda: rollout(model, tokens, SleepConfig(window_len=5), state=state),
    ):
        with pytest.raises(InvalidInputError, match=rule) as refusal:
            call()
        assert "\n" not in str(refusal.value)


def test_a_sight_of_something_else_is_refused_in_a_line() -> None:
    model, sleep = fresh_model(), SleepConfig(window_len=4, eviction="sliding")
    left = rollout(model, random_tokens(3, 8), sleep).state
    assert left.sight is not None
    one = left.sight.carried[0]
    assert one is not None
    for wrong in (AttentionCache(one.keys[:, :1], one.values), AttentionCache(one.keys[..., :1, :], one.values), None):
        state = left._replace(sight=left.sight._replace(carried=(wrong, *left.sight.carried[1:])))
        with pytest.raises(InvalidInputError, match="sight of layer"):
            rollout(model, random_tokens(3, 4), sleep, state=state)


@pytest.mark.parametrize("changes", [{}, {"carry_conv": True}])
@pytest.mark.parametrize("eviction", ["hard", "sliding"])
def test_the_state_of_one_sequence_is_repeated_read_once_ask_many(eviction: Any, changes: dict[str, Any]) -> None:
    if eviction == "sliding" and changes:
        pytest.skip("a convolution that is carried on is tested under hard eviction")
    model, sleep = fresh_model(**changes), SleepConfig(n_passes=2, window_len=4, eviction=eviction)
    read, asked = random_tokens(1, 8), ask_at_the_end(random_tokens(3, 7, seed=2), 3)
    left = rollout(model, read, sleep).state
    wanted = rollout(model, asked, sleep, state=left.map(lambda x: x.expand(3, *x.shape[1:]).clone()))
    actual = rollout(model, asked, sleep, state=left)
    assert actual.loss is not None
    assert wanted.loss is not None
    assert_same_bits(actual.loss, wanted.loss)
    assert_same_state(actual.state, wanted.state)
    session = Session(model, sleep)
    session.read(torch.cat([read, asked.tokens[:1, :2]], dim=1))
    questions = asked.tokens[:, 2:4]
    answers = session.predict(questions)
    for row in range(3):
        assert_close(answers[row : row + 1], session.predict(questions[row : row + 1]), tolerance=1e-10)
    with pytest.raises(InvalidInputError, match=r"^batch_size: must be 3"):
        session.fork(batch_size=3).fork(batch_size=2)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8])
def test_a_mask_of_integers_is_the_boolean_one(dtype: torch.dtype) -> None:
    model, hidden = fresh_model(), fresh_model().embed(random_tokens(3, 8))
    state, valid = random_state(model, 3), torch.ones(3, 8, dtype=torch.bool)
    valid[0, :3] = False
    for run in (model.blocks, model.consolidate):
        results = [run(hidden, state, 2, valid_BT=mask) for mask in (valid, valid.to(dtype))]
        first, second = (result if isinstance(result, ModelState) else result.state for result in results)
        assert_same_state(first, second)
        for wrong in (valid.float(), 3 * valid.to(dtype), valid[:1], valid[:, :-1]):
            with pytest.raises(InvalidInputError, match=r"^valid: must "):
                run(hidden, state, 2, valid_BT=wrong)
