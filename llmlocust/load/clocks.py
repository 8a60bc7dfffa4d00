"""The unit of a trace's timestamps, inferred from their name, size and spacing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

PER_SECOND = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}
DATES = "dates"
_UNITS = tuple(PER_SECOND)
_EPOCH = 1e9, 4e9
"""Seconds since 1970 from 2001 to 2096."""
_DAY = 86_400.0
_MAX_INTERVAL, _MAX_INTERVAL_OF_FRACTIONS = 100.0, 1000.0
"""Maximum seconds between two requests, on average. A larger value means that the unit is smaller."""
_MIN_INTERVAL, _MIN_DURATION = 0.01, 0.2
"""Minimum seconds between two requests, and of a whole trace. If milliseconds give less, the unit is seconds."""


class Clock(NamedTuple):
    """The unit of a trace's timestamps."""

    unit: str = "seconds"
    """One of PER_SECOND, or DATES."""
    reason: str = ""
    """Reason for this unit; "" for dates."""
    other: str = ""
    """The other possible unit; "" if this one is certain."""

    @property
    def other_speed(self) -> float:
        """Factor of the replay speed for the other unit."""
        return PER_SECOND[self.other] / PER_SECOND[self.unit]

    def in_words(self, name: str, speed: float) -> str:
        """Return a sentence on the unit of the column `name`, and how to change it. `speed` is the speed of the replay."""
        if self.unit == DATES:
            return f"{name} has dates"
        unit = f"{name} is read as {self.unit} ({self.reason})"
        if not self.other:
            return unit
        return f"{unit}. If it is in {self.other}, give --llm-trace-speed {speed * self.other_speed:g}"


def clock_of(times: Sequence[float], named: str, *, is_whole_ms: bool) -> Clock:
    """Return the unit of timestamps. `named` is the unit in their name, or DATES. `is_whole_ms`: whole numbers are
    milliseconds, as is usual in JSON, and not seconds, as in tables.
    """
    if named:
        return Clock(named, "" if named == DATES else "according to its name")
    first, last = min(times), max(times)
    interval = (last - first) / max(1, len(times) - 1)
    epoch = next((unit for unit in PER_SECOND if _is_epoch(first, interval, unit)), "")
    if epoch:
        return Clock(epoch, "it counts from 1970")
    if any(time % 1.0 for time in times):
        return _by_interval("seconds", "it has fractions", interval, _MAX_INTERVAL_OF_FRACTIONS)
    if is_whole_ms and interval and (interval < 1000.0 * _MIN_INTERVAL or last - first < 1000.0 * _MIN_DURATION):
        return Clock(
            "seconds", "milliseconds would mean more than 100 requests/s, or a trace of less than 0.2 s", "milliseconds"
        )
    if is_whole_ms:
        return _by_interval("milliseconds", "whole numbers in JSON", interval, _MAX_INTERVAL)
    return _by_interval("seconds", "whole numbers", interval, _MAX_INTERVAL)


def _is_epoch(first: float, interval: float, unit: str) -> bool:
    return _EPOCH[0] <= first / PER_SECOND[unit] < _EPOCH[1] and interval / PER_SECOND[unit] < _DAY


def _by_interval(usual: str, reason: str, interval: float, max_seconds: float) -> Clock:
    """Return the usual unit, or the next smaller one with at most `max_seconds` between requests on average."""
    for unit in _UNITS[_UNITS.index(usual) :]:
        seconds = interval / PER_SECOND[unit]
        if seconds <= max_seconds:
            break
        reason = f"{unit} would mean one request in {seconds:.0f} s"
    return Clock(unit, reason, "seconds" if unit == "milliseconds" else "milliseconds")
