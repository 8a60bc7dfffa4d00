"""`Seconds`: what is known of each second of a run, in 8 bytes a figure: a run may last for days. Pure."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping

SECOND_COUNTS = ("sent", "ended", "failed", "tokens", "chunks", "coalesced")
SECOND_SUMS = ("users", "in_flight", "backing_off")
SECOND_MAXIMA = ("client_cpu", "loop_lag", "client_lag", "turn_wait", "throttled", "core_wait", "longest")
"""`longest`: seconds that the longest of the requests took that ended in the second."""

_WHOLE = {"sent", "ended", "failed", "chunks", "coalesced", *SECOND_SUMS}
_UNTOLD = math.nan


class Seconds(Mapping[int, dict[str, float]]):
    """By the number of the second, what was told of it, by name; seconds of which nothing was told are not there."""

    def __init__(self) -> None:
        self._columns = {name: array("d") for name in (*SECOND_COUNTS, *SECOND_SUMS, *SECOND_MAXIMA)}

    def merge(self, second: int, told: Mapping[str, float]) -> None:
        """Add what one process tells of a second. By its clock that may be before the run began: it is told of the
        first one then.
        """
        second = max(second, 0)
        self._reach(second)
        for name, value in told.items():
            column = self._columns[name]
            old = column[second]
            if math.isnan(old):
                column[second] = value
            else:
                column[second] = max(old, value) if name in SECOND_MAXIMA else old + value

    def _reach(self, second: int) -> None:
        for column in self._columns.values():
            if second >= len(column):
                column.extend([_UNTOLD] * (second + 1 - len(column)))

    def value(self, second: int, name: str) -> float:
        """NaN where it was not told."""
        column = self._columns[name]
        return column[second] if second < len(column) else _UNTOLD

    def told(self, name: str, begin: int, end: int) -> list[float]:
        """Those that were told of the seconds from `begin` on and before `end`."""
        return [value for value in self._columns[name][max(begin, 0) : max(end, 0)] if not math.isnan(value)]

    def __getitem__(self, second: int) -> dict[str, float]:
        if not 0 <= second < len(self._columns["sent"]):
            raise KeyError(second)
        told = {name: column[second] for name, column in self._columns.items() if not math.isnan(column[second])}
        if not told:
            raise KeyError(second)
        return {name: int(value) if name in _WHOLE else value for name, value in told.items()}

    def all(self) -> Iterator[tuple[int, dict[str, float]]]:
        """In the order of time, each looked at once, while more may come in."""
        for second in range(len(self._columns["sent"])):
            if (told := self.get(second)) is not None:
                yield second, told

    def __iter__(self) -> Iterator[int]:
        return (second for second, _ in self.all())

    def __len__(self) -> int:
        return sum(1 for _ in self)
