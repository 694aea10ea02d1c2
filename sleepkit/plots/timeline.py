"""Wake and sleep of one example on one line: every pass over every window, evictions, the answer."""

import itertools
from typing import NamedTuple

import plotly.colors
import plotly.graph_objects as go
import xarray as xr

from sleepkit.plots.draft import Draft
from sleepkit.plots.moment import check_pass, eviction_words, last_pass, pass_name
from sleepkit.plots.theme import Theme, dress, ink_on, palette, pass_colour
from sleepkit.results import group

_READ, _ASLEEP, _ANSWER, _GAP = 1.0, 0.75, 1.6, 0.35
_ANSWER_SHARE, _GAP_SHARE = 0.1, 0.012  # of all passes together, at the least: both stay visible among many passes
_NARROWEST, _NAME_WIDTH, _SHORT_NAME_WIDTH = 340, 58, 24  # pixels: a phone, the room of "window 0", that of "w 0"
# The first and the last pass asleep; those between are mixed.
_SLEEP = {"light": ("#74c0fc", "#1a3f94"), "dark": ("#a5d8ff", "#4263eb")}
_ROWS = 84.0  # what the vertical axis counts; at the default height one unit is one pixel


class _Block(NamedTuple):
    """One pass: where it stands and what it is."""

    window: int
    sleep_pass: int
    start: float
    width: float
    asleep: bool  # a window that is slept on; its first pass reads

    @property
    def stop(self) -> float:
        """Where the block ends."""
        return self.start + self.width


def timeline(
    tree: xr.DataTree, *, window: int = 0, sleep_pass: int | None = None, theme: Theme = "light", height: int = 84
) -> go.Figure:
    """Draw every pass as a block from left to right: read, asleep (deeper blue with each pass), evicted, answered.

    The block looked at is framed, has an arrow below it and is named in words. Numbers of blocks that are too narrow are left
    out. Customdata of a block: [window, pass].

    Args:
        tree: what ``trace`` returned.
        window: window looked at.
        sleep_pass: pass looked at; the last one over the window if None. 0 (before reading): the arrow is where reading starts.
        theme: "light" or "dark".
        height: pixels.

    Raises:
        InvalidInputError: if the trace has no such window or pass.
    """
    chosen = check_pass(tree, window, sleep_pass, first=0)
    blocks, colours = _blocks(tree), palette(theme)
    fills = [_colour(block, tree, theme) for block in blocks]
    here = [block.window == window and block.sleep_pass == chosen for block in blocks]
    figure = Draft()
    figure.add_bar(
        orientation="h",
        y=[46.0] * len(blocks),
        x=[0.95 * block.width for block in blocks],
        base=[block.start for block in blocks],
        width=32.0,
        customdata=[[block.window, block.sleep_pass] for block in blocks],
        marker={"color": fills, "line": {"width": [3 if at else 0 for at in here], "color": colours.accent}},
        text=[_label(block) for block in blocks],
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        textfont={"size": 11, "color": [ink_on(fill) for fill in fills]},
        constraintext="both",
        hovertext=[_words(block, tree) for block in blocks],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    dress(figure, theme=theme, height=height)
    _name_windows(figure, blocks, theme)
    _mark_evictions(figure, blocks, tree, theme)
    _point(figure, blocks, tree, (window, chosen), theme)
    figure.update_layout(
        margin={"l": 4, "r": 4, "t": 2, "b": 2}, showlegend=False, bargap=0, uniformtext={"mode": "hide", "minsize": 9}
    )
    figure.update_xaxes(visible=False, range=[-0.1, blocks[-1].stop + 0.1], fixedrange=True)
    figure.update_yaxes(visible=False, range=[0, _ROWS], fixedrange=True)
    return figure.done()


def timeline_summary(tree: xr.DataTree, *, window: int, sleep_pass: int) -> str:
    """Say the figure in words: windows, passes, what is evicted, and where one looks."""
    check_pass(tree, window, sleep_pass, first=0)
    tokens = group(tree, "tokens")
    n_asleep, n_passes = int(tokens["asleep"].values.sum()), int(tree.attrs["n_passes"])
    what = f"{n_asleep} {'window' if n_asleep == 1 else 'windows'}"
    done = f"{what} read" if n_passes == 1 else f"{what} of {n_passes} passes"
    first = int(tokens["asleep"].values.argmax())
    gone = f", each then {eviction_words(tree, first)}" if n_asleep else ""
    where = f"You look at window {window}, {pass_name(tree, window, sleep_pass)}."
    return f"{done}{gone}; the question is answered in one pass. {where}"


def _blocks(tree: xr.DataTree) -> list[_Block]:
    asleep = group(tree, "tokens")["asleep"].values.astype(bool).tolist()
    passes = [last_pass(tree, window) for window in range(len(asleep))]
    total = sum(_READ + (count - 1) * _ASLEEP for count in passes)
    answer, gap = max(_ANSWER, _ANSWER_SHARE * total), max(_GAP, _GAP_SHARE * total)
    blocks, at = [], 0.0
    for window, slept_on in enumerate(asleep):
        for sleep_pass in range(1, passes[window] + 1):
            width = (_READ if sleep_pass == 1 else _ASLEEP) if slept_on else answer
            blocks.append(_Block(window, sleep_pass, at, width, slept_on))
            at += width
        at += gap
    return blocks


def _colour(block: _Block, tree: xr.DataTree, theme: Theme) -> str:
    if not block.asleep:
        return palette(theme).right
    if block.sleep_pass == 1:
        return pass_colour(1, theme)
    depth = (block.sleep_pass - 2) / max(last_pass(tree, block.window) - 2, 1)
    ends = [plotly.colors.hex_to_rgb(colour) for colour in _SLEEP[theme]]
    channels = plotly.colors.find_intermediate_color(*ends, depth)
    return "#" + "".join(f"{round(channel):02x}" for channel in channels)


def _label(block: _Block) -> str:
    if not block.asleep:
        return "answer"
    return "read" if block.sleep_pass == 1 else str(block.sleep_pass)


def _words(block: _Block, tree: xr.DataTree) -> str:
    if not block.asleep:
        return f"window {block.window}: the question is answered in one pass, from memory"
    doing = "reads" if block.sleep_pass == 1 else "asleep"
    return f"window {block.window}, pass {block.sleep_pass} of {last_pass(tree, block.window)}: {doing}"


def _name_windows(figure: Draft, blocks: list[_Block], theme: Theme) -> None:
    """Name each window above its blocks; names get shorter, then fewer, where they would run into each other on a phone."""
    starts = {block.window: block.start for block in reversed(blocks) if block.asleep}
    spans = [b - a for a, b in zip(sorted(starts.values()), [*sorted(starts.values())[1:], blocks[-1].start], strict=False)]
    room = min(spans, default=1.0) / blocks[-1].stop * _NARROWEST
    short = room < _NAME_WIDTH
    every = max(1, -int(-_SHORT_NAME_WIDTH // room)) if short else 1
    style = {"showarrow": False, "yanchor": "top", "y": _ROWS, "font": {"size": 11, "color": palette(theme).muted}}
    for window, start in sorted(starts.items()):
        if window % every == 0:
            figure.add_annotation(x=start, xanchor="left", text=f"{'w' if short else 'window'} {window}", **style)
    for block in blocks:
        if not block.asleep:
            figure.add_annotation(x=block.stop, xanchor="right", text="question", **style)


def _mark_evictions(figure: Draft, blocks: list[_Block], tree: xr.DataTree, theme: Theme) -> None:
    """Draw a crossed line where a window is evicted; what the cross stands for is said below, at the right."""
    colours = palette(theme)
    ends = [(a, (a.stop + b.start) / 2) for a, b in itertools.pairwise(blocks) if a.window != b.window and a.asleep]
    if blocks[-1].asleep:
        ends.append((blocks[-1], blocks[-1].stop))
    if not ends:
        return
    for _, at in ends:
        line = {"color": colours.wrong, "width": 1.5, "dash": "dot"}
        figure.add_shape(type="line", x0=at, x1=at, y0=28, y1=64, line=line)
    figure.add_scatter(
        x=[at for _, at in ends],
        y=[66] * len(ends),
        mode="markers",
        marker={"size": 6, "symbol": "x-thin", "line": {"width": 2, "color": colours.wrong}},
        hovertext=[f"window {block.window}: {eviction_words(tree, block.window)}" for block, _ in ends],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    _write(figure, f"\u2715 {_shortly(eviction_words(tree, ends[-1][0].window))}", "right", colours.wrong)


def _point(figure: Draft, blocks: list[_Block], tree: xr.DataTree, moment: tuple[int, int], theme: Theme) -> None:
    """Put an arrow under the block looked at, and name it below, at the left."""
    window, sleep_pass = moment
    block = next(block for block in blocks if block.window == window and block.sleep_pass == max(sleep_pass, 1))
    figure.add_scatter(
        x=[block.start if sleep_pass == 0 else block.start + block.width / 2],
        y=[23],
        mode="markers",
        marker={"size": 8, "symbol": "triangle-up", "color": palette(theme).accent},
        hoverinfo="skip",
        cliponaxis=False,
    )
    _write(figure, f"\u25b2 w {window}, {_shortly(pass_name(tree, window, sleep_pass))}", "left", palette(theme).text)


def _write(figure: Draft, text: str, side: str, colour: str) -> None:
    at = {"x": 0.0 if side == "left" else 1.0, "xref": "paper", "xanchor": side, "y": 0, "yanchor": "bottom"}
    figure.add_annotation(text=text, showarrow=False, font={"size": 11, "color": colour}, **at)


def _shortly(words: str) -> str:
    """Shorten words to what fits on half a phone."""
    return words.removeprefix("after ").replace("the newest ", "").replace(" (", ", ").removesuffix(")")
