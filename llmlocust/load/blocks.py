"""How many tokens a block of a prompt has, by how many ids stand for how many tokens. Pure."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

_SIZES = tuple(2**power for power in range(21))


class BlockSizes:
    """The sizes of a block that fit all rows: powers of two.

    A row may have one id more or fewer than it has blocks: some traces give the last block none, where it is not full.
    """

    def __init__(self) -> None:
        self._low, self._high, self._have_ids = 0.0, math.inf, False
        self._tokens, self._ids = array("I"), array("I")

    def __bool__(self) -> bool:
        """Whether a row has ids."""
        return self._have_ids

    def add(self, tokens: Sequence[int], ids: Sequence[int]) -> int | None:
        """Add rows by their tokens and ids. Return the place of the first one that leaves no size, or None."""
        before = self._low, self._high
        self._narrow(tokens, ids)
        fitting = self._fitting()
        if not fitting:
            self._low, self._high = before
            return self._first_wrong(tokens, ids)
        if len(fitting) > 1:  # rows are kept for as long as they are needed
            self._tokens.extend(tokens)
            self._ids.extend(ids)
        self._have_ids = self._have_ids or any(ids)
        return None

    @property
    def likely(self) -> int:
        """The size that gives most rows as many ids as blocks or as full blocks; of several, that of more blocks."""
        fitting = self._fitting()
        return fitting[0] if len(fitting) == 1 else max(fitting, key=self._score)

    def _first_wrong(self, tokens: Sequence[int], ids: Sequence[int]) -> int | None:
        for place, (number, many) in enumerate(zip(tokens, ids, strict=True)):
            self._narrow([number], [many])
            if not self._fitting():
                return place
        return None

    def _score(self, size: int) -> tuple[int, int, int]:
        rows = [(tokens, ids) for tokens, ids in zip(self._tokens, self._ids, strict=True) if ids]
        blocks = sum(ids == -(-tokens // size) for tokens, ids in rows)
        full_alone = sum(ids == tokens // size for tokens, ids in rows if tokens % size)
        return blocks + full_alone, blocks, -size

    def _narrow(self, tokens: Sequence[int], ids: Sequence[int]) -> None:
        low, high = self._low, self._high
        for number, many in zip(tokens, ids, strict=True):
            if many:
                if number > low * (many + 1):
                    low = number / (many + 1)
                if many > 2 and number < high * (many - 2):
                    high = number / (many - 2)
        self._low, self._high = low, high

    def _fitting(self) -> list[int]:
        return [size for size in _SIZES if self._low <= size < self._high]
