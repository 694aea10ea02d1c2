"""The page about robustness names a test for every kind of fault, and every test that it names exists."""

import ast
import functools
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "robustness.md").read_text()
ROWS = dict(re.findall(r"^\| ([A-D]\d+) \|.*?\|(.*)\|$", PAGE, flags=re.MULTILINE))
KINDS = [
    *(f"A{n}" for n in range(1, 16)),
    *(f"B{n}" for n in range(1, 14)),
    *(f"C{n}" for n in range(1, 15)),
    *(f"D{n}" for n in range(1, 11)),
]


@functools.cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_kind_of_fault_has_a_row() -> None:
    assert list(ROWS) == KINDS


def test_every_row_names_tests_that_exist_or_says_that_there_is_none() -> None:
    for row, tests in ROWS.items():
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)
        assert bool(named) != (tests.strip() == "no test of the project yet"), row
        assert [f"{path}::{name}" for path, name in named if name not in names_in(path)] == [], row
