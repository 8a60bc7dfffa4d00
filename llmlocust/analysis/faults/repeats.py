"""Ranges over repeated injections of a fault. Pure.

A mean of a few recoveries hides that they differ, and one injection shows nothing of it. A range with its number of
injections shows both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmlocust.analysis.faults.fault_report import FaultReport

MIN_INJECTIONS = 3
"""Injections from which on a range says something about the next one."""


@dataclass(frozen=True)
class Range:
    """The lowest and the highest value of injections."""

    low: float | None
    """None if all injections are censored, or none is known."""
    high: float | None
    """None if an injection is censored: the highest value is not known."""
    known: int
    """Injections with a value."""
    censored: int
    """Injections without a recovery."""
    above: float | None = None
    """Seconds that were observed of a censored injection without a recovery, at most."""

    @property
    def is_enough(self) -> bool:
        return self.known + self.censored >= MIN_INJECTIONS


def range_of(values: Sequence[float | None]) -> Range:
    """Return the range of values; None is left out."""
    known = [value for value in values if value is not None]
    return Range(min(known, default=None), max(known, default=None), len(known), 0)


def recovery_range(reports: Sequence[FaultReport]) -> Range:
    """Return the range of the times to recover. With a censored injection, the highest is not known."""
    confirmed = [report for report in reports if report.confirmed]
    values = range_of([report.recovery.seconds for report in confirmed])
    censored = [report for report in confirmed if report.recovery.censored]
    if not censored:
        return values
    above = max((report.observed or 0.0 for report in censored), default=None)
    return Range(values.low, None, values.known, len(censored), above)
