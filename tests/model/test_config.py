"""What a model configuration refuses."""

import pytest

from sleepkit.errors import InvalidInputError
from tests.support.models import small_config


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("vocab_size", {"vocab_size": 0}),
        ("width", {"width": 0}),
        ("n_heads", {"n_heads": 3}),
        ("n_heads", {"n_heads": 8}),
        ("conv_len", {"conv_len": 0}),
        ("layers", {"layers": ""}),
        ("layers", {"layers": "attn mamba"}),
        ("key_dim", {"key_dim": 0}),
        ("value_dim", {"value_dim": -1}),
        ("n_key_heads", {"n_heads": 4, "n_key_heads": 3}),
        ("n_key_heads", {"n_key_heads": 0}),
        ("n_kv_heads", {"n_kv_heads": 4}),
        ("n_kv_heads", {"n_kv_heads": -1}),
        ("mlp_ratio", {"mlp_ratio": 0.0}),
        ("rope_base", {"rope_base": -1.0}),
        ("norm_eps", {"norm_eps": 0.0}),
        ("loop", {"loop": (2, 2)}),
        ("loop", {"loop": (3, 5)}),
        ("loop", {"loop": (-1, 2)}),
        ("loop", {"loop": "none"}),
        ("mlp", {"mlp": "gelu"}),
    ],
)
def test_an_impossible_model_is_refused_by_the_name_of_the_setting(name: str, changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name}: must "):
        small_config(**changes)


def test_an_odd_head_width_is_refused_only_where_there_is_attention() -> None:
    assert small_config(width=6, layers="gdn").head_dim == 3
    with pytest.raises(InvalidInputError, match="even head width"):
        small_config(width=6)


@pytest.mark.parametrize(("loop", "span"), [("all", (0, 4)), ((1, 3), (1, 3))])
def test_the_looped_span_is_the_whole_stack_or_the_one_named(loop: object, span: tuple[int, int]) -> None:
    assert small_config(loop=loop).loop_span == span
