"""The door in front of C: which tensors pass, who takes addresses, and what becomes of those that do not pass."""

import ast
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

import sleepkit
from sleepkit import ops
from sleepkit.errors import ImplUnavailableError, InvalidInputError
from sleepkit.kernels import build, door
from sleepkit.kernels.strides import compact
from tests.support.compare import assert_close

Operation = Callable[..., Tensor]
# Torch warns of its own deprecated parts while it transforms, and of dtypes that it does not fuse.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning", "ignore:Mismatch dtype:UserWarning")


class Named(Tensor):
    """What someone may make of a tensor."""


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def delta(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, state: Tensor) -> Tensor:
    return ops.gated_delta_rule(q, k, v, -log_decay.abs(), beta, state).out


def conv(x: Tensor, weight: Tensor, tail: Tensor) -> Tensor:
    return ops.short_conv(x, weight, tail, silu=True)[0]


def turned(x: Tensor, weight: Tensor) -> Tensor:
    angles = ops.rotation(0, x.shape[1], head_dim=x.shape[3], base=100.0, dtype=x.dtype, device=x.device)
    return ops.rotary_rms_norm(x, weight, angles, eps=1e-6)


OPERATIONS: dict[str, tuple[Operation, tuple[Tensor, ...]]] = {
    "rms_norm": (lambda x, w: ops.rms_norm(x, w, eps=1e-6), (draw(2, 5, 8), draw(8))),
    "gated_rms_norm": (lambda x, g, w: ops.gated_rms_norm(x, g, w, eps=1e-6), (draw(2, 5, 3, 4), draw(2, 5, 12), draw(4))),
    "rotary_rms_norm": (turned, (draw(2, 5, 4, 6), draw(2, 6))),
    "unit_length": (lambda x: ops.unit_length(x, eps=1e-6), (draw(2, 5, 3, 4),)),
    "relu_square": (ops.relu_square, (draw(2, 5, 8),)),
    "short_conv": (conv, (draw(2, 5, 8), draw(8, 3), draw(2, 2, 8))),
    "gated_delta_rule": (
        delta,
        (*(draw(2, 5, 3, 4, seed=n) for n in range(3)), *(draw(2, 5, 3, seed=n) for n in (3, 4)), draw(2, 3, 4, 4)),
    ),
}


def unaligned(x: Tensor) -> Tensor:
    room = torch.empty(x.numel() * x.itemsize + x.itemsize, dtype=torch.uint8)
    made = torch.frombuffer(memoryview(room.numpy())[1:], dtype=x.dtype, count=x.numel()).view(x.shape)
    return made.copy_(x)


SAME_NUMBERS: dict[str, Callable[[Tensor], Tensor]] = {
    "every other entry": lambda x: x.repeat_interleave(2, dim=-1)[..., ::2],
    "every other row": lambda x: x.repeat_interleave(2, dim=0)[::2],
    "turned axes": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
    "a view to be negated": lambda x: torch.complex(torch.zeros_like(x), -x).conj().imag,
    "memory that is not aligned": unaligned,
    "a parameter": lambda x: nn.Parameter(x, requires_grad=False),
    "a subclass": lambda x: x.as_subclass(Named),
    "an offset": lambda x: torch.cat([x.new_zeros(3), x.flatten()])[3:].view(x.shape),
}


def test_no_module_but_the_door_takes_an_address() -> None:
    sources = sorted(Path(sleepkit.__file__).parent.rglob("*.py"))
    takers = {
        source.relative_to(Path(sleepkit.__file__).parent).as_posix()
        for source in sources
        for node in ast.walk(ast.parse(source.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in ("data_ptr", "const_data_ptr", "mutable_data_ptr", "numpy_ptr"))
        or (isinstance(node, ast.Constant) and node.value == "data_ptr")
    }
    assert takers == {"kernels/door.py"}


def test_the_door_gives_an_address_only_after_its_question() -> None:
    tree = ast.parse(Path(door.__file__).read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    takers = {name for name, node in functions.items() if "data_ptr" in ast.unparse(node)}
    assert takers == {"why_not", "admitted"}
    asked = [ast.unparse(node) for node in ast.walk(functions["admitted"]) if isinstance(node, ast.Call)]
    assert any(call.startswith("why_not(") for call in asked)


@pytest.mark.parametrize("how", SAME_NUMBERS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_same_numbers_in_other_memory_give_the_same_result_and_gradients(name: str, how: str) -> None:
    operation, inputs = OPERATIONS[name]
    plain = [x.clone().requires_grad_() for x in inputs]
    expected = operation(*plain)
    wanted = torch.autograd.grad(expected.square().sum(), plain)
    for number in range(len(inputs)):
        given = [SAME_NUMBERS[how](x.clone()) if n == number else x.clone() for n, x in enumerate(inputs)]
        assert torch.equal(given[number], inputs[number])
        with torch.no_grad():
            assert_close(operation(*given).as_subclass(Tensor), expected, tolerance=1e-5, what=f"{how}, input {number}")
        leaves = [x.detach().requires_grad_() for x in given]
        pulled = torch.autograd.grad(operation(*leaves).square().sum(), leaves)
        for gradient, other in zip(pulled, wanted, strict=True):
            assert_close(gradient.as_subclass(Tensor), other, tolerance=1e-4, what=f"{how}, gradient with input {number}")


def test_what_does_not_pass_is_named() -> None:
    x = draw(2, 3)
    freed = x.clone()
    freed.untyped_storage().resize_(0)
    with FakeTensorMode():
        fake = torch.empty(2, 3)
    refused = {
        "Named": x.as_subclass(Named),
        "FakeTensor": fake,
        "Meta": x.to("meta"),
        "Negative": torch.complex(x, x).conj().imag,
        "Sparse": x.to_sparse(),
        "aligned": unaligned(x),
        "no memory": freed,
        "ZeroTensor": torch._efficientzerotensor(2, 3),
    }
    for word, tensor in refused.items():
        reason = door.why_not(tensor)
        assert reason is not None, word
        assert word in reason
    assert all(door.why_not(y) is None for y in (x, nn.Parameter(x), x.T, x[1:], x.expand(4, 2, 3)))
    with torch.inference_mode():
        assert door.why_not(torch.empty(2)) is None


def test_the_entry_of_a_kernel_refuses_in_a_line_what_does_not_pass() -> None:
    if build.why_unavailable() is not None:
        pytest.skip(str(build.why_unavailable()))
    x, normalise = draw(1, 2, 1, 4), torch.ops.sleepkit.normalise
    for weight, word in ((draw(1, 5), "weight"), (draw(1, 4).double(), "float64"), (draw(3, 4), "weight")):
        with pytest.raises(InvalidInputError, match=word) as refusal:
            normalise(x, weight, None, None, None, 0.25, 1e-6)
        assert "\n" not in str(refusal.value)
    with pytest.raises(InvalidInputError, match=r"^tail: must have shape"):
        torch.ops.sleepkit.short_conv(x[:, :, 0], draw(1, 9, 4), draw(3, 4), False)
    with pytest.raises(InvalidInputError, match=r"^inputs: must have shapes that fit together"):
        torch.ops.sleepkit.gated_delta_rule_native(x, x, x, draw(1, 2, 1), draw(1, 2, 1), draw(1, 1, 4, 5), 1.0, 2, False)


@given(st.lists(st.tuples(st.sampled_from([0, 1, 1, 2, 3]), st.sampled_from([0, 1, 2, 3, 7])), min_size=1, max_size=4))
def test_compact_gives_the_strides_of_the_shape_whatever_they_were(axes: list[tuple[int, int]]) -> None:
    shape, strides = zip(*axes, strict=True)
    x = torch.arange(100.0).as_strided(shape, strides)
    assert torch.equal(compact(x), x)
    assert x.numel() == 0 or compact(x).stride() == torch.empty(shape).stride()


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_traced_operation_gives_the_numbers_of_the_operation(name: str) -> None:
    operation, inputs = OPERATIONS[name]
    expected, other = operation(*inputs), [x + 0.5 for x in inputs]
    with torch.no_grad():
        for mode in ("real", "fake"):
            graph = make_fx(operation, tracing_mode=mode)(*inputs)
            assert_close(graph(*inputs), expected, tolerance=1e-5, what=f"make_fx, {mode}")
            assert_close(graph(*other), operation(*other), tolerance=1e-5, what=f"make_fx, {mode}, other input")


@pytest.mark.parametrize("name", OPERATIONS)
def test_shapes_come_from_fake_tensors_and_from_the_meta_device(name: str) -> None:
    operation, inputs = OPERATIONS[name]
    shape = operation(*inputs).shape
    assert operation(*(x.to("meta") for x in inputs)).shape == shape
    with FakeTensorMode() as mode:
        fake = operation(*(mode.from_tensor(x) for x in inputs))
        assert type(fake).__name__ == "FakeTensor"
        assert fake.shape == shape
    assert_close(operation(*inputs), operation(*inputs))  # nothing fake was kept


@pytest.mark.parametrize("name", OPERATIONS)
def test_transforms_of_torch_differentiate_the_formula(name: str) -> None:
    operation, inputs = OPERATIONS[name]
    wide = [x.double() for x in inputs]
    direction = [torch.cos(x + 1) for x in wide]
    leaves = [x.clone().requires_grad_() for x in wide]
    pull = torch.cos(operation(*wide))
    gradients = torch.autograd.grad((operation(*leaves) * pull).sum(), leaves)
    expected = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
    _, tangent = torch.func.jvp(operation, tuple(wide), tuple(direction))
    assert_close((tangent * pull).sum(), expected, tolerance=1e-9, what="jvp")
    with forward_ad.dual_level(), torch.no_grad():
        dual = operation(*(forward_ad.make_dual(x, d) for x, d in zip(wide, direction, strict=True)))
        assert_close((forward_ad.unpack_dual(dual).tangent * pull).sum(), expected, tolerance=1e-9, what="forward mode")
    pulled = torch.func.grad(lambda *x: (operation(*x) * pull).sum(), argnums=tuple(range(len(wide))))(*wide)
    for gradient, other in zip(pulled, gradients, strict=True):
        assert_close(gradient, other, tolerance=1e-9, what="torch.func.grad")
    first = torch.func.vmap(lambda x: operation(x, *wide[1:]))(torch.stack([wide[0], 2 * wide[0]]))
    assert_close(first[1], operation(2 * wide[0], *wide[1:]), tolerance=1e-9, what="vmap")


def test_a_kernel_asked_for_by_name_is_refused_where_it_would_lose_the_transform() -> None:
    if build.why_unavailable() is not None:
        pytest.skip(str(build.why_unavailable()))
    inputs = [x.double() for x in OPERATIONS["gated_delta_rule"][1]]

    def native(q: Tensor) -> Tensor:
        return ops.gated_delta_rule(q, *inputs[1:], impl="native").out

    with pytest.raises(ImplUnavailableError, match="torch transforms the call"):
        torch.func.vmap(native)(inputs[0][None])


def test_a_graph_traced_without_a_gradient_has_one_when_it_runs_with_one() -> None:
    inputs = [*(draw(1, 100, 2, 4, seed=n) for n in range(3)), draw(1, 100, 2), draw(1, 100, 2, seed=1), draw(1, 2, 4, 4)]
    with torch.no_grad():
        graph = make_fx(delta)(*inputs)
    leaves, others = ([x.clone().requires_grad_() for x in inputs] for _ in range(2))
    gradients = torch.autograd.grad(graph(*leaves).square().sum(), leaves)
    for gradient, other in zip(gradients, torch.autograd.grad(delta(*others).square().sum(), others), strict=True):
        assert_close(gradient, other, tolerance=1e-5)


def test_jit_trace_and_export_keep_the_operation() -> None:
    operation, inputs = OPERATIONS["rms_norm"]

    class Layer(nn.Module):
        def forward(self, x: Tensor, w: Tensor) -> Tensor:
            return operation(x, w)

    with torch.no_grad():
        exported = torch.export.export(Layer(), inputs).module()
        assert_close(exported(inputs[0] + 1, inputs[1]), operation(inputs[0] + 1, inputs[1]))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_integers_0_and_1_mask_like_booleans_and_others_are_refused(dtype: torch.dtype) -> None:
    inputs = OPERATIONS["gated_delta_rule"][1]
    inputs = (*inputs[:3], -inputs[3].abs(), *inputs[4:])
    valid = draw(2, 5) > 0
    for operation in (ops.gated_delta_rule, ops.gated_hebbian):
        expected, actual = (operation(*inputs, valid_BT=mask).state for mask in (valid, valid.to(dtype)))
        assert torch.equal(actual, expected)
        with pytest.raises(InvalidInputError, match=r"^valid: must be boolean, or integers 0 and 1, got 2$"):
            operation(*inputs, valid_BT=2 * valid.to(dtype))
        for wrong in (valid.float(), valid[:1], valid[0], valid.to("meta")):
            with pytest.raises(InvalidInputError, match=r"^valid: must "):
                operation(*inputs, valid_BT=wrong)
    q = draw(2, 3, 5, 4)
    assert torch.equal(ops.attention(q, q, q, valid_BS=valid.to(dtype)), ops.attention(q, q, q, valid_BS=valid))


def test_angles_of_other_positions_are_not_read_beyond_their_end() -> None:
    x, w = draw(2, 5, 4, 6), draw(2, 6)
    short = ops.rotation(0, 1, head_dim=6, base=100.0, dtype=x.dtype, device=x.device)
    normed = F.rms_norm(x, (6,), eps=1e-6) * w.repeat_interleave(2, dim=0)
    assert_close(ops.rotary_rms_norm(x, w, short, eps=1e-6), ops.rotary(normed, short), tolerance=1e-6)


@pytest.mark.parametrize("name", OPERATIONS)
def test_weights_and_tails_of_another_dtype_or_length_are_the_formula_or_an_error(name: str) -> None:
    operation, inputs = OPERATIONS[name]
    changes = (torch.Tensor.double, lambda x: x[..., :-1], lambda x: x[None])
    for number, change in itertools.product(range(1, len(inputs)), changes):
        given = [change(x) if n == number else x for n, x in enumerate(inputs)]
        try:
            result = operation(*given)
        except (InvalidInputError, RuntimeError):
            continue
        assert_close(result, operation(*(x.double() for x in given)), tolerance=1e-5, what=f"input {number}")
