"""The oracle of Depo: reads an example token by token and walks its graph; shares nothing with the generator."""

from collections.abc import Iterator, Sequence

from sleepkit.errors import refuse

Name = tuple[int, ...]


class Reader:
    """Reads rows of tokens of one vocabulary.

    Tokens: 0 padding, 1 .. V first parts of names, V + 1 .. 2 V last parts (names of one token: 1 .. V last parts, no first
    parts), then K hop tokens, then the mark before an answer.
    """

    def __init__(self, *, n_symbols: int, n_hops: int, one_token: bool) -> None:
        self.first_last = 1 if one_token else n_symbols + 1
        self.first_hop = self.first_last + n_symbols
        self.mark = self.first_hop + n_hops

    def answers(self, row: Sequence[int]) -> list[Name]:
        """Return the name that answers each question of a row.

        Raises:
            InvalidInputError: if the row is no example.
        """
        tokens = iter([token for token in row if token != 0])
        leads_to: dict[Name, Name] = {}
        token = next(tokens, None)
        while token is not None and token < self.first_hop:
            source = self._name(token, tokens)
            if source in leads_to:
                refuse("tokens", "must lead from each name once", source)
            leads_to[source] = self._name(next(tokens, -1), tokens)
            token = next(tokens, None)
        found = []
        while token is not None:
            n_hops = token - self.first_hop + 1
            if not 1 <= n_hops <= self.mark - self.first_hop:
                refuse("tokens", "must start each question with a number of hops", token)
            name = self._name(next(tokens, -1), tokens)
            for _ in range(n_hops):
                if name not in leads_to:
                    refuse("tokens", "must lead on from every name that is met", name)
                name = leads_to[name]
            found.append(name)
            mark = next(tokens, None)
            if mark != self.mark:
                refuse("tokens", f"must put token {self.mark} after each question", mark)
            token = next(tokens, None)
            while token is not None and token < self.first_hop:  # an answer shown: not looked at
                token = next(tokens, None)
        return found

    def _name(self, token: int, rest: Iterator[int]) -> Name:
        name = []
        while 1 <= token < self.first_last:
            name.append(token)
            token = next(rest, -1)
        if not self.first_last <= token < self.first_hop or len(name) > 1:
            refuse("tokens", "must spell names with one last part", [*name, token])
        return (*name, token)
