"""The tokens of an example as HTML: windows, eviction marks, what is asked and what the model answers."""

from html import escape

import xarray as xr

from sleepkit.plots.theme import FONT, Theme, palette
from sleepkit.results import group


def token_text(tree: xr.DataTree, *, window: int | None = None, theme: Theme = "light") -> str:
    """Return the tokens window by window: evicted ones faded, an eviction mark after each sleep, answers under the question.

    Args:
        tree: what ``trace`` returned.
        window: a window to stand out, where the model is now; later ones are shown as not read yet. None: all was read.
        theme: "light" or "dark".
    """
    colours, tokens = palette(theme), group(tree, "tokens")
    texts, n_windows = tokens["text"].values, tokens.sizes["window"]
    rows = []
    for number in range(n_windows):
        start, stop = int(tokens["start"].values[number]), int(tokens["stop"].values[number])
        asleep, n_passes = bool(tokens["asleep"].values[number]), int(tokens["n_passes"].values[number])
        current = number == (n_windows - 1 if window is None else window)
        evicted = not current and (window is None or number < window)
        style = f"opacity:{0.45 if evicted else 1.0};" + (
            f"outline:2px solid {colours.accent};border-radius:6px;" if current else ""
        )
        cells = "".join(_token(str(text), colours.grid) for text in texts[start:stop])
        rows.append(
            f'<div style="display:flex;align-items:center;gap:8px;margin:2px 0;flex-wrap:wrap">'
            f'<span style="width:58px;color:{colours.muted};font-size:12px">window {number}</span>'
            f'<span style="padding:2px;{style}">{cells}</span>{_mark(asleep, n_passes, colours.muted)}</div>'
        )
    return f'<div style="font-family:{FONT};color:{colours.text}">{"".join(rows)}</div>'


def answer_line(tree: xr.DataTree, *, theme: Theme = "light") -> str:
    """Return the model's answers as HTML: depth, answer, truth, probability of the truth, for every question."""
    colours, answers = palette(theme), group(tree, "answers")
    cells = [_answer(answers.isel(answer=number), number, theme) for number in range(answers.sizes["answer"])]
    n_right = int(answers["right"].values.sum())
    head = f"<b>N = {int(tree.attrs['n_passes'])}</b>: {n_right} of {len(cells)} right "
    return f'<div style="font-family:{FONT};color:{colours.text}">{head}{"".join(cells)}</div>'


def _answer(answer: xr.Dataset, number: int, theme: Theme) -> str:
    colours = palette(theme)
    right = bool(answer["right"].item())
    colour = colours.right if right else colours.wrong
    verdict = "right" if right else f"wrong, it is {escape(str(answer['truth'].item()))}"
    style = (
        f"border:1px solid {colours.grid};border-left:4px solid {colour};border-radius:6px;padding:4px 10px;margin:3px 8px 3px 0"
    )
    return (
        f'<span class="sk-answer" style="display:inline-block;{style}">'
        f"string {number}, depth {int(answer['depth'].item())}: <b>{escape(str(answer['predicted'].item()))}</b> "
        f'<span style="color:{colour}">{verdict}</span> '
        f'<span style="color:{colours.muted}">P(correct) {float(answer["p_true"].item()):.2f}</span></span>'
    )


def _token(text: str, border: str) -> str:
    box = f"display:inline-block;min-width:1.1em;text-align:center;padding:1px 3px;margin:1px;border:1px solid {border}"
    font = "border-radius:4px;font-family:ui-monospace,Menlo,Consolas,monospace;font-size:12px"
    return f'<span style="{box};{font}">{escape(text)}</span>'


def _mark(asleep: bool, n_passes: int, colour: str) -> str:
    if not asleep:
        words = "answered in one pass, from memory"
    elif n_passes == 1:
        words = "read, then evicted"
    else:
        words = f"read, {n_passes - 1} asleep, evicted"
    return f'<span style="color:{colour};font-size:12px;white-space:nowrap">{words}</span>'
