"""The paper's symbols, our names for them, units and axis labels: one row each. Glossary and plot labels come from here."""

from typing import NamedTuple


class Symbol(NamedTuple):
    """One row of the notation table.

    Attributes:
        paper: symbol in Lee et al. 2026.
        code: our name.
        unit: unit of the quantity.
        label: axis label.
        meaning: one sentence.
    """

    paper: str
    code: str
    unit: str
    label: str
    meaning: str


SYMBOLS = (
    Symbol(
        "N",
        "n_passes",
        "passes",
        "passes N",
        "Passes over a window before its eviction, reading included: N = 1 reads and never loops.",
    ),
    Symbol("L", "window_len", "tokens", "window length", "Tokens of a window, the current one included."),
    Symbol("T", "seq_len", "tokens", "sequence length", "Tokens of a whole example."),
    Symbol(
        "t",
        "rollout_depth",
        "steps",
        "reasoning depth (steps)",
        "Steps of the automaton between what is read and what is asked: the reasoning depth of Rule 110.",
    ),
    Symbol("k", "n_hops", "hops", "reasoning depth (hops)", "Hops along the graph: the reasoning depth of Depo."),
    Symbol(
        "op",
        "n_ops",
        "operations",
        "reasoning depth (operations)",
        "Operations an answer takes: the reasoning depth of GSM.",
    ),
    Symbol("D", "n_layers", "blocks", "layer", "Blocks of the model."),
    Symbol("d", "width", "channels", "width", "Channels of the residual stream."),
    Symbol(
        "S",
        "state",
        "",
        "fast weights",
        "Fast weights, one matrix K x V per head, layer and sequence; all that survives hard eviction.",
    ),
    Symbol(
        "alpha",
        "log_decay",
        "nat",
        "log decay",
        "Natural logarithm of the factor by which a token lets the fast weights fade, <= 0.",
    ),
    Symbol("beta", "beta", "", "write strength", "How strongly a token overwrites what its key finds, in (0, 1)."),
    Symbol("h", "hidden", "", "residual stream", "Residual stream; fed from pass to pass and thrown away after the window."),
)
BY_CODE = {symbol.code: symbol for symbol in SYMBOLS}
_DEPTHS = {"rule110": "rollout_depth", "depo": "n_hops", "pointer-chasing": "n_hops", "gsm": "n_ops"}


_NOUNS = {"rule110": "string", "depo": "question", "gsm": "problem"}


def question_noun(task: str) -> str:
    """Return what one question of a task is about, in the singular: a string of Rule 110, a question of Depo."""
    return _NOUNS.get(task, "question")


def label(code: str) -> str:
    """Return the axis label of a quantity by its code name."""
    return BY_CODE[code].label


def depth_symbol(task: str) -> Symbol:
    """Return the row that stands for the reasoning depth of a task; a plain "depth" for tasks the paper does not have."""
    code = _DEPTHS.get(task)
    return Symbol("depth", "depth", "steps", "reasoning depth", "Steps of reasoning.") if code is None else BY_CODE[code]


def markdown_table() -> str:
    """Return the notation table of docs/design.md."""
    rows = [f"| {s.paper} | `{s.code}` | {s.unit or '-'} | {s.meaning} |" for s in SYMBOLS]
    return "\n".join(["| paper | here | unit | meaning |", "|---|---|---|---|", *rows])
