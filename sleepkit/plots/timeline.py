"""Wake and sleep of one example on one line: every pass over every window, evictions, the answer."""

from typing import NamedTuple

import plotly.graph_objects as go
import xarray as xr

from sleepkit.plots.moment import check_pass, last_pass
from sleepkit.plots.theme import Theme, dress, palette, pass_colour
from sleepkit.results import group

_READ, _ASLEEP, _ANSWER, _GAP = 1.0, 0.75, 1.6, 0.35
_MOST_NUMBERED = 70
# The first and the last pass asleep; those between are mixed.
_SLEEP = {"light": ("#74c0fc", "#1a3f94"), "dark": ("#a5d8ff", "#4263eb")}


class _Block(NamedTuple):
    """One pass: where it stands and what it is."""

    window: int
    sleep_pass: int
    start: float
    width: float
    asleep: bool  # a window that is slept on; its first pass reads


def timeline(
    tree: xr.DataTree, *, window: int = 0, sleep_pass: int | None = None, theme: Theme = "light", height: int = 84
) -> go.Figure:
    """Draw every pass as a block from left to right; the one looked at is framed. Customdata of a block: [window, pass].

    Args:
        tree: what ``trace`` returned.
        window: window looked at.
        sleep_pass: pass looked at; the last one over the window if None. 0 (before reading) frames nothing.
        theme: "light" or "dark".
        height: pixels.

    Raises:
        InvalidInputError: if the trace has no such window or pass.
    """
    chosen = check_pass(tree, window, sleep_pass, first=0)
    blocks, colours = _blocks(tree), palette(theme)
    numbered = len(blocks) <= _MOST_NUMBERED
    here = [block.window == window and block.sleep_pass == chosen for block in blocks]
    grounds = [_colour(block, int(tree.attrs["n_passes"]), theme) for block in blocks]
    figure = go.Figure(
        go.Bar(
            orientation="h",
            y=[0.0] * len(blocks),
            x=[block.width for block in blocks],
            base=[block.start for block in blocks],
            width=0.8,
            customdata=[[block.window, block.sleep_pass] for block in blocks],
            marker={
                "color": grounds,
                "line": {"width": [4 if at else 0 for at in here], "color": colours.accent},
            },
            text=[_label(block, numbered=numbered) for block in blocks],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"size": 11, "color": [_ink(ground) for ground in grounds]},
            constraintext="both",
            hovertext=[_words(block, tree) for block in blocks],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    )
    dress(figure, theme=theme, height=height)
    _mark_windows(figure, blocks, tree, theme)
    end = blocks[-1].start + blocks[-1].width
    figure.update_layout(margin={"l": 4, "r": 4, "t": 2, "b": 2}, showlegend=False, bargap=0)
    figure.update_xaxes(visible=False, range=[-0.1, end + 0.1], fixedrange=True)
    figure.update_yaxes(visible=False, range=[-0.55, 1.05], fixedrange=True)
    return figure


def timeline_summary(tree: xr.DataTree, *, window: int, sleep_pass: int) -> str:
    """Say the figure in words: windows, passes, and where one looks."""
    tokens = group(tree, "tokens")
    n_asleep, n_passes = int(tokens["asleep"].values.sum()), int(tree.attrs["n_passes"])
    done = f"{n_asleep} windows are read and evicted" if n_passes == 1 else f"{n_asleep} windows of {n_passes} passes are evicted"
    return f"{done}; the question is answered in one pass. You look at window {window}, pass {sleep_pass}."


def _blocks(tree: xr.DataTree) -> list[_Block]:
    tokens, blocks, at = group(tree, "tokens"), [], 0.0
    for window, asleep in enumerate(tokens["asleep"].values.astype(bool).tolist()):
        for sleep_pass in range(1, last_pass(tree, window) + 1):
            width = (_READ if sleep_pass == 1 else _ASLEEP) if asleep else _ANSWER
            blocks.append(_Block(window, sleep_pass, at, width, asleep))
            at += width
        at += _GAP
    return blocks


def _colour(block: _Block, n_passes: int, theme: Theme) -> str:
    if not block.asleep:
        return palette(theme).right
    if block.sleep_pass == 1:
        return pass_colour(1, theme)
    share = 0.0 if n_passes <= 2 else (block.sleep_pass - 2) / (n_passes - 2)
    first, last = (channels_of(colour) for colour in _SLEEP[theme])
    mixed = [round(a + share * (b - a)) for a, b in zip(first, last, strict=True)]
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def channels_of(colour: str) -> list[int]:
    """Return red, green and blue, 0 to 255, of a colour "#rrggbb"."""
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def _ink(ground: str) -> str:
    """Return black or white, whichever is read better on a ground "#rrggbb" (WCAG contrast)."""
    channels = [channel / 255 for channel in channels_of(ground)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#ffffff"


def _label(block: _Block, *, numbered: bool) -> str:
    if not block.asleep:
        return "answer"
    if not numbered:
        return ""
    return "read" if block.sleep_pass == 1 else str(block.sleep_pass)


def _words(block: _Block, tree: xr.DataTree) -> str:
    if not block.asleep:
        return f"window {block.window}: the question is answered in one pass, from memory"
    doing = "reads" if block.sleep_pass == 1 else "asleep"
    return f"window {block.window}, pass {block.sleep_pass} of {last_pass(tree, block.window)}: {doing}"


def _mark_windows(figure: go.Figure, blocks: list[_Block], tree: xr.DataTree, theme: Theme) -> None:
    """Name each window above its blocks, and draw a line where it is evicted."""
    colours, sliding = palette(theme), tree.attrs.get("eviction") == "sliding"
    evicted = "all but the newest L - 1 tokens evicted" if sliding else "evicted"
    windows = sorted({block.window for block in blocks})
    for window in windows:
        own = [block for block in blocks if block.window == window]
        start, end = own[0].start, own[-1].start + own[-1].width
        short = f"{window}" if len(windows) > 12 else f"window {window}"
        name = short if own[0].asleep else "asked"
        figure.add_annotation(
            x=start,
            y=0.98,
            text=name,
            showarrow=False,
            xanchor="left",
            yanchor="top",
            font={"size": 11, "color": colours.muted},
        )
        if own[0].asleep:
            at = end + _GAP / 2
            line = {"color": colours.wrong, "width": 2, "dash": "dot"}
            figure.add_shape(type="line", x0=at, x1=at, y0=-0.5, y1=0.95, line=line)
            figure.add_scatter(
                x=[at],
                y=[0.5],
                mode="markers",
                marker={"size": 9, "symbol": "x-thin", "line": {"width": 2, "color": colours.wrong}},
                hovertemplate=f"window {window}: {evicted}<extra></extra>",
            )
