"""In which unit the timestamps of a trace are, by their name, their size and their spacing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

PER_SECOND = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}
DATES = "dates"
_UNITS = tuple(PER_SECOND)
_EPOCH = 1e9, 4e9
"""Seconds since 1970 from 2001 to 2096."""
_DAY = 86_400.0
_MAX_GAP, _MAX_GAP_OF_FRACTIONS = 100.0, 1000.0
"""Seconds between two requests, on average. Where there are more, the unit is a smaller one."""
_MIN_GAP, _MIN_DURATION = 0.01, 0.2
"""Seconds between two requests and of a whole trace. Where milliseconds make less, the unit is seconds."""


class Clock(NamedTuple):
    """The unit of a trace's timestamps."""

    unit: str = "seconds"
    """One of PER_SECOND, or DATES."""
    reason: str = ""
    """Why it is this one; "" for dates."""
    other: str = ""
    """The unit that they may be in as well; "" where this one is sure."""

    @property
    def other_speed(self) -> float:
        """How many times as fast a replay has to be for the other unit."""
        return PER_SECOND[self.other] / PER_SECOND[self.unit]

    def in_words(self, name: str, speed: float) -> str:
        """What the unit of the column `name` is, and how to change it. `speed` is the speed of the replay."""
        if self.unit == DATES:
            return f"{name} has dates"
        taken = f"{name} is read as {self.unit} ({self.reason})"
        if not self.other:
            return taken
        return f"{taken}. If it is in {self.other}, give --llm-trace-speed {speed * self.other_speed:g}"


def clock_of(times: Sequence[float], named: str, *, is_whole_ms: bool) -> Clock:
    """Find the unit of timestamps. `named` is the unit that their name says, or DATES; `is_whole_ms` says that whole
    numbers are milliseconds, as they are in JSON, and not seconds, as in tables.
    """
    if named:
        return Clock(named, "" if named == DATES else "as its name says")
    first, last = min(times), max(times)
    gap = (last - first) / max(1, len(times) - 1)
    epoch = next((unit for unit in PER_SECOND if _is_epoch(first, gap, unit)), "")
    if epoch:
        return Clock(epoch, "it counts from 1970")
    if any(time % 1.0 for time in times):
        return _with_gaps("seconds", "it has fractions", gap, _MAX_GAP_OF_FRACTIONS)
    if is_whole_ms and gap and (gap < 1000.0 * _MIN_GAP or last - first < 1000.0 * _MIN_DURATION):
        return Clock("seconds", "milliseconds would make more than 100 requests/s, or all within 0.2 s", "milliseconds")
    if is_whole_ms:
        return _with_gaps("milliseconds", "whole numbers in JSON", gap, _MAX_GAP)
    return _with_gaps("seconds", "whole numbers", gap, _MAX_GAP)


def _is_epoch(first: float, gap: float, unit: str) -> bool:
    return _EPOCH[0] <= first / PER_SECOND[unit] < _EPOCH[1] and gap / PER_SECOND[unit] < _DAY


def _with_gaps(usual: str, reason: str, gap: float, most: float) -> Clock:
    """Return the usual unit, or the largest smaller one whose average gap is at most `most` seconds."""
    for unit in _UNITS[_UNITS.index(usual) :]:
        seconds = gap / PER_SECOND[unit]
        if seconds <= most:
            break
        reason = f"{unit} would make one request in {seconds:.0f} s"
    return Clock(unit, reason, "seconds" if unit == "milliseconds" else "milliseconds")
