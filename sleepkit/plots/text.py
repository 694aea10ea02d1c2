"""The tokens of an example as HTML: windows, eviction marks, what is asked and what the model answers."""

from collections.abc import Sequence
from html import escape
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr

from sleepkit.errors import require
from sleepkit.notation import question_noun
from sleepkit.plots.moment import eviction_words, first_kept, last_pass
from sleepkit.plots.theme import FONT, Theme, palette
from sleepkit.results import group

_PAD, _QUERY, _ANSWER = 0, 2, 3
_SEGMENTS = {_QUERY: "question", _ANSWER: "answer, filled in"}
_When = Literal["now", "kept", "evicted", "later"]
_BORDERS: dict[_When, str] = {"now": "solid", "kept": "solid", "evicted": "dotted", "later": "dashed"}
_WORDS: dict[_When, str] = {
    "now": "looked at",
    "kept": "still in the KV cache",
    "evicted": "evicted",
    "later": "not read yet",
}


class _Row(NamedTuple):
    """One window of the text: its token positions, and from which on they are still in the KV cache."""

    start: int
    stop: int
    when: _When
    kept_from: int


def token_text(tree: xr.DataTree, *, window: int | None = None, theme: Theme = "light", highlight: Sequence[int] = ()) -> str:
    """Return the tokens window by window, each with what becomes of it, and a mark where a window is evicted.

    Evicted tokens are quiet and dotted, tokens not read yet quiet and dashed; questions are underlined, answers doubly. Under
    sliding eviction the newest L - 1 tokens before the window looked at are still in the KV cache and look like it. Padding is
    counted instead of shown.

    Args:
        tree: what ``trace`` returned.
        window: a window to stand out, where the model is now; later ones are shown as not read yet. None: all was read.
        theme: "light" or "dark".
        highlight: positions of tokens to number in this order, e.g. what the way to an answer reads.

    Raises:
        InvalidInputError: if the trace has no such window or position.
    """
    colours, tokens = palette(theme), group(tree, "tokens")
    n_tokens = tokens.sizes["token"]
    for position in highlight:
        require(0 <= position < n_tokens, "highlight", f"must hold positions in [0, {n_tokens})", position)
    numbers: dict[int, list[int]] = {}
    for number, position in enumerate(highlight, start=1):
        numbers.setdefault(int(position), []).append(number)
    now = tokens.sizes["window"] - 1 if window is None else window
    last_pass(tree, now)
    blocks = []
    for number in range(tokens.sizes["window"]):
        row = _row(tree, number, now)
        said = _said(row)
        frame = f"border:2px solid {colours.accent}" if row.when == "now" else f"border:1px dashed {colours.grid}"
        blocks.append(
            f'<div role="group" aria-label="window {number}, {said}" '
            f'style="display:flex;gap:8px;margin:3px 0;align-items:flex-start">'
            f'<span style="flex:0 0 74px;color:{colours.muted};font-size:11.5px;line-height:1.25;padding-top:3px">'
            f"window {number}<br>{said}</span>"
            f'<span style="flex:1;padding:2px 4px;border-radius:6px;{frame}">{_cells(tokens, row, numbers, theme)}</span></div>'
            f"{_mark(tree, number, theme)}"
        )
    return (
        f'<div role="region" aria-label="Tokens of the example, window by window" '
        f'style="font-family:{FONT};color:{colours.text};background:{colours.ground};padding:0 6px">{"".join(blocks)}</div>'
    )


def token_summary(tree: xr.DataTree, *, window: int | None = None) -> str:
    """Say the text in words: how many tokens are evicted, kept, looked at and not read yet.

    Raises:
        InvalidInputError: if the trace has no such window.
    """
    n_windows = group(tree, "tokens").sizes["window"]
    now = n_windows - 1 if window is None else window
    last_pass(tree, now)
    rows = [_row(tree, number, now) for number in range(n_windows)]
    earlier = [row for row in rows if row.when in ("kept", "evicted")]
    kept = sum(row.stop - max(row.start, row.kept_from) for row in earlier if row.kept_from < row.stop)
    evicted = sum(row.stop - row.start for row in earlier) - kept
    later = sum(row.stop - row.start for row in rows if row.when == "later")
    stay = f", {kept} earlier ones still in the KV cache" if kept else ""
    size = rows[now].stop - rows[now].start
    return f"You look at window {now} of {n_windows}, {size} tokens: {evicted} tokens evicted{stay}, {later} not read yet."


def answer_line(tree: xr.DataTree, *, theme: Theme = "light") -> str:
    """Return the model's answers as HTML: depth, answer, truth, probability of the truth, for every question."""
    colours, answers = palette(theme), group(tree, "answers")
    noun = question_noun(tree.attrs.get("task", ""))
    cells = [_answer(answers.isel(answer=number), f"{noun} {number}", theme) for number in range(answers.sizes["answer"])]
    n_right = int(answers["right"].values.sum())
    head = f"<b>N = {int(tree.attrs['n_passes'])}</b>: {n_right} of {len(cells)} right "
    style = f"font-family:{FONT};color:{colours.text};background:{colours.ground};padding:4px 6px"
    return f'<div style="{style}">{head}{"".join(cells)}</div>'


def _row(tree: xr.DataTree, number: int, now: int) -> _Row:
    tokens = group(tree, "tokens")
    start, stop = int(tokens["start"].values[number]), int(tokens["stop"].values[number])
    if number >= now:
        return _Row(start, stop, "now" if number == now else "later", start)
    kept_from = first_kept(tree, now - 1)
    return _Row(start, stop, "kept" if kept_from <= start else "evicted", kept_from)


def _said(row: _Row) -> str:
    if row.when == "evicted" and row.kept_from < row.stop:
        return f"{row.kept_from - row.start} evicted, {row.stop - row.kept_from} kept"
    return {"now": "you look here", "kept": "kept"}.get(row.when, _WORDS[row.when])


def _cells(tokens: xr.Dataset, row: _Row, numbers: dict[int, list[int]], theme: Theme) -> str:
    texts, segments = tokens["text"].values[row.start : row.stop], tokens["segment"].values[row.start : row.stop]
    n_padding = int((segments == _PAD).sum())
    cells = []
    for position, (text, segment) in enumerate(zip(texts, segments, strict=True), start=row.start):
        if segment != _PAD:
            when = "kept" if row.when == "evicted" and position >= row.kept_from else row.when
            cells.append(_token(str(text), int(segment), when, numbers.get(position, []), theme))
    padding = f'<span style="color:{palette(theme).muted};font-size:11.5px">({n_padding} of padding) </span>' if n_padding else ""
    return padding + "".join(cells)


def _token(text: str, segment: int, when: _When, numbers: list[int], theme: Theme) -> str:
    """Return one token; evicted ones are muted and dotted, questions and answers underlined, numbered ones framed."""
    colours = palette(theme)
    strong = when in ("now", "kept")
    style = f"color:{colours.text if strong else colours.muted};"
    style += f"border:1px {_BORDERS[when]} {colours.floor if strong else colours.grid}"
    if segment in _SEGMENTS:
        style += f";border-bottom:3px {'solid' if segment == _QUERY else 'double'} {colours.accent}"
    said, note = [_SEGMENTS[segment]] if segment in _SEGMENTS else [], ""
    if numbers:
        written = ", ".join(map(str, numbers))
        style += f";outline:2px solid {colours.right}"
        note = f'<sub style="color:{colours.right};font-weight:700">{written}</sub>'
        said.append(f"step {written}")
    title = f' title="{"; ".join([*said, _WORDS[when]])}"'
    return (
        f'<span{title} style="display:inline-block;min-width:1.05em;text-align:center;padding:0 3px;margin:1px;border-radius:4px;'
        f'font:12px/1.45 ui-monospace,Menlo,Consolas,monospace;{style}">{escape(text)}{note}</span>'
    )


def _answer(answer: xr.Dataset, name: str, theme: Theme) -> str:
    colours = palette(theme)
    right = bool(answer["right"].item())
    colour = colours.right if right else colours.wrong
    verdict = "right" if right else f"wrong, it is {escape(str(answer['truth'].item()))}"
    style = (
        f"border:1px solid {colours.grid};border-left:4px solid {colour};border-radius:6px;padding:4px 10px;margin:3px 8px 3px 0"
    )
    return (
        f'<span class="sk-answer" style="display:inline-block;{style}">'
        f"{name}, depth {int(answer['depth'].item())}: <b>{escape(str(answer['predicted'].item()))}</b> "
        f'<span style="color:{colour}">{verdict}</span> '
        f'<span style="color:{colours.muted}">P(correct) {float(answer["p_true"].item()):.2f}</span></span>'
    )


def _mark(tree: xr.DataTree, window: int, theme: Theme) -> str:
    """Return the line below a window: how many passes it gets, and that it is evicted then."""
    tokens, colours = group(tree, "tokens"), palette(theme)
    n_passes = int(tokens["n_passes"].values[window])
    if not bool(np.asarray(tokens["asleep"].values[window])):
        return (
            f'<div style="margin:1px 0 1px 82px;color:{colours.muted};font-size:11.5px">answered in one pass, from memory</div>'
        )
    gone = eviction_words(tree, window)
    words = f"read, then {gone}" if n_passes == 1 else f"read, {n_passes - 1} asleep, {gone}"
    line = f'<span aria-hidden="true" style="flex:1;border-top:1px dotted {colours.wrong}"></span>'
    cross = f'<span aria-hidden="true" style="color:{colours.wrong}">&#10005;</span>'
    return (
        f'<div class="sk-evicted" style="display:flex;align-items:center;gap:6px;margin:1px 0 1px 82px;'
        f'color:{colours.muted};font-size:11.5px">{cross}<span>{words}</span>{line}</div>'
    )
