"""The parts of README.md and docs/ that are numbers or tables: generated from the code, the cards and the committed JSON files.

A part stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``; ``python -m sleepkit.bench.documents`` writes it anew.
"""

import json
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sleepkit import zoo
from sleepkit.bench import reproduction
from sleepkit.bench.rows import ROWS
from sleepkit.bench.targets import verdicts
from sleepkit.errors import require
from sleepkit.files import whole_file, write_whole
from sleepkit.model.sizes import n_parameters, state_bytes
from sleepkit.notation import markdown_table
from sleepkit.zoo.folder import folder_of

ROOT = Path(__file__).resolve().parents[2]
_RULE110, _DEPO = "rule110-explorer", "depo-explorer"
_FIXED = (1, 2, 4)
FAULTS = ("lost", "leftovers", "differs", "accepted_wrong", "tracebacks", "crashes", "hangs", "failed")
"""What the harness of ``tests/robustness`` counts besides its tries."""


def documents(root: Path = ROOT) -> list[Path]:
    """Return the README and the pages beside it."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def regenerate(text: str) -> str:
    """Return a document with every generated part written anew.

    Raises:
        InvalidInputError: if the text names a part that nobody generates.
    """

    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        require(name in PARTS, "part", f"must be one of {', '.join(PARTS)}", name)
        return f"<!-- begin {name} -->\n{PARTS[name]()}\n<!-- end {name} -->"

    return re.sub(r"<!-- begin (?P<name>[\w-]+) -->\n.*?<!-- end (?P=name) -->", replace, text, flags=re.DOTALL)


def save_pictures(folder: Path = ROOT / "docs" / "images") -> None:
    """Draw the pictures of accuracy from the cards."""
    from sleepkit import plots

    for name, task in ((_RULE110, "Rule 110"), (_DEPO, "Depo")):
        accuracy = zoo.load_card(name).accuracy.sel(n_passes=[1, 2, 3, 4])
        figure = plots.accuracy_by_depth(accuracy, title=f"{task}: accuracy by reasoning depth")
        figure.update_layout(paper_bgcolor="white")
        drawn = figure.to_image("png", width=760, height=420, scale=1.5)
        write_whole(folder / f"{name.partition('-')[0]}-accuracy.png", drawn)


def _zoo_table(name: str) -> str:
    return zoo.load_card(name).table()


def _finding(name: str) -> str:
    return zoo.load_card(name).finding(1, 4)


def models_table() -> str:
    """Return the bundled models with what they take: parameters, bytes of weights and of fast weights."""
    lines = ["| model | parameters | weights | fast weights | what it is |", "|---|---|---|---|---|"]
    for name in zoo.names():
        config, weights = zoo.load_card(name).settings.model, (folder_of(name) / "model.safetensors").stat().st_size
        sizes = f"{n_parameters(config):,} | {weights / 1e3:.0f} kB | {state_bytes(config) / 1e3:.0f} kB"
        lines.append(f"| [{name}](sleepkit/zoo/{name}/README.md) | {sizes} | {zoo.facts(name).summary} |")
    return "\n".join(lines)


def fixed_n_table() -> str:
    """Return the mean accuracy over depths of the models that were trained with one N, by the N they are run with."""
    cards = {n: zoo.load_card(f"rule110-n{n}") for n in _FIXED}
    tried = cards[_FIXED[0]].accuracy.n_passes.values.tolist()
    lines = ["| trained with | " + " | ".join(f"run with N = {n}" for n in tried) + " |", "|---" * (len(tried) + 1) + "|"]
    for n, card in cards.items():
        counts = card.accuracy[["n_correct", "n_total"]].sum("depth")
        shares = 100 * counts.n_correct / counts.n_total
        lines.append(f"| N = {n} | " + " | ".join(f"{share:.1f}" for share in shares.values) + " |")
    floor = 100 * float(cards[_FIXED[0]].accuracy.floor.mean())
    return "\n".join([*lines, f"| floor | {floor:.1f}" + " |" * len(tried)])


def performance(folder: Path = ROOT / "benchmarks") -> str:
    """Return the table of measured figures from the JSON files of a folder; a suite without a file is "not measured"."""
    rows = ["| what | measured | where |", "|---|---|---|"]
    for name, describe in ROWS.items():
        path = folder / f"{name}.json"
        if not path.exists():
            rows.append(f"| {name} | not measured | |")
            continue
        report = json.loads(path.read_text())
        where = f"{report['processor']}, {report['n_cores']} cores, torch {report['version_torch']}"
        rows += [f"| {what} | {figure} | {where} |" for what, figure in describe(report["results"])]
    return "\n".join(rows)


def dashboard(folder: Path = ROOT / "benchmarks") -> str:
    """Return the table of the dashboard's targets, figures and verdicts from the JSON file of a folder."""
    path = folder / "dashboard.json"
    if not path.exists():
        return "Dashboard: not measured."
    report = json.loads(path.read_text())
    found = report["results"]
    sizes = " and ".join(" x ".join(map(str, size)) for size in found["screens"].values())
    rows = [f"| {each.what} | {each.target} | {each.measured} | {each.verdict} |" for each in verdicts(found)]
    where = f"{report['processor']}, {report['n_cores']} cores, headless Chromium {found['browser']} at {sizes}"
    return "\n".join(
        ["| what | target | measured | |", "|---|---|---|---|", *rows, "", f"Measured on {where}; `sleepkit bench dashboard`."]
    )


def robustness(folder: Path = ROOT / "benchmarks") -> str:
    """Return what the long form of the harness counted, from its JSON file."""
    record = json.loads((folder / "robustness.json").read_text())
    rows = [
        f"Counted on {record['date']} on {record['provenance']['processor']}:",
        "",
        "| | tries | faults | at |",
        "|---|---|---|---|",
    ]
    for name, part in record["parts"].items():
        kinds = part["kinds"] if name != "slow tests" else {name: part["kinds"]}
        tries = sum(kind.get(tried, 0) for kind in kinds.values() for tried in ("kills", "tries", "tests"))
        faults = sum(kind.get(fault, 0) for kind in kinds.values() for fault in FAULTS)
        rows.append(f"| {name} | {tries:,} | {faults} | `{part['commit'][:10]}` |")
    return "\n".join(rows)


PARTS: dict[str, Callable[[], str]] = {
    "notation": markdown_table,
    "zoo-table": partial(_zoo_table, _RULE110),
    "finding": partial(_finding, _RULE110),
    "depo-table": partial(_zoo_table, _DEPO),
    "depo-finding": partial(_finding, _DEPO),
    "fixed-n": fixed_n_table,
    "models": models_table,
    "performance": performance,
    "dashboard": dashboard,
    "reproduction": reproduction.table,
    "robustness": robustness,
}


def main() -> int:
    """Write the generated parts of every document and the pictures of accuracy anew."""
    for path in documents():
        text = regenerate(path.read_text())
        with whole_file(path) as temporary:
            temporary.write_text(text)
    save_pictures()
    return 0


if __name__ == "__main__":
    sys.exit(main())
