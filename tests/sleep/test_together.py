"""Sliding eviction, ablations, kinds of layers and grouped heads, all at once: streaming still equals rollout."""

from pathlib import Path
from typing import Any

import pytest

from sleepkit.sleep import Session, SleepConfig, rollout
from tests.support.batches import ask_at_the_end
from tests.support.compare import assert_close
from tests.support.models import assert_states_close, random_tokens, small_model
from tests.support.sessions import read_in_pieces

SLEEP = SleepConfig(n_passes=3, window_len=5, eviction="sliding")
EVERYTHING: dict[str, Any] = {
    "ablations": {"input_injection": True, "loop_norm": True, "carry_conv": True},
    "kinds": {"layers": "attn jet attn mamba2"},
    "grouped": {"n_kv_heads": 1, "n_key_heads": 1},
    "all": {
        "input_injection": True,
        "loop_norm": True,
        "carry_conv": True,
        "layers": "attn jet mamba2 attn",
        "n_kv_heads": 1,
        "n_key_heads": 1,
    },
}


@pytest.mark.parametrize("loop", ["all", (1, 3), (0, 2)])
@pytest.mark.parametrize("name", EVERYTHING)
def test_reading_in_pieces_and_sleeping_equals_rollout(name: str, loop: Any, tmp_path: Path) -> None:
    model, tokens = small_model(loop=loop, **EVERYTHING[name]), random_tokens(2, 20)
    expected = rollout(model, ask_at_the_end(tokens, 3), SLEEP)
    session = Session(model, SLEEP, batch_size=2)
    read_in_pieces(session, tokens[:, :13], [3, 1, 4])
    session.save(tmp_path / "session")
    session = Session.load(tmp_path / "session", model)
    read_in_pieces(session, tokens[:, 13:17], [2])
    session.sleep()
    assert_states_close(session.state, rollout(model, tokens[:, :17], SLEEP).state)
    assert_close(session.read(tokens[:, 17:]), expected.logits[:, 17:], what="logits")
