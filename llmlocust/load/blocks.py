"""The block size of a trace: tokens per block id, inferred from the number of ids and tokens of each row. Pure."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

_SIZES = tuple(2**power for power in range(21))


class BlockSizes:
    """The block sizes (powers of two) that fit all rows.

    A row may have one id more or fewer than blocks: in some traces, a last block that is not full has no id.
    """

    def __init__(self) -> None:
        self._low, self._high, self._have_ids = 0.0, math.inf, False
        self._tokens, self._ids = array("I"), array("I")

    def __bool__(self) -> bool:
        """Whether any row has ids."""
        return self._have_ids

    def add(self, tokens: Sequence[int], ids: Sequence[int]) -> int | None:
        """Add rows by their numbers of tokens and ids. Return the place of the first row that fits no size, or None."""
        before = self._low, self._high
        self._narrow(tokens, ids)
        fitting = self._fitting()
        if not fitting:
            self._low, self._high = before
            return self._first_wrong(tokens, ids)
        if len(fitting) > 1:  # rows are only kept while the size is ambiguous
            self._tokens.extend(tokens)
            self._ids.extend(ids)
        self._have_ids = self._have_ids or any(ids)
        return None

    @property
    def likely(self) -> int:
        """The size for which most rows have one id per block or per full block. Ties: the size with more of the former."""
        fitting = self._fitting()
        return fitting[0] if len(fitting) == 1 else max(fitting, key=self._score)

    def _first_wrong(self, tokens: Sequence[int], ids: Sequence[int]) -> int | None:
        for place, (token_count, id_count) in enumerate(zip(tokens, ids, strict=True)):
            self._narrow([token_count], [id_count])
            if not self._fitting():
                return place
        return None

    def _score(self, size: int) -> tuple[int, int, int]:
        rows = [(tokens, ids) for tokens, ids in zip(self._tokens, self._ids, strict=True) if ids]
        blocks = sum(ids == -(-tokens // size) for tokens, ids in rows)
        full_only = sum(ids == tokens // size for tokens, ids in rows if tokens % size)
        return blocks + full_only, blocks, -size

    def _narrow(self, tokens: Sequence[int], ids: Sequence[int]) -> None:
        low, high = self._low, self._high
        for token_count, id_count in zip(tokens, ids, strict=True):
            if id_count:
                if token_count > low * (id_count + 1):
                    low = token_count / (id_count + 1)
                if id_count > 2 and token_count < high * (id_count - 2):
                    high = token_count / (id_count - 2)
        self._low, self._high = low, high

    def _fitting(self) -> list[int]:
        return [size for size in _SIZES if self._low <= size < self._high]
