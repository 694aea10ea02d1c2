"""Depo from a person's own cycle, and the walks behind the answers.

    a c f b ? a b            the names along the cycle, its edges in an order drawn once; then the names asked about
    a>c f>b c>f b>a ? a b    the edges, in the order in which they are read
    a c f b ? Q2 a Q1 b      hops before each name, where they differ

A name of two tokens is written as one word: a3b7.
"""

import itertools
import re
from collections.abc import Sequence

import numpy as np

from sleepkit.seeds import stream
from sleepkit.tasks.base import PAD, Batch
from sleepkit.tasks.depo_config import DepoConfig
from sleepkit.tasks.depo_graphs import Graphs
from sleepkit.tasks.depo_text import names_of, questions_of, walk
from sleepkit.tasks.drawing import shuffled_slots
from sleepkit.tasks.own_input import Step, closed_up, refuse_text, settled_depth, split_at_question

_HOPS = re.compile("Q([0-9]{1,4})")
Name = tuple[int, ...]


def help_text(config: DepoConfig, vocab: Sequence[str]) -> str:
    """Return the rule in one sentence, with an example."""
    n, n_queries, first_last = config.n_nodes, config.n_queries, config.n_symbols + 1
    if config.names == "single":
        names = list(vocab[1 : 1 + n])
    else:
        pairs = itertools.product(range(1, first_last), range(first_last, first_last + config.n_symbols))
        names = [vocab[one] + vocab[two] for one, two in itertools.islice(pairs, n)]
    rule = f"Write the names along a cycle of 2 to {n}, or its edges as {names[0]}>{names[1]} in reading order"
    return f"{rule}, then ? and up to {n_queries} names to start from: {' '.join(names)} ? {' '.join(names[:n_queries])}"


def written(config: DepoConfig, vocab: Sequence[str], example: Batch) -> str:
    """Return an example (a batch of one) as text."""
    tokens = example.tokens[0].tolist()
    names = ["".join(vocab[token] for token in name) for name in names_of(config, tokens[: config.context_len])]
    edges = [f"{start}>{end}" for start, end in zip(names[::2], names[1::2], strict=True)]
    questions = questions_of(config, tokens[config.context_len :])
    differ = len({n_hops for n_hops, _ in questions}) > 1
    asked = [(f"Q{n_hops} " if differ else "") + "".join(vocab[token] for token in name) for n_hops, name in questions]
    return " ".join([*edges, "?", *asked])


def read_example(
    config: DepoConfig, vocab: Sequence[str], spelled: np.ndarray, text: str, depth: int | None
) -> tuple[Graphs, np.ndarray]:
    """Return the graph of a text, and which questions there are [1, n_queries].

    Args:
        config: settings of the task.
        vocab: printable strings by token id.
        spelled: [n_names, name_len] tokens of every name, padding before one of one token.
        text: what a person wrote.
        depth: hops of every question where the text does not say.

    Raises:
        InvalidInputError: for an unknown name, a cycle that is none, too many questions, a missing depth.
    """
    number_of = {"".join(vocab[token] for token in tokens if token): number for number, tokens in enumerate(spelled.tolist())}
    before, after = split_at_question(closed_up(text, ">"))
    cycle, order = _read_edges(before, number_of) if any(">" in word for word in before) else _read_cycle(before, number_of)
    n, n_max = len(cycle), config.n_nodes
    if not 2 <= n <= n_max:
        refuse_text(f"must be between 2 and {n_max}", "the number of nodes", str(n))
    place = {name: node for node, name in enumerate(cycle)}
    questions = _read_questions(after, place, depth, n_hops=config.n_hops, default=cycle[: config.n_queries])
    most = min(config.n_queries, n)
    if not 1 <= len(questions) <= most:
        refuse_text(f"must be between 1 and {most}", "the number of questions", str(len(questions)))
    names, starts, hops = (np.zeros((1, size), dtype=np.int64) for size in (n_max, config.n_queries, config.n_queries))
    names[0, :n] = [number_of[name] for name in cycle]
    starts[0, : len(questions)] = [place[name] for name, _ in questions]
    hops[0, : len(questions)] = [n_hops for _, n_hops in questions]
    absent = range(n, n_max)
    slots = shuffled_slots(stream(0, "depo own input").random_raw(n)[None], np.array([n]))[0].tolist()
    ordered = slots if order is None else [place[name] for name in order]
    graphs = Graphs(np.array([n]), names, np.array([[*absent, *ordered]]), starts, hops)
    return graphs, np.arange(config.n_queries)[None] < len(questions)


def _read_cycle(words: Sequence[str], known: dict[str, int]) -> tuple[list[str], None]:
    """Return the names along a cycle; the order of its edges is not said."""
    cycle: dict[str, None] = {}
    for number, word in enumerate(words, start=1):
        _check_name(word, f"name {number}", known)
        if word in cycle:
            refuse_text("must not come twice on a cycle", f"name {number}", word)
        cycle[word] = None
    return list(cycle), None


def _read_edges(words: Sequence[str], known: dict[str, int]) -> tuple[list[str], list[str]]:
    """Return the names along the cycle of some edges, and where each edge starts."""
    leads_to: dict[str, str] = {}
    reached: set[str] = set()
    for number, word in enumerate(words, start=1):
        where, ends = f"edge {number}", word.split(">")
        if len(ends) != 2:
            refuse_text("must lead from one name to another, as a>c", where, word)
        for end in ends:
            _check_name(end, where, known)
        start, end = ends
        if start in leads_to:
            refuse_text("must be the only one from its name", where, word)
        if end in reached:
            refuse_text("must be the only one to its name", where, word)
        leads_to[start] = end
        reached.add(end)
    starts = list(leads_to)
    cycle = starts[:1]
    while leads_to.get(cycle[-1], cycle[0]) != cycle[0]:
        cycle.append(leads_to[cycle[-1]])
    if cycle[-1] not in leads_to:
        refuse_text("must lead on from every name", "edges", cycle[-1])
    if len(cycle) < len(leads_to):
        refuse_text(f"must make one cycle of {len(leads_to)} names, not one of {len(cycle)} beside others", "edges", cycle[0])
    return cycle, starts


def _check_name(word: str, where: str, known: dict[str, int]) -> None:
    if word not in known:
        names = list(known)
        refuse_text(f"must be one of the names {names[0]} to {names[-1]}", where, word)


def _read_questions(
    words: Sequence[str] | None, place: dict[str, int], depth: int | None, *, n_hops: int, default: Sequence[str]
) -> list[tuple[str, int]]:
    """Return the name and the hops of each question; without any in the text, the names at the start of the cycle."""
    if words is None:
        return [(name, settled_depth(depth, None, "the questions")) for name in default]
    questions: list[tuple[str, int]] = []
    named: int | None = None
    for word in words:
        where = f"question {len(questions) + 1}"
        head = _HOPS.fullmatch(word)
        if head:
            if named is not None or not 1 <= int(head[1]) <= n_hops:
                refuse_text(f"must have one number of hops, Q1 to Q{n_hops}", where, word)
            named = int(head[1])
            continue
        if word not in place:
            refuse_text("must start from a name on the cycle", where, word)
        if word in [name for name, _ in questions]:
            refuse_text("must start from a name that no other question starts from", where, word)
        questions.append((word, settled_depth(depth, named, where)))
        named = None
    if named is not None:
        refuse_text("must stand before a name", "hops", f"Q{named}")
    return questions


def ways(config: DepoConfig, vocab: Sequence[str], example: Batch) -> list[list[Step]]:
    """Return the walk behind each question that is asked, with the edges it takes."""
    tokens, segment = example.tokens[0].tolist(), example.segment[0].tolist()
    names = names_of(config, tokens[: config.context_len])
    leads_to = dict(zip(names[::2], names[1::2], strict=True))
    real = (position for position in range(config.context_len) if segment[position] != PAD)
    position_of: dict[Name, int] = {}
    for start, end in leads_to.items():
        positions = list(itertools.islice(real, len(start) + len(end)))
        position_of[start] = positions[0]
    asked_at = [
        position + 1
        for position, token in enumerate(tokens)
        if position >= config.context_len and config.first_hop_token <= token < config.mark_token
    ]
    found = []
    for (n_hops, name), position in zip(questions_of(config, tokens[config.context_len :]), asked_at, strict=True):
        path = walk(leads_to, name, n_hops)
        positions = [position, *(position_of[node] for node in path[:-1])]
        texts = [" ".join(vocab[token] for token in node) for node in path]
        found.append([Step(text, position) for text, position in zip(texts, positions, strict=True)])
    return found
