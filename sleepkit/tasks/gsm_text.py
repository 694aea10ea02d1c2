"""Examples of GSM as text: the windows, and the facts the answer needs with their values."""

from sleepkit.tasks.base import PAD, Batch
from sleepkit.tasks.gsm_config import GsmConfig
from sleepkit.tasks.gsm_oracle import Solution, Statement, read, resolve


def printed(vocab: list[str], example: Batch) -> list[str]:
    """Words of an example (a batch of one), padding left out."""
    pairs = zip(example.tokens[0].tolist(), example.segment[0].tolist(), strict=True)
    return [vocab[token] for token, kind in pairs if kind != PAD]


def prose(words: list[str]) -> str:
    """Put words together with spaces, none before a comma or an end of a sentence."""
    text = " ".join(words)
    for stop in (",", ".", "?"):
        text = text.replace(f" {stop}", stop)
    return text


def describe(config: GsmConfig, vocab: list[str], example: Batch, truth: str, predicted: str | None) -> str:
    """Return one example as text; ``predicted`` is what a model answered."""
    tokens, segment = example.tokens[0].tolist(), example.segment[0].tolist()
    lines = []
    for number, left in enumerate(range(0, config.context_len, config.window_len)):
        inside = range(left, min(left + config.window_len, config.context_len))
        shown = [vocab[tokens[position]] for position in inside if segment[position] != PAD]
        lines += [f"window {number}: {' '.join(shown)}", "-" * 12 + " window ends: evicted " + "-" * 12]
    lines.append(f"last window: {' '.join(vocab[token] for token in tokens[config.context_len :])}")
    question, statements = read(printed(vocab, example))
    solution = resolve(question, statements)
    coords = {name: int(value[0, 0]) for name, value in example.coords.items()}
    lines.append(f"asked: {' '.join(question.about)}, {coords['depth']} operations, longest chain {coords['chain']}")
    lines += [f"  {line}" for line in _worked_out(statements, solution)]
    verdict = "" if predicted is None else f", the model says {predicted} ({'right' if predicted == truth else 'wrong'})"
    modulo = "" if config.modulus is None else f" (mod {config.modulus})"
    return "\n".join([*lines, f"  answer{modulo}: {truth}{verdict}"])


def _worked_out(statements: list[Statement], solution: Solution) -> list[str]:
    """Write the needed facts, each after those it reads, with their values."""
    says = {said.about: said for said in statements}
    lines = []
    for quantity, value in solution.values.items():
        said = says[quantity]
        own = [str(said.number)] if said.number is not None and said.sign != "all" else []
        terms = [f"{' '.join(term)} ({solution.values[term]})" for term in solution.reads[quantity]]
        sign = "+" if said.sign == "all" else said.sign
        joined = f" {sign} ".join([*own, *terms])
        lines.append(f"{' '.join(quantity)} = {joined}" + (f" = {value}" if terms else ""))
    return lines
