"""The tokens of an example as HTML: windows, eviction marks, what is asked and what the model answers."""

from collections.abc import Sequence
from html import escape

import numpy as np
import xarray as xr

from sleepkit.notation import question_noun
from sleepkit.plots.theme import FONT, Theme, palette
from sleepkit.results import group

_PAD, _QUERY, _ANSWER = 0, 2, 3


def token_text(tree: xr.DataTree, *, window: int | None = None, theme: Theme = "light", highlight: Sequence[int] = ()) -> str:
    """Return the tokens window by window, each with what becomes of it: evicted, here, not read yet, answered.

    Args:
        tree: what ``trace`` returned.
        window: a window to stand out, where the model is now; later ones are shown as not read yet. None: all was read.
        theme: "light" or "dark".
        highlight: positions of tokens to number in this order, e.g. what the way to an answer reads.
    """
    colours, tokens = palette(theme), group(tree, "tokens")
    numbers = {position: number for number, position in reversed(list(enumerate(highlight, start=1)))}
    n_windows, rows = tokens.sizes["window"], []
    now = n_windows - 1 if window is None else window
    for number in range(n_windows):
        when = "now" if number == now else "evicted" if number < now else "later"
        cells = _cells(tokens, number, when, numbers, theme)
        said = {"now": "you look here", "evicted": "evicted", "later": "not read yet"}[when]
        words = _mark(tree, number, colours.muted)
        frame = f"border:2px solid {colours.accent}" if when == "now" else f"border:1px dashed {colours.grid}"
        rows.append(
            f'<div style="display:flex;gap:8px;margin:3px 0;align-items:flex-start">'
            f'<span style="flex:0 0 74px;color:{colours.muted};font-size:11.5px;line-height:1.25;padding-top:3px">'
            f"window {number}<br>{said}</span>"
            f'<span style="flex:1;padding:2px 4px;border-radius:6px;{frame}">{cells}{words}</span></div>'
        )
    return (
        f'<div role="region" aria-label="Tokens of the example, window by window" '
        f'style="font-family:{FONT};color:{colours.text}">{"".join(rows)}</div>'
    )


def answer_line(tree: xr.DataTree, *, theme: Theme = "light") -> str:
    """Return the model's answers as HTML: depth, answer, truth, probability of the truth, for every question."""
    colours, answers = palette(theme), group(tree, "answers")
    noun = question_noun(tree.attrs.get("task", ""))
    cells = [_answer(answers.isel(answer=number), f"{noun} {number}", theme) for number in range(answers.sizes["answer"])]
    n_right = int(answers["right"].values.sum())
    head = f"<b>N = {int(tree.attrs['n_passes'])}</b>: {n_right} of {len(cells)} right "
    return f'<div style="font-family:{FONT};color:{colours.text}">{head}{"".join(cells)}</div>'


def _cells(tokens: xr.Dataset, window: int, when: str, numbers: dict[int, int], theme: Theme) -> str:
    start, stop = int(tokens["start"].values[window]), int(tokens["stop"].values[window])
    texts, segments = tokens["text"].values[start:stop], tokens["segment"].values[start:stop]
    n_padding = int((segments == _PAD).sum())
    cells = [
        _token(str(text), int(segment), when, numbers.get(position), theme)
        for position, (text, segment) in enumerate(zip(texts, segments, strict=True), start=start)
        if segment != _PAD
    ]
    padding = f'<span style="color:{palette(theme).muted};font-size:11.5px">({n_padding} of padding) </span>' if n_padding else ""
    return padding + "".join(cells)


def _token(text: str, segment: int, when: str, number: int | None, theme: Theme) -> str:
    """Return one token; evicted ones are muted and dotted, questions and answers underlined, numbered ones framed."""
    colours = palette(theme)
    border = "dotted" if when == "evicted" else "dashed" if when == "later" else "solid"
    ink = colours.text if when == "now" else colours.muted
    style = f"color:{ink};border:1px {border} {colours.floor if when == 'now' else colours.grid}"
    if segment in (_QUERY, _ANSWER):
        style += f";border-bottom:3px {'solid' if segment == _QUERY else 'double'} {colours.accent}"
    note = ""
    if number is not None:
        style += f";outline:2px solid {colours.right}"
        note = f'<sub aria-label="step {number}" style="color:{colours.right};font-weight:700">{number}</sub>'
    title = {_QUERY: "question", _ANSWER: "answer, filled in"}.get(segment, "")
    said = f' title="{title}"' if title else ""
    return (
        f'<span{said} style="display:inline-block;min-width:1.05em;text-align:center;padding:0 3px;margin:1px;border-radius:4px;'
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


def _mark(tree: xr.DataTree, window: int, colour: str) -> str:
    tokens = group(tree, "tokens")
    n_passes = int(tokens["n_passes"].values[window])
    sliding = tree.attrs.get("eviction") == "sliding"
    gone = "all but the newest L - 1 tokens evicted" if sliding else "evicted"
    if not bool(np.asarray(tokens["asleep"].values[window])):
        words = "answered in one pass, from memory"
    elif n_passes == 1:
        words = f"read, then {gone}"
    else:
        words = f"read, {n_passes - 1} asleep, {gone}"
    return f'<span style="color:{colour};font-size:11.5px;white-space:nowrap"> | {words}</span>'
