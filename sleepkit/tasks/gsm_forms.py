"""The forms a fact of GSM can take, and which operation counts they reach.

A fact states one quantity. Its cost in operations is its number of terms, constants included; a total over m items costs m:

    leaf c 1    copy X 1    plus c + X 2    times c * X 2    sum X + Y 2    difference X - Y 2    plus_sum c + X + Y 3
    sum3 X + Y + Z 3        total of the m quantities of a place m
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

FormName = Literal["leaf", "copy", "plus", "times", "sum", "difference", "plus_sum", "sum3", "total"]
FEWEST_ITEMS = 2

_SHAPES: dict[FormName, tuple[int, bool]] = {
    "leaf": (0, True),
    "copy": (1, False),
    "plus": (1, True),
    "times": (1, True),
    "sum": (2, False),
    "difference": (2, False),
    "plus_sum": (2, True),
    "sum3": (3, False),
}


class Form(NamedTuple):
    """One form.

    Attributes:
        name: what it is called.
        n_terms: quantities it reads.
        constant: whether it has a constant of its own.
    """

    name: FormName
    n_terms: int
    constant: bool

    @property
    def cost(self) -> int:
        """Operations."""
        return self.n_terms + int(self.constant)


def spelled_out(
    names: Sequence[FormName], weights: Sequence[float], most_items: int
) -> tuple[tuple[Form, ...], tuple[float, ...]]:
    """Return the forms with their weights; a total becomes one form for each number of items, which share its weight."""
    forms, shares = [], []
    for name, weight in zip(names, weights, strict=True):
        if name == "total":
            sizes = range(FEWEST_ITEMS, most_items + 1)
            forms += [Form(name, n_items, False) for n_items in sizes]
            shares += [weight / len(sizes)] * len(sizes)
        else:
            forms.append(Form(name, *_SHAPES[name]))
            shares.append(weight)
    return tuple(forms), tuple(shares)


class Reach:
    """What can be built from a set of forms: ``possible[b][o]`` says if b operations can complete exactly o open quantities."""

    def __init__(self, forms: Sequence[Form], n_ops: int) -> None:
        self.forms = tuple(forms)
        self.possible = [[False] * (n_ops + 2) for _ in range(n_ops + 1)]
        self.possible[0][0] = True
        for budget in range(1, n_ops + 1):
            for n_open in range(1, budget + 1):
                self.possible[budget][n_open] = any(self.leads_on(form, budget, n_open - 1) for form in self.forms)

    def leads_on(self, form: Form, budget: int, n_others: int, n_shared: int = 0) -> bool:
        """Whether a quantity may take a form: the rest of the budget can complete the other open quantities and the new ones."""
        left, n_open = budget - form.cost, n_others + form.n_terms - n_shared
        return 0 <= n_open <= left and self.possible[left][n_open]

    def longest(self, length: Callable[[Form], int], *, sharing: bool) -> list[int | None]:
        """Return the most tokens of all facts of a problem by its number of operations, None where that is out of reach.

        Args:
            length: tokens of a fact of a form.
            sharing: whether a term may be a quantity that is open already.
        """
        n_ops = len(self.possible) - 1
        most = [[0] * (n_ops + 2) for _ in range(n_ops + 1)]
        for budget in range(1, n_ops + 1):
            for n_others in range(budget):
                most[budget][n_others + 1] = max(
                    (
                        length(form) + most[budget - form.cost][n_others + form.n_terms - n_shared]
                        for form in self.forms
                        if self.leads_on(form, budget, n_others)
                        for n_shared in range(1 + (min(form.n_terms, n_others) if sharing and form.name != "total" else 0))
                        if self.leads_on(form, budget, n_others, n_shared)
                    ),
                    default=0,
                )
        return [most[budget][1] if self.possible[budget][1] else None for budget in range(n_ops + 1)]
