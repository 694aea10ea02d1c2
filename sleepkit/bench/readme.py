"""The parts of the README that are numbers or tables: generated from the code, the cards and the committed JSON files.

A part stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``; ``python -m sleepkit.bench.readme`` writes it anew.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sleepkit import zoo
from sleepkit.errors import require
from sleepkit.files import whole_file
from sleepkit.notation import markdown_table

ROOT = Path(__file__).resolve().parents[2]
_MODEL = "rule110-explorer"


def regenerate(text: str) -> str:
    """Return the README with every generated part written anew.

    Raises:
        InvalidInputError: if the text names a part that nobody generates.
    """

    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        require(name in PARTS, "part", f"must be one of {', '.join(PARTS)}", name)
        return f"<!-- begin {name} -->\n{PARTS[name]()}\n<!-- end {name} -->"

    return re.sub(r"<!-- begin (?P<name>[\w-]+) -->\n.*?<!-- end (?P=name) -->", replace, text, flags=re.DOTALL)


def save_pictures(folder: Path = ROOT / "docs" / "images") -> None:
    """Draw the pictures of the README from the cards."""
    from sleepkit import plots

    card = zoo.load_card(_MODEL)
    figure = plots.accuracy_by_depth(card.accuracy.sel(n_passes=[1, 2, 3, 4]), title="Rule 110: accuracy by reasoning depth")
    figure.update_layout(paper_bgcolor="white")
    figure.write_image(folder / "rule110-accuracy.png", width=760, height=420, scale=1.5)


def _zoo_table() -> str:
    return zoo.load_card(_MODEL).table()


def _finding() -> str:
    return zoo.load_card(_MODEL).finding(1, 4)


def _performance() -> str:
    rows = ["| what | measured | where |", "|---|---|---|"]
    for name, describe in (("session", _session_rows), ("tasks", _task_rows), ("dashboard", _dashboard_rows)):
        path = ROOT / "benchmarks" / f"{name}.json"
        if not path.exists():
            rows.append(f"| {name} | not measured | |")
            continue
        report = json.loads(path.read_text())
        where = f"{report['processor']}, {report['n_cores']} cores, torch {report['version_torch']}"
        rows += [f"| {what} | {figure} | {where} |" for what, figure in describe(report["results"])]
    return "\n".join(rows)


def _session_rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    first, last = results["us_per_token_first_tenth"], results["us_per_token_last_tenth"]
    held = (results["bytes_held_first_window"], results["bytes_held_last_window"])
    peak = (results["process_peak_MiB_after_first_tenth"], results["process_peak_MiB_at_end"])
    stream = f"a session reading {results['n_tokens']:,} tokens one by one, N = {results['n_passes']}"
    return [
        (
            f"{stream}: time per token, sleeps included, last tenth : first tenth",
            f"{last:.0f} us : {first:.0f} us = {last / first:.2f}",
        ),
        (f"{stream}: bytes held, last window : first window", f"{held[1]:,} : {held[0]:,} = {held[1] / held[0]:.2f}"),
        (f"{stream}: peak memory of the process, end : after a tenth", f"{peak[1]} MiB : {peak[0]} MiB"),
    ]


def _task_rows(results: dict[str, dict[str, float]]) -> list[tuple[str, str]]:
    return [
        (
            f"Rule 110 generation, {name}, one core",
            f"{rate['Mtokens_per_s']:.0f} M tokens/s ({rate['lowest']:.0f}-{rate['highest']:.0f})",
        )
        for name, rate in results.items()
    ]


def _dashboard_rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    def spread(name: str) -> str:
        return f"median {results[name]['median_s']:.2f} s, p95 {results[name]['p95_s']:.2f} s (n = {len(results[name]['all_s'])})"

    return [
        ("dashboard: `panel serve` started to first full picture in Chromium, new process", spread("first_picture")),
        ("dashboard: slider N moved to new picture, model run", spread("n_slider_computed")),
        ("dashboard: slider N moved to new picture, trace known", spread("n_slider_cached")),
        ("dashboard: pass scrubbed to new picture", spread("scrub")),
    ]


PARTS: dict[str, Callable[[], str]] = {
    "notation": markdown_table,
    "zoo-table": _zoo_table,
    "finding": _finding,
    "performance": _performance,
}


def main() -> int:
    """Write README.md and its pictures anew."""
    path = ROOT / "README.md"
    text = regenerate(path.read_text())
    with whole_file(path) as temporary:
        temporary.write_text(text)
    save_pictures()
    return 0


if __name__ == "__main__":
    sys.exit(main())
