"""What was used last is kept, as far as it fits."""

from sleepkit.ui.recent import Recent


def test_recent_keeps_the_most_recently_used() -> None:
    recent: Recent[int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert recent.get("b") is None
    assert (recent.get("a"), recent.get("c"), len(recent)) == (1, 3, 2)


def test_what_is_kept_stays_below_its_weight() -> None:
    recent: Recent[bytes] = Recent(100, most=10, weigh=len)
    for number in range(6):
        recent.put(number, b"1234")
    assert [recent.get(number) for number in range(6)] == [None] * 4 + [b"1234"] * 2
    assert recent.put("large", b"1" * 11) == b"1" * 11
    assert len(recent) == 0
