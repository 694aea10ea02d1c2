"""Small pieces of HTML and the empty figure."""

import textwrap
from html import escape
from typing import Literal

import pandas as pd
import plotly.graph_objects as go
import xarray as xr

from sleepkit.plots import Theme, palette, pass_name
from sleepkit.plots.draft import Draft
from sleepkit.plots.theme import FONT, dress
from sleepkit.results import group
from sleepkit.ui.picture import Picture

_STATUS = {
    "light": {"info": ("#4b5563", "#f3f4f6"), "warning": ("#9a3412", "#ffedd5"), "error": ("#ffffff", "#c92a2a")},
    "dark": {"info": ("#9ca3af", "#1f2937"), "warning": ("#fdba74", "#431407"), "error": ("#ffffff", "#a61e1e")},
}
_HIDDEN = "position:absolute;width:1px;height:1px;margin:-1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap"
# Rows whose panes go below each other where they do not fit beside each other.
WRAPPING = {"flex-wrap": "wrap", "gap": "10px"}


def title(text: str, theme: Theme, detail: str = "", summary: str = "") -> str:
    """Return the title line of a pane; the detail is quieter, the summary (the figure in words) for screen readers alone."""
    colours = palette(theme)
    quiet = f' <span style="font-weight:400;font-size:13px;color:{colours.muted}">{escape(detail)}</span>' if detail else ""
    heading = (
        f'<h2 class="sk-title" style="margin:0;font:600 15px/28px {FONT};color:{colours.text};white-space:nowrap;'
        f'overflow:hidden;text-overflow:ellipsis" title="{escape(text)} {escape(detail)}">{escape(text)}{quiet}</h2>'
    )
    return heading + (f'<p class="sk-summary" style="{_HIDDEN}">{escape(summary)}</p>' if summary else "")


def help_popover(name: str, about: str, theme: Theme) -> str:
    """Return a small button that opens an explanation beside it, above all panes; Escape and a click elsewhere close it.

    It needs no script: the browser opens, closes and gives the focus back. One that places no anchors shows it in the middle.
    """
    colours = palette(theme)
    ground = "#ffffff" if theme == "light" else "#1f2937"
    own = f"sk-help-{name}"
    style = (
        f"<style>.sk-help button{{width:22px;height:22px;margin:3px 0 0 1px;padding:0;border:1px solid {colours.muted};"
        f"border-radius:50%;background:none;color:{colours.muted};font:600 13px/19px {FONT};cursor:pointer;anchor-name:--{own}}}"
        f".sk-help button:hover{{color:{colours.text};border-color:{colours.text}}}"
        f".sk-help button:focus-visible{{outline:2px solid {colours.accent};outline-offset:1px}}"
        f".sk-help [popover]{{width:290px;max-width:calc(100vw - 24px);box-sizing:border-box;padding:10px 12px;"
        f"border:1px solid {colours.muted};border-radius:8px;background:{ground};color:{colours.text};"
        f"font:13px/1.45 {FONT};white-space:normal;box-shadow:0 4px 14px rgba(0,0,0,.25)}}"
        f"@supports (position-area: bottom span-left){{.sk-help [popover]{{position-anchor:--{own};inset:auto;margin:4px 0;"
        f"position-area:bottom span-left;position-try-fallbacks:flip-block}}}}</style>"
    )
    return (
        f'{style}<div class="sk-help"><button type="button" popovertarget="{own}" aria-label="About {escape(name)}">?</button>'
        f'<div id="{own}" popover role="note">{escape(about)}</div></div>'
    )


def place(picture: Picture, layer: int, window: int, sleep_pass: int) -> str:
    """Return where a view looks, in words."""
    return f"layer {layer}, window {window}, {pass_name(picture.tree, window, sleep_pass)}"


def note(text: str, theme: Theme) -> str:
    """Return a small quiet paragraph."""
    return f'<div style="font:12.5px/1.45 {FONT};color:{palette(theme).muted}">{escape(text)}</div>'


def finding(sentence: str, theme: Theme) -> str:
    """Return the computed sentence on top of the page."""
    colours = palette(theme)
    return f'<h1 class="sk-finding" style="margin:0;font:500 13px/1.4 {FONT};color:{colours.text}">{escape(sentence)}</h1>'


def tour_step(title: str, text: str, number: int, total: int, theme: Theme) -> str:
    """Return one step of the tour; screen readers announce it."""
    colours = palette(theme)
    return (
        f'<div role="status" style="font:14px/1.45 {FONT};color:{colours.text}"><b>{number} of {total}: {escape(title)}.</b> '
        f"{escape(text)}</div>"
    )


def status(text: str, kind: Literal["info", "warning", "error"], theme: Theme) -> str:
    """Return the line that says what is shown or what was refused; screen readers announce refusals at once."""
    ink, ground = _STATUS[theme][kind]
    role = "alert" if kind == "error" else "status"
    weight = 400 if kind == "info" else 600
    return (
        "<style>@media (max-width: 1200px) { .sk-status { white-space: normal !important } }</style>"
        f'<div role="{role}" class="sk-status sk-{kind}" style="font:{weight} 13px/22px {FONT};color:{ink};'
        f"background:{ground};border-left:4px solid {ink};border-radius:4px;padding:6px 12px;box-sizing:border-box;"
        f"white-space:{'normal' if kind == 'error' else 'nowrap'};"
        f'overflow:hidden;text-overflow:ellipsis" title="{escape(text)}">{escape(text)}</div>'
    )


def answers(picture: Picture, theme: Theme) -> str:
    """Return the answers at N and at the compared N beside the truth, one column for each question."""
    now, n_passes = picture.tree["answers"].to_dataset(), picture.request.n_passes
    rows = [_truth_row(now), _answer_row(now, n_passes, theme)]
    if n_passes != picture.compare:
        rows.append(_answer_row(picture.other["answers"].to_dataset(), picture.compare, theme))
    explained = note("Beside each answer: the probability the model gives to the truth.", theme)
    return f'{_answer_table(rows, now.sizes["answer"], theme)}<div style="margin-bottom:10px">{explained}</div>'


def answers_of(tree: xr.DataTree, n_passes: int, theme: Theme) -> str:
    """Return the answers of one trace beside the truth."""
    now = tree["answers"].to_dataset()
    return _answer_table([_truth_row(now), _answer_row(now, n_passes, theme)], now.sizes["answer"], theme)


def answers_summary(picture: Picture) -> str:
    """Say how many answers are right at N and at the compared N."""
    said = []
    for n_passes, tree in picture.both:
        right = group(tree, "answers")["right"].values
        said.append(f"with N = {n_passes}, {int(right.sum())} of {right.size} answers are right")
    return "; ".join(said).capitalize() + "."


def read_on_the_way(picture: Picture, answer: int) -> list[int]:
    """Return the token positions that the true reasoning path of one question reads, in order."""
    if "reasoning" not in picture.tree.children:
        return []
    positions = group(picture.tree, "reasoning")["position"].values[answer]
    return [int(position) for position in positions if position >= 0]


def scrolling(content: str, height: int, name: str, *, shrinks: bool = False) -> str:
    """Return content in a box of a height in pixels, or of that at most, that scrolls, from the keyboard too."""
    size = f"{'max-' if shrinks else ''}height:{height}px"
    return f'<div tabindex="0" role="region" aria-label="{escape(name)}" style="{size};overflow:auto">{content}</div>'


def table(frame: pd.DataFrame, theme: Theme, caption: str) -> str:
    """Return a table; numbers with four digits."""
    colours = palette(theme)
    style = (
        f"<style>.sk-table{{font:12.5px {FONT};color:{colours.text};border-collapse:collapse;margin:0 0 16px 0}}"
        f".sk-table caption{{text-align:left;font-weight:600;padding:4px 0}}"
        f".sk-table th,.sk-table td{{border-top:1px solid {colours.grid};padding:3px 12px 3px 0;text-align:left;"
        f"font-variant-numeric:tabular-nums}}.sk-table th{{color:{colours.muted};font-weight:500}}</style>"
    )
    heads = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in frame.columns)
    rows = "".join(f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>" for row in frame.itertuples(index=False))
    return f'{style}<table class="sk-table"><caption>{escape(caption)}</caption><tr>{heads}</tr>{rows}</table>'


def arrays(tree: xr.DataTree, theme: Theme) -> str:
    """Return a table of every array in a trace: group, name, axes, type."""
    rows = [
        {
            "group": name.strip("/"),
            "array": str(variable),
            "axes": ", ".join(f"{dim} {size}" for dim, size in array.sizes.items()),
            "type": str(array.dtype),
        }
        for name, node in tree.subtree_with_keys
        for variable, array in node.to_dataset().data_vars.items()
    ]
    return table(pd.DataFrame(rows), theme, "Arrays of the trace")


def empty_figure(reason: str, theme: Theme) -> go.Figure:
    """Return a figure that says why there is nothing to see."""
    figure = dress(Draft(), theme=theme)
    # Another revision than that of full figures, or plotly would keep the axes of the one for the other.
    figure.update_layout(uirevision="empty")
    # Plotly breaks no lines by itself: a pane shows 40 characters even where it is narrowest.
    figure.add_annotation(
        text="<br>".join(textwrap.wrap(reason, 40)),
        x=0.5,
        y=0.5,
        xref="paper",
        yref="paper",
        showarrow=False,
        font={"color": palette(theme).muted},
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure.done()


def _answer_table(rows: list[str], n_answers: int, theme: Theme) -> str:
    colours = palette(theme)
    heads = "".join(f'<th scope="col">{number}</th>' for number in range(n_answers))
    padding, size = ("4px 8px", 13) if n_answers <= 5 else ("4px 2px", 12)
    style = (
        f"<style>.sk-answers{{font:{size}px {FONT};color:{colours.text};border-collapse:collapse;"
        f"width:100%;margin:0 0 6px 0}}"
        f".sk-answers th,.sk-answers td{{border-top:1px solid {colours.grid};padding:{padding};text-align:left;"
        f"white-space:nowrap;font-variant-numeric:tabular-nums}}"
        f".sk-answers th{{color:{colours.muted};font-weight:500}}</style>"
    )
    head = f'<tr><th scope="col">question</th>{heads}<th scope="col">right</th></tr>'
    return f'{style}<table class="sk-answers">{head}{"".join(rows)}</table>'


def _truth_row(answered: xr.Dataset) -> str:
    truth = "".join(f"<td><b>{escape(str(text))}</b></td>" for text in answered["truth"].values)
    return f'<tr><th scope="row">truth</th>{truth}<td></td></tr>'


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else escape(str(value))


def _answer_row(answered: xr.Dataset, n_passes: int, theme: Theme) -> str:
    colours = palette(theme)
    cells = []
    for number in range(answered.sizes["answer"]):
        right, p_true = bool(answered["right"].values[number]), float(answered["p_true"].values[number])
        mark, colour, word = ("\u2713", colours.right, "right") if right else ("\u2717", colours.wrong, "wrong")
        answer = escape(str(answered["predicted"].values[number]))
        cells.append(
            f'<td class="sk-answer" title="{word}, P(truth) {p_true:.3f}" style="color:{colour}"><b>{answer}</b> '
            f'<span aria-label="{word}">{mark}</span> <span style="color:{colours.muted}">{p_true:.2f}</span></td>'
        )
    name = "N = 1, no sleep" if n_passes == 1 and len(cells) <= 5 else f"N = {n_passes}"
    n_right = int(answered["right"].values.sum())
    return f'<tr data-n="{n_passes}"><th scope="row">{name}</th>{"".join(cells)}<td>{n_right} of {len(cells)}</td></tr>'
