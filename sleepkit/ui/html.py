"""Small pieces of HTML and the empty figure."""

from html import escape
from typing import Literal

import plotly.graph_objects as go
import xarray as xr

from sleepkit.plots import Theme, palette, pass_name
from sleepkit.plots.theme import FONT, dress
from sleepkit.ui.picture import Picture

_STATUS = {
    "light": {"info": ("#4b5563", "#f3f4f6"), "warning": ("#9a3412", "#ffedd5"), "error": ("#ffffff", "#c92a2a")},
    "dark": {"info": ("#9ca3af", "#1f2937"), "warning": ("#fdba74", "#431407"), "error": ("#ffffff", "#a61e1e")},
}
_VERDICT = {"light": ("#2b8a3e", "#c92a2a"), "dark": ("#69db7c", "#ff8787")}


def title(text: str, theme: Theme, detail: str = "") -> str:
    """Return the title line of a pane; the detail is quieter."""
    colours = palette(theme)
    quiet = f' <span style="font-weight:400;font-size:13px;color:{colours.muted}">{escape(detail)}</span>' if detail else ""
    return (
        f'<div class="sk-title" style="font:600 15px/28px {FONT};color:{colours.text};white-space:nowrap;'
        f'overflow:hidden;text-overflow:ellipsis" title="{escape(text)} {escape(detail)}">{escape(text)}{quiet}</div>'
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
    return f'<div class="sk-finding" style="font:500 16px/1.4 {FONT};color:{colours.text}">{escape(sentence)}</div>'


def status(text: str, kind: Literal["info", "warning", "error"], theme: Theme) -> str:
    """Return the line that says what is shown or what was refused; screen readers announce refusals at once."""
    ink, ground = _STATUS[theme][kind]
    role = "alert" if kind == "error" else "status"
    weight = 400 if kind == "info" else 600
    return (
        f'<div role="{role}" class="sk-status sk-{kind}" style="font:{weight} 13px/22px {FONT};color:{ink};'
        f"background:{ground};border-left:4px solid {ink};border-radius:4px;padding:6px 12px;box-sizing:border-box;"
        f'white-space:nowrap;overflow:hidden;text-overflow:ellipsis" title="{escape(text)}">{escape(text)}</div>'
    )


def answers(picture: Picture, theme: Theme) -> str:
    """Return the answers at N and at N = 1 beside the truth, one column per string."""
    colours, now = palette(theme), picture.tree["answers"].to_dataset()
    n_passes, n_answers = picture.request.n_passes, now.sizes["answer"]
    heads = "".join(f"<th>{'string ' if n_answers <= 5 else ''}{number}</th>" for number in range(n_answers))
    truth = "".join(f"<td><b>{escape(str(text))}</b></td>" for text in now["truth"].values)
    rows = [f"<tr><td>truth</td>{truth}<td></td></tr>", _answer_row(now, n_passes, theme)]
    if n_passes != 1:
        rows.append(_answer_row(picture.baseline["answers"].to_dataset(), 1, theme))
    padding, size = ("4px 8px", 13) if n_answers <= 5 else ("4px 2px", 12)
    style = (
        f"<style>.sk-answers{{font:{size}px {FONT};color:{colours.text};border-collapse:collapse;"
        f"width:100%;margin:0 0 6px 0}}"
        f".sk-answers th,.sk-answers td{{border-top:1px solid {colours.grid};padding:{padding};text-align:left;"
        f"white-space:nowrap;font-variant-numeric:tabular-nums}}"
        f".sk-answers th{{color:{colours.muted};font-weight:500}}</style>"
    )
    table = f'<table class="sk-answers"><tr><th>answers</th>{heads}<th>right</th></tr>{"".join(rows)}</table>'
    explained = note("Beside each answer: the probability the model gives to the truth.", theme)
    return f'{style}{table}<div style="margin-bottom:10px">{explained}</div>'


def empty_figure(reason: str, theme: Theme) -> go.Figure:
    """Return a figure that says why there is nothing to see."""
    figure = dress(go.Figure(), theme=theme)
    # Another revision than that of full figures, or plotly would keep the axes of the one for the other.
    figure.update_layout(uirevision="empty")
    figure.add_annotation(
        text=reason, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font={"color": palette(theme).muted}
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure


def _answer_row(answered: xr.Dataset, n_passes: int, theme: Theme) -> str:
    quiet, (good, bad) = palette(theme).muted, _VERDICT[theme]
    cells = []
    for number in range(answered.sizes["answer"]):
        right, p_true = bool(answered["right"].values[number]), float(answered["p_true"].values[number])
        mark, colour, word = ("\u2713", good, "right") if right else ("\u2717", bad, "wrong")
        answer = escape(str(answered["predicted"].values[number]))
        cells.append(
            f'<td class="sk-answer" title="{word}, P(truth) {p_true:.3f}" style="color:{colour}"><b>{answer}</b> '
            f'<span aria-label="{word}">{mark}</span> <span style="color:{quiet}">{p_true:.2f}</span></td>'
        )
    name = "N = 1, no sleep" if n_passes == 1 and len(cells) <= 5 else f"N = {n_passes}"
    n_right = int(answered["right"].values.sum())
    return f'<tr data-n="{n_passes}"><td>{name}</td>{"".join(cells)}<td>{n_right} of {len(cells)}</td></tr>'
