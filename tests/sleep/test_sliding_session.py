"""Streaming under sliding eviction equals rollout; what a session holds stays bounded; saved sessions go on bit for bit."""

from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from sleepkit.errors import CheckpointError
from sleepkit.sleep import Session, SleepConfig, rollout
from tests.support.batches import ask_at_the_end
from tests.support.compare import assert_close, assert_same_bits
from tests.support.models import LOOPS, assert_same_state, assert_states_close, random_tokens, small_model
from tests.support.seals import change_note
from tests.support.sessions import assert_same_session, read_in_pieces

SLEEP = SleepConfig(n_passes=3, window_len=5, eviction="sliding")


def session_after(n_tokens: int, *, loop: str | tuple[int, int] = "all", batch_size: int = 1) -> Session:
    """Return a session that has read so many tokens."""
    session = Session(small_model(loop=loop), SLEEP, batch_size=batch_size)
    session.read(random_tokens(batch_size, n_tokens))
    return session


@hypothesis.settings(max_examples=60)
@hypothesis.given(
    context_len=st.integers(0, 17),
    n_asked=st.integers(1, 4),
    window_len=st.integers(4, 7),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    loop=st.sampled_from(LOOPS),
    layers=st.sampled_from(["attn gdn attn gdn", "gdn attn gdn attn", "attn attn attn attn", "gdn gdn gdn gdn"]),
    n_passes=st.integers(1, 4),
)
def test_reading_in_any_pieces_and_sleeping_equals_rollout(
    context_len: int, n_asked: int, window_len: int, sizes: list[int], loop: str | tuple[int, int], layers: str, n_passes: int
) -> None:
    model, tokens = small_model(loop=loop, layers=layers), random_tokens(2, context_len + n_asked)
    sleep = SleepConfig(n_passes=n_passes, window_len=window_len, eviction="sliding")
    session = Session(model, sleep, batch_size=2)
    if context_len:
        read_in_pieces(session, tokens[:, :context_len], sizes)
        session.sleep()
        assert_states_close(session.state, rollout(model, tokens[:, :context_len], sleep).state)
    expected = rollout(model, ask_at_the_end(tokens, n_asked), sleep)
    logits = read_in_pieces(session, tokens[:, context_len:], sizes)
    assert_close(logits, expected.logits[:, context_len:], what="logits")
    if n_asked < window_len:
        session.sleep(n_passes=1)
        assert_states_close(session.state, expected.state)


@pytest.mark.parametrize("loop", LOOPS)
def test_sleep_on_request_before_the_window_is_full_equals_a_rollout_with_that_cut(loop: str | tuple[int, int]) -> None:
    model, tokens = small_model(loop=loop), random_tokens(2, 12)
    session = Session(model, SLEEP, batch_size=2)
    state = model.initial_state(2, sliding_len=5)
    for start, stop in ((0, 2), (2, 3), (3, 7), (7, 12)):
        session.read(tokens[:, start:stop])
        session.sleep()
        state = rollout(model, tokens[:, start:stop], SLEEP, state=state).state
        assert_states_close(session.state, state)
        assert session.cache_len == min(4, stop)


def test_the_cache_holds_the_open_window_and_the_l_minus_1_tokens_before_it() -> None:
    session, held = Session(small_model(), SLEEP), []
    for token in random_tokens(1, 12).split(1, dim=1):
        session.read(token)
        held.append(session.cache_len)
    assert held == [1, 2, 3, 4, 4, 5, 6, 7, 8, 4, 5, 6]
    assert (session.n_read, session.n_sleeps) == (12, 2)


def test_what_a_session_holds_does_not_grow_with_what_it_read() -> None:
    session, sizes = session_after(5), []
    for _ in range(50):
        window = random_tokens(1, 5)
        session.read(window[:, :4])
        held_awake = session.n_bytes
        session.read(window[:, 4:])
        sizes.append((held_awake, session.n_bytes))
    assert set(sizes) == {sizes[0]}
    kept = 2 * 2 * 4 * 8 * 8  # keys and values of two layers, four tokens, eight channels, eight bytes
    hard = Session(small_model(), SLEEP.replace(eviction="hard"))
    hard.read(random_tokens(1, 5))
    assert session.n_bytes == hard.n_bytes + kept
    assert session.state.n_bytes == hard.state.n_bytes + kept


@pytest.mark.parametrize("n_read", [0, 5, 10])
def test_sleep_on_an_empty_window_changes_nothing(n_read: int) -> None:
    session = session_after(n_read)
    before = session.fork()
    session.sleep()
    assert_same_session(session, before)


def test_predict_and_fork_leave_the_session_as_it_was() -> None:
    session, reference = session_after(8, loop=(1, 3)), session_after(8, loop=(1, 3))
    question = random_tokens(1, 6, seed=3)
    predicted = session.predict(question)
    session.fork().read(random_tokens(1, 9, seed=4))
    assert_same_session(session, reference)
    assert_same_bits(session.read(question), predicted)


@pytest.mark.parametrize("n_read", [0, 3, 5, 13])
@pytest.mark.parametrize("loop", ["all", (1, 3)])
def test_a_saved_session_goes_on_bit_for_bit(tmp_path: Path, loop: str | tuple[int, int], n_read: int) -> None:
    session = Session(small_model(loop=loop), SLEEP, batch_size=2)
    read_in_pieces(session, random_tokens(2, n_read + 1), [2])
    session.save(tmp_path / "session")
    loaded = Session.load(tmp_path / "session", small_model(loop=loop))
    assert_same_state(loaded.state, session.state)
    assert_same_session(loaded, session)


@pytest.mark.parametrize("change", [{"n_read": 6}, {"n_read": 1}, {"n_read": 0}])
def test_loading_refuses_a_number_of_carried_tokens_that_does_not_fit(tmp_path: Path, change: dict[str, int]) -> None:
    session_after(8).save(tmp_path / "session")
    change_note(tmp_path / "session" / "session.json", **change)
    with pytest.raises(CheckpointError, match=r"^path: must be a whole sleepkit session"):
        Session.load(tmp_path / "session", small_model())
