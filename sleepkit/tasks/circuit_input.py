"""Circuits as a person writes them: x1=0 x2=1 g1=and(x1,x2) ..., and what hangs on what in them.

A line is (name, value) for an input, (name, kind, argument, argument) for a gate, all words.
"""

import re
from collections.abc import Sequence

from sleepkit.tasks.own_input import circle, refuse_text

Line = tuple[str, ...]

_INPUT = re.compile("(x[0-9]{1,3})=([01])")
_GATE = re.compile(r"(g[0-9]{1,4})=(\w+)\((\w+),(\w+)\)")


def written_lines(lines: Sequence[Line]) -> list[str]:
    """Write lines as words."""
    return ["{}={}".format(*line) if len(line) == 2 else "{}={}({},{})".format(*line) for line in lines]


def read_circuit(words: Sequence[str], *, n_inputs: int, n_gates: int, kinds: Sequence[str]) -> list[Line]:
    """Return the lines that words stand for, inputs first, gates in the order of the text.

    Raises:
        InvalidInputError: for a word that is none, a wrong name or kind, gates that do not stand in levels.
    """
    lines: list[Line] = []
    for number, word in enumerate(words):
        if number < n_inputs:
            found = _INPUT.fullmatch(word)
            if not found or found[1] != f"x{number + 1}":
                refuse_text(f"must be x{number + 1}=0 or x{number + 1}=1", f"input {number + 1}", word)
            lines.append((found[1], found[2]))
            continue
        where, found = f"gate {number - n_inputs + 1}", _GATE.fullmatch(word)
        if not found:
            refuse_text("must look like g1=and(x1,x2)", where, word)
        if found[2] not in kinds:
            refuse_text(f"must be of a kind among {', '.join(kinds)}", where, word)
        lines.append(tuple(found.groups()))
    gates = lines[n_inputs:]
    if len(lines) < n_inputs or len(gates) != n_gates:
        refuse_text(f"must be {n_inputs} and {n_gates}", "inputs and gates", f"{min(len(lines), n_inputs)} and {len(gates)}")
    _check_names(gates, inputs=[line[0] for line in lines[:n_inputs]])
    levels_of(lines)
    return lines


def _check_names(gates: Sequence[Line], *, inputs: Sequence[str]) -> None:
    names = [f"g{number + 1}" for number in range(len(gates))]
    known, defined = {*inputs, *names}, set[str]()
    for number, (name, _, one, two) in enumerate(gates, start=1):
        where = f"gate {number}"
        if name not in names or name in defined:
            refuse_text(f"must have a name of its own among {names[0]} to {names[-1]}", where, name)
        defined.add(name)
        for argument in (one, two):
            if argument not in known:
                refuse_text("must read inputs or gates that there are", where, argument)
        if one == two:
            refuse_text("must read two different ones", where, one)


def levels_of(lines: Sequence[Line]) -> dict[str, int]:
    """Return the level of every input (0) and gate.

    Raises:
        InvalidInputError: if a gate hangs on itself, or reads two of different levels.
    """
    levels = {line[0]: 0 for line in lines if len(line) == 2}
    left = [line for line in lines if len(line) == 4]
    while left:
        waiting = [line for line in left if not (line[2] in levels and line[3] in levels)]
        if len(waiting) == len(left):
            refuse_text("must not read each other in a circle", "gates", circle({line[0]: line[2:] for line in left}, left[0][0]))
        ready = [line for line in left if line not in waiting]
        for name, kind, one, two in ready:
            if levels[one] != levels[two]:
                word = written_lines([(name, kind, one, two)])[0]
                refuse_text(f"must read two of one level, not of {levels[one]} and {levels[two]}", f"gate {name}", word)
        levels |= {name: 1 + levels[one] for name, _, one, _ in ready}
        left = waiting
    return levels


def needed_by(lines: Sequence[Line], name: str) -> set[str]:
    """Return the inputs and gates that a gate hangs on, itself included."""
    reads = {line[0]: line[2:] for line in lines}
    needed, left = {name}, [name]
    while left:
        new = set(reads[left.pop()]) - needed
        needed |= new
        left += new
    return needed
