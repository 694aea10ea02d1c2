"""Checks of GSM's own, on the printed words: the operation count, and what becomes of an example that loses a sentence."""

import torch
from torch import Tensor

from sleepkit.errors import InvalidInputError
from sleepkit.tasks.base import Batch
from sleepkit.tasks.gsm_oracle import Question, Statement, read, resolve
from sleepkit.tasks.gsm_text import printed


def recheck(vocab: list[str], batch: Batch) -> dict[str, Tensor]:
    """Return the examples [B] bool that break each rule (``Gsm.checks``)."""
    miscounted, spare_matters, needless = ([False] * batch.size for _ in range(3))
    for row in range(batch.size):
        question, statements = read(printed(vocab, batch.rows(row, row + 1)))
        solution = resolve(question, statements)
        counts = {"depth": solution.n_ops, "chain": solution.chain, "n_needed": len(solution.values), "n_facts": len(statements)}
        miscounted[row] = any(int(batch.coords[name][row, 0]) != count for name, count in counts.items())
        for gone, statement in enumerate(statements):
            value = _value(question, statements[:gone] + statements[gone + 1 :])
            if statement.about in solution.values:
                needless[row] |= value is not None
            else:
                spare_matters[row] |= value != solution.value
    return {
        "operations, chain and facts are those of the text": torch.tensor(miscounted),
        "without a needed sentence there is no answer": torch.tensor(needless),
        "without any other sentence the answer is the same": torch.tensor(spare_matters),
    }


def _value(question: Question, statements: list[Statement]) -> int | None:
    try:
        return resolve(question, statements).value
    except InvalidInputError:
        return None
