"""Streaming equals rollout, whatever the pieces; sessions are values; saved sessions go on bit for bit."""

from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from sleepkit.errors import CheckpointError, InvalidInputError
from sleepkit.files import tensors
from sleepkit.model import HybridLM
from sleepkit.model.storage import read_tensors, write_tensors
from sleepkit.sleep import Session, SleepConfig, rollout
from tests.support.batches import ask_at_the_end
from tests.support.compare import assert_close, assert_same_bits
from tests.support.doors import as_users_call_it
from tests.support.models import LOOPS, assert_same_state, assert_states_close, random_tokens, small_model
from tests.support.seals import change_note
from tests.support.sessions import assert_same_session, read_in_pieces
from tests.support.trap import pickle_trap

SLEEP = SleepConfig(n_passes=3, window_len=5)


def session_after(n_tokens: int, *, loop: str | tuple[int, int] = "all", batch_size: int = 1, **changes: object) -> Session:
    """Return a session that has read so many tokens."""
    session = Session(small_model(loop=loop, **changes), SLEEP, batch_size=batch_size)
    session.read(random_tokens(batch_size, n_tokens))
    return session


@hypothesis.settings(max_examples=50)
@hypothesis.given(
    context_len=st.integers(0, 14),
    n_asked=st.integers(1, 4),
    window_len=st.integers(4, 7),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    loop=st.sampled_from(LOOPS),
    layers=st.sampled_from(["attn gdn attn gdn", "gdn attn gdn attn", "gdn gdn gdn gdn"]),
    n_passes=st.integers(1, 4),
)
def test_reading_in_any_pieces_and_sleeping_equals_rollout(
    context_len: int, n_asked: int, window_len: int, sizes: list[int], loop: str | tuple[int, int], layers: str, n_passes: int
) -> None:
    model, tokens = small_model(loop=loop, layers=layers), random_tokens(2, context_len + n_asked)
    expected = rollout(model, ask_at_the_end(tokens, n_asked), SleepConfig(n_passes=n_passes, window_len=window_len))
    session = Session(model, SleepConfig(n_passes=n_passes, window_len=window_len), batch_size=2)
    if context_len:
        read_in_pieces(session, tokens[:, :context_len], sizes)
        session.sleep()
    assert session.cache_len == 0
    awake = session.fork()
    logits = read_in_pieces(session, tokens[:, context_len:], sizes)
    assert_close(logits, expected.logits[:, context_len:], what="logits")
    if n_asked < window_len:
        assert_states_close(session.state, expected.state)
    assert_same_bits(read_in_pieces(awake, tokens[:, context_len:], sizes), logits)


@pytest.mark.parametrize("loop", LOOPS)
def test_logits_of_wake_reading_are_those_of_one_pass_over_the_open_window(loop: str | tuple[int, int]) -> None:
    model, tokens = small_model(loop=loop), random_tokens(2, 9)
    logits = read_in_pieces(Session(model, SLEEP, batch_size=2), tokens, [2, 3])
    memory = rollout(model, tokens[:, :5], SLEEP).state
    for window, state in ((slice(0, 5), model.initial_state(2)), (slice(5, 9), memory)):
        hidden, _ = model.blocks(model.embed(tokens[:, window]), state)
        assert_close(logits[:, window], model.head(hidden), what="logits")


@pytest.mark.parametrize("loop", LOOPS)
def test_sleep_on_request_before_the_window_is_full_equals_a_rollout_with_that_cut(loop: str | tuple[int, int]) -> None:
    model, tokens = small_model(loop=loop), random_tokens(2, 8)
    session = Session(model, SLEEP, batch_size=2)
    session.read(tokens[:, :3])
    session.sleep()
    session.read(tokens[:, 3:])
    first = rollout(model, tokens[:, :3], SLEEP)
    assert (session.cache_len, session.n_sleeps) == (0, 2)
    assert_states_close(session.state, rollout(model, tokens[:, 3:], SLEEP, state=first.state).state)


@pytest.mark.parametrize("n_passes", [2, 4])
def test_a_number_of_passes_given_to_sleep_holds_for_that_window_alone(n_passes: int) -> None:
    model, tokens = small_model(), random_tokens(1, 8)
    session = Session(model, SLEEP)
    session.read(tokens[:, :3])
    session.sleep(n_passes)
    once = rollout(model, tokens[:, :3], SLEEP.replace(n_passes=n_passes))
    assert_states_close(session.state, once.state)
    session.read(tokens[:, 3:])
    assert_states_close(session.state, rollout(model, tokens[:, 3:], SLEEP, state=once.state).state)


@pytest.mark.parametrize("n_read", [0, 5, 10])
def test_sleep_on_an_empty_window_changes_nothing(n_read: int) -> None:
    session = session_after(n_read)
    before = session.fork()
    session.sleep()
    assert_same_session(session, before)


def test_sleep_with_one_pass_only_evicts() -> None:
    session = session_after(3)
    before = session.state
    session.sleep(n_passes=1)
    assert_same_state(session.state, before)
    assert (session.cache_len, session.n_sleeps) == (0, 1)


def test_a_session_falls_asleep_by_itself_exactly_at_window_edges() -> None:
    session = Session(small_model(), SLEEP)
    seen = []
    for token in random_tokens(1, 11).split(1, dim=1):
        session.read(token)
        seen.append((session.cache_len, session.n_sleeps))
    assert seen == [(n % 5, n // 5) for n in range(1, 12)]
    assert session.n_read == 11


def test_reading_nothing_gives_no_logits_and_changes_nothing() -> None:
    session = session_after(3)
    before = session.fork()
    assert session.read(random_tokens(1, 0)).shape == (1, 0, 7)
    assert_same_session(session, before)


def test_predict_gives_the_logits_of_read_and_leaves_the_session_as_it_was() -> None:
    session = session_after(3, loop=(1, 3))
    before, question = session.fork(), random_tokens(1, 6, seed=3)
    predicted = session.predict(question)
    assert_same_session(session, before)
    assert_same_bits(session.read(question), predicted)


def test_a_fork_goes_its_own_way() -> None:
    session, reference = session_after(3, loop=(1, 3)), session_after(3, loop=(1, 3))
    twin = session.fork()
    assert_same_session(twin, session)
    twin.read(random_tokens(1, 9, seed=4))
    twin.sleep(n_passes=2)
    assert_same_session(session, reference)
    with pytest.raises(AssertionError, match="state of layer"):
        assert_states_close(twin.state, session.state, tolerance=1e-3)


def test_what_a_session_holds_does_not_grow_with_what_it_read() -> None:
    session = Session(small_model(), SLEEP)
    sizes = []
    for _ in range(50):
        window = random_tokens(1, 5)
        session.read(window[:, :4])
        held_awake = session.n_bytes
        session.read(window[:, 4:])
        sizes.append((held_awake, session.n_bytes))
    assert sizes[49] == sizes[0]
    assert sizes[0][0] > sizes[0][1] >= session.state.n_bytes


def test_examples_of_a_session_do_not_meet() -> None:
    model, tokens = small_model(), random_tokens(3, 8)
    together = Session(model, SLEEP, batch_size=3)
    logits = together.read(tokens)
    for row in range(3):
        alone = Session(model, SLEEP)
        assert_close(alone.read(tokens[row : row + 1]), logits[row : row + 1], what="logits")
        assert_states_close(alone.state, together.state.map(lambda layer, row=row: layer[row : row + 1]))


BAD_TOKENS = {
    "too high": torch.tensor([[1, 7]]),
    "negative": torch.tensor([[1, -1]]),
    "one axis": torch.tensor([1, 2]),
    "floats": torch.tensor([[1.0, 2.0]]),
    "booleans": torch.tensor([[True, False]]),
    "another batch size": torch.tensor([[1], [2]]),
}


@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_bad_tokens_are_refused_and_nothing_is_read(kind: str) -> None:
    session = session_after(3)
    before = session.fork()
    with pytest.raises(InvalidInputError, match=r"^tokens: must "):
        session.read(BAD_TOKENS[kind])
    assert_same_session(session, before)


@pytest.mark.parametrize("n_passes", [0, -1, 2.5, True])
def test_sleeping_with_no_positive_integer_of_passes_is_refused_and_nothing_is_evicted(n_passes: object) -> None:
    session = session_after(3)
    before = session.fork()
    with pytest.raises(InvalidInputError, match="n_passes: must be an integer >= 1"):
        as_users_call_it(Session.sleep)(session, n_passes)
    assert_same_session(session, before)


@pytest.mark.parametrize("n_read", [0, 3, 5, 13])
@pytest.mark.parametrize("loop", ["all", (1, 3)])
def test_a_saved_session_goes_on_bit_for_bit(tmp_path: Path, loop: str | tuple[int, int], n_read: int) -> None:
    session = Session(small_model(loop=loop), SLEEP, batch_size=2)
    read_in_pieces(session, random_tokens(2, n_read + 1), [2])
    session.save(tmp_path / "session")
    loaded = Session.load(tmp_path / "session", small_model(loop=loop))
    assert_same_session(loaded, session)


def test_a_session_can_be_saved_over_and_only_over_a_session(tmp_path: Path) -> None:
    session_after(3).save(tmp_path / "session")
    later = session_after(8)
    later.save(tmp_path / "session")
    assert_same_session(Session.load(tmp_path / "session", later.model), later)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").write_text("keep me")
    with pytest.raises(CheckpointError, match="path: must be new or a sleepkit session"):
        later.save(tmp_path / "notes")
    assert (tmp_path / "notes" / "notes.txt").read_text() == "keep me"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    session_after(3).save(tmp_path / "session")
    return tmp_path / "session"


def change_description(saved: Path, **changes: object) -> None:
    change_note(saved / "session.json", **changes)


def assert_refused(saved: Path, model: HybridLM | None = None) -> None:
    with pytest.raises(CheckpointError, match=r"^path: must be a "):
        Session.load(saved, model or small_model())


def test_loading_refuses_a_missing_folder(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["session.json", "session.safetensors"])
@pytest.mark.parametrize("keep", [0, 10, -1])
def test_loading_refuses_a_truncated_file(saved: Path, name: str, keep: int) -> None:
    content = (saved / name).read_bytes().rstrip()
    (saved / name).write_bytes(content[:keep])
    assert_refused(saved)


@pytest.mark.parametrize("name", ["session.json", "session.safetensors"])
def test_loading_refuses_a_missing_file_and_never_unpickles(saved: Path, tmp_path: Path, name: str) -> None:
    (saved / name).unlink()
    assert_refused(saved)
    (saved / name).write_bytes(pickle_trap(tmp_path / "opened"))
    assert_refused(saved)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"version": 99},
        {"sleep": {"n_passes": 0}},
        {"sleep": None},
        {"batch_size": 2},
        {"batch_size": 0},
        {"length": 2},
        {"length": None},
        {"n_read": None},
    ],
)
def test_loading_refuses_a_description_that_does_not_fit(saved: Path, change: dict[str, object]) -> None:
    change_description(saved, **change)
    assert_refused(saved)


def test_loading_refuses_a_cache_that_does_not_fit_the_window(saved: Path) -> None:
    held = saved / "session.safetensors"
    named = read_tensors(held)
    named["cache.0.keys"] = named["cache.0.keys"][:, :, :2].contiguous()
    write_tensors(named, held)
    change_note(saved / "session.json", tensors=tensors.stored_digest(held))
    assert_refused(saved)


def test_loading_refuses_a_session_of_another_model_configuration(saved: Path) -> None:
    assert_refused(saved, small_model(loop=(1, 3)))
