"""The reproduction table (docs/reproduction.md): every figure of the paper, what we ran of it, and what came out."""

import json

import numpy as np
import xarray as xr

from sleepkit.bench import windows
from sleepkit.experiments import figures
from sleepkit.experiments.verdicts import Outcome, Verdict

_SIZES = ("paper", "cpu")
_WORDS: dict[Outcome, str] = {"reproduced": "reproduced", "partly": "partly reproduced", "not": "not reproduced"}
_FIG6 = ("time by window length and N", "in turn costs next to nothing once L fills the GPU; throughput falls roughly as 1/N")


def table() -> str:
    """Return the table as Markdown, from the committed results alone; a figure without results is "not run"."""
    lines = ["| figure | what | the paper | size | where, time | ours | verdict |", "|---|---|---|---|---|---|---|"]
    for name in figures.names():
        figure = figures.get(name)
        title = name.removeprefix("fig") if name.startswith("fig") else "beyond: " + name.replace("-", " ")
        found = [size for size in _SIZES if figures.results_path(name, size).exists()]
        for size in found:
            data = figures.load(name, size)
            lines.append(_row(title, figure.what, figure.paper, size, _where(data), figure.judge(data)))
        if not found:
            lines.append(_row(title, figure.what, figure.paper, "-", "-", None))
    found = [size for size in _SIZES if figures.results_path("fig6", size).exists()]
    for size in found:
        data = windows.load_or_measure(size)
        where = f"{data.attrs['processor']}, {data.attrs['threads_used']} thread"
        lines.append(_row("6", *_FIG6, size, where, windows.judge(data)))
    if not found:
        lines.append(_row("6", *_FIG6, "-", "-", None))
    return "\n".join(lines)


def _row(title: str, what: str, paper: str, size: str, where: str, verdict: Verdict | None) -> str:
    ours, word = ("-", "not run") if verdict is None else (verdict.numbers, f"**{_WORDS[verdict.outcome]}**")
    word += " in small" if verdict is not None and size != "paper" else ""
    return f"| {title} | {what} | {paper} | {size} | {where} | {ours} | {word} |"


def _where(data: xr.Dataset) -> str:
    notes = json.loads(data.attrs["cells"])
    devices = sorted({note["processor"] if note["settings"]["device"] == "cpu" else note["settings"]["device"] for note in notes})
    seconds = data.wall_time_s.values
    return f"{', '.join(devices)}; {len(notes)} runs, {np.nansum(seconds) / 3600:.1f} h"
