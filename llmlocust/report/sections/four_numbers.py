"""The four numbers in words: their names, meanings and loads."""

from __future__ import annotations

from typing import Any

from llmlocust.analysis.breakpoints.steps import Finding, Status
from llmlocust.analysis.breakpoints.verdict import Verdict
from llmlocust.text import figures as words

NUMBERS = {"slo_limit": "SLO limit", "knee": "Knee", "saturation": "Saturation", "collapse": "Collapse"}
STATUS = {Status.REACHED: "reached", Status.NOT_REACHED: "not reached", Status.UNKNOWN: "cannot be told"}
_MEANS = {
    "slo_limit": "where the first limit breaks",
    "knee": "more load buys less than half its share",
    "saturation": "throughput is flat, requests queue",
    "collapse": "throughput falls, or errors pass 1 %",
}


def place(finding: Finding, unit: str) -> str:
    """Return the load of a number in words, such as "about 45 users (40 to 50)"."""
    if not finding.reached:
        return STATUS[finding.status]
    if finding.load is None:
        return f"at or below {words.with_unit(finding.high or 0.0, unit)}"
    about = f"about {words.with_unit(_rounded(finding.load), unit)}"
    between = range_of(finding)
    return f"{about} ({between})" if between else about


def range_of(finding: Finding) -> str:
    """Return the 95 % interval of a number that was reached, in words; one end may be unknown."""
    low, high = (None if load is None else words.load(_rounded(load)) for load in (finding.low, finding.high))
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"{low} or more" if low is not None else f"{high} or less" if high is not None else ""


def cards(verdict: Verdict, unit: str) -> list[dict[str, Any]]:
    """Return a card of the page for each number."""
    return [
        {
            "key": name,
            "name": NUMBERS[name],
            "means": _MEANS[name],
            "number": card_number(finding, unit),
            "range": _card_range(finding, unit),
            "why": words.sentence(finding.why),
            "reached": finding.reached,
        }
        for name, finding in verdict.numbers().items()
    ]


def card_number(finding: Finding, unit: str) -> str:
    """Return a number without its unit, or why it has none."""
    if not finding.reached:
        return place(finding, unit)
    if finding.load is None:
        return f"≤ {words.load(finding.high or 0.0)}"
    return words.load(_rounded(finding.load))


def _card_range(finding: Finding, unit: str) -> str:
    if not finding.reached:
        return ""
    between = "" if finding.load is None else range_of(finding)
    return f"{words.unit_of(unit)}, 95 %: {between}" if between else words.unit_of(unit)


def _rounded(load: float) -> float:
    """Round a load to the precision of these numbers: whole from 10 on, below to a tenth."""
    return float(round(load)) if load >= 10 else round(load, 1)
