"""Rule 110 from a person's own strings, and the states of a ring as text."""

import re

import numpy as np

from sleepkit.tasks.own_input import Step, refuse_text, settled_depth

_DEPTH = re.compile("t=([0-9]{1,4})")


def help_text(*, width: int, n_strings: int) -> str:
    """Return the rule in one sentence, with an example."""
    strings = [("0110100" * width)[slot : slot + width] for slot in range(n_strings)]
    counted = "one string" if n_strings == 1 else f"{n_strings} strings"
    return f"Write {counted} of {width} cells, 0 or 1, with spaces between: {' '.join(strings)}"


def written(cells: list[list[int]], depths: list[int]) -> str:
    """Return strings as text, each behind its depth if depths differ."""
    mixed = len(set(depths)) > 1
    heads = [f"t={depth} " if mixed else "" for depth in depths]
    return " ".join(head + "".join(map(str, string)) for head, string in zip(heads, cells, strict=True))


def read_strings(text: str, depth: int | None, *, n_strings: int, width: int) -> list[tuple[list[int], int]]:
    """Return the cells and the depth of each string.

    Raises:
        InvalidInputError: for a string that is none, a wrong length or number, a depth that is missing.
    """
    strings: list[tuple[list[int], int]] = []
    named: int | None = None
    for word in text.split():
        where = f"string {len(strings) + 1}"
        head = _DEPTH.fullmatch(word)
        if head:
            if named is not None:
                refuse_text("must have one depth at most", where, word)
            named = int(head[1])
            continue
        strange = sorted(set(word) - {"0", "1"})
        if strange:
            refuse_text(f"must hold cells 0 and 1, not {strange[0]!r}", where, word)
        if len(word) != width:
            refuse_text(f"must have {width} cells, not {len(word)}", where, word)
        strings.append(([int(cell) for cell in word], settled_depth(depth, named, where)))
        named = None
    if named is not None:
        refuse_text("must stand before a string", "a depth", f"t={named}")
    if len(strings) != n_strings:
        refuse_text(f"must be {n_strings}", "the number of strings", str(len(strings)))
    return strings


def history_steps(history: np.ndarray, start: int) -> list[Step]:
    """Return the states [steps + 1, width] of a ring as steps; the first reads the string from position ``start`` on."""
    return [Step("".join(map(str, state)), -1 if number else start) for number, state in enumerate(history.tolist())]
