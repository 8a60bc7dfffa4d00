"""`Seconds`: the counts and gauges of each second of a run, in 8 bytes each, because a run may last days. Pure."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping

SECOND_COUNTS = ("sent", "ended", "failed", "tokens", "chunks", "coalesced", "retries")
SECOND_SUMS = ("users", "in_flight", "backing_off")
SECOND_MAXIMA = ("client_cpu", "loop_lag", "client_lag", "turn_wait", "throttled", "core_wait", "longest")
"""Gauges of which the maximum over all processes is kept. `longest`: duration in seconds of the longest request that ended."""

_WHOLE = {"sent", "ended", "failed", "chunks", "coalesced", "retries", *SECOND_SUMS}
_UNKNOWN = math.nan


class Seconds(Mapping[int, dict[str, float]]):
    """Counts and gauges by name, by the number of the second. Seconds without any are not in the mapping."""

    def __init__(self) -> None:
        self._columns = {name: array("d") for name in (*SECOND_COUNTS, *SECOND_SUMS, *SECOND_MAXIMA)}

    def merge(self, second: int, counts: Mapping[str, float]) -> None:
        """Add what one process reports for a second. A second before the run began, by its clock, becomes the first."""
        second = max(second, 0)
        self._reach(second)
        for name, value in counts.items():
            column = self._columns[name]
            old = column[second]
            if math.isnan(old):
                column[second] = value
            else:
                column[second] = max(old, value) if name in SECOND_MAXIMA else old + value

    def _reach(self, second: int) -> None:
        for column in self._columns.values():
            if second >= len(column):
                column.extend([_UNKNOWN] * (second + 1 - len(column)))

    def value(self, second: int, name: str) -> float:
        """Return a count or gauge of a second; NaN if it was not reported."""
        column = self._columns[name]
        return column[second] if second < len(column) else _UNKNOWN

    def reported(self, name: str, begin: int, end: int) -> list[float]:
        """Return the reported values of a count or gauge in the seconds from `begin` to before `end`."""
        return [value for value in self._columns[name][max(begin, 0) : max(end, 0)] if not math.isnan(value)]

    def __getitem__(self, second: int) -> dict[str, float]:
        if not 0 <= second < len(self._columns["sent"]):
            raise KeyError(second)
        known = {name: column[second] for name, column in self._columns.items() if not math.isnan(column[second])}
        if not known:
            raise KeyError(second)
        return {name: int(value) if name in _WHOLE else value for name, value in known.items()}

    def all(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield the seconds in order of time, with their counts and gauges. More may be merged meanwhile."""
        for second in range(len(self._columns["sent"])):
            if (known := self.get(second)) is not None:
                yield second, known

    def __iter__(self) -> Iterator[int]:
        return (second for second, _ in self.all())

    def __len__(self) -> int:
        return sum(1 for _ in self)
