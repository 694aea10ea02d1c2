"""Examples of Depo as text: the cycle, the windows, the path behind every answer."""

from torch import Tensor

from sleepkit.tasks.base import NOTHING_ASKED, PAD, Batch
from sleepkit.tasks.depo_config import DepoConfig

_PATH_SHOWN = 17


def describe(config: DepoConfig, vocab: list[str], example: Batch, predicted: Tensor | None) -> str:
    """Return one example (a batch of one) as text; ``predicted`` [A, tokens] is what a model answered."""
    tokens, segment = example.tokens[0].tolist(), example.segment[0].tolist()
    names = names_of(config, tokens[: config.context_len])
    leads_to = dict(zip(names[::2], names[1::2], strict=True))
    printed = {name: " ".join(vocab[token] for token in name) for name in leads_to}
    start = names[0]
    cycle = walk(leads_to, start, len(leads_to))
    lines = [f"cycle of {len(leads_to)}: " + " -> ".join(printed[name] for name in cycle)]
    for number, left in enumerate(range(0, config.context_len, config.window_len)):
        right = min(left + config.window_len, config.context_len)
        lines.append(f"window {number}: {_compact(vocab, tokens[left:right], segment[left:right])}")
        lines.append("-" * 12 + " window ends: evicted " + "-" * 12)
    block = slice(config.context_len, len(tokens))
    lines.append(f"questions: {_compact(vocab, tokens[block], segment[block])}")
    asked = questions_of(config, tokens[block])
    for number, (n_hops, name) in enumerate(asked):
        path = walk(leads_to, name, n_hops)
        coords = {key: int(value[0, number]) for key, value in example.coords.items()}
        shown = [printed[node] for node in path]
        if len(shown) > _PATH_SHOWN:
            shown = [*shown[: _PATH_SHOWN - 2], "...", shown[-1]]
        around = f" (mod {coords['n_nodes']}: {coords['wrapped']})" if coords["wrapped"] != n_hops else ""
        lines.append(f"question {number}, {n_hops} hops{around}: " + " -> ".join(shown))
        lines.append(f"  answer: {printed[path[-1]]}{_verdict(vocab, path[-1], predicted, number)}")
    return "\n".join(lines)


def names_of(config: DepoConfig, tokens: list[int]) -> list[tuple[int, ...]]:
    """Cut tokens into names at their last parts."""
    first_last = 1 if config.name_len == 1 else config.n_symbols + 1
    names: list[tuple[int, ...]] = []
    begun: tuple[int, ...] = ()
    for token in filter(None, tokens):
        begun = (*begun, token)
        if token >= first_last:
            names.append(begun)
            begun = ()
    return names


def questions_of(config: DepoConfig, tokens: list[int]) -> list[tuple[int, tuple[int, ...]]]:
    """Hops and name of each question."""
    first_hop, mark, found = config.first_hop_token, config.mark_token, []
    begun: list[int] = []
    for token in tokens:
        if first_hop <= token < mark:
            begun = [token]
        elif token == mark:
            found.append((begun[0] - first_hop + 1, tuple(begun[1:])))
        else:
            begun.append(token)
    return found


def walk(leads_to: dict[tuple[int, ...], tuple[int, ...]], name: tuple[int, ...], n_hops: int) -> list[tuple[int, ...]]:
    """Return the names met on a number of hops, the first one included."""
    path = [name]
    for _ in range(n_hops):
        path.append(leads_to[path[-1]])
    return path


def _compact(vocab: list[str], tokens: list[int], segment: list[int]) -> str:
    """Tokens as text, runs of padding as a count."""
    parts: list[str] = []
    n_padding = 0
    for token, kind in [*zip(tokens, segment, strict=True), (0, -1)]:
        if kind == PAD:
            n_padding += 1
            continue
        if n_padding:
            parts.append(f"[PAD]x{n_padding}")
            n_padding = 0
        if kind >= 0:
            parts.append(vocab[token])
    return " ".join(parts)


def _verdict(vocab: list[str], truth: tuple[int, ...], predicted: Tensor | None, number: int) -> str:
    if predicted is None:
        return ""
    said = tuple(int(token) for token in predicted[number] if token != NOTHING_ASKED)
    return f", the model says {' '.join(vocab[token] for token in said)} ({'right' if said == truth else 'wrong'})"
