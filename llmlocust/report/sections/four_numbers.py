"""The four numbers in words: their names, meanings and loads."""

from __future__ import annotations

from typing import Any

from llmlocust.analysis.breakpoints.steps import Finding, Status
from llmlocust.analysis.breakpoints.verdict import Verdict
from llmlocust.text import figures as words
from llmlocust.text.message import message, term

NUMBERS = {
    "slo_limit": term("SLO limit"),
    "knee": term("Knee"),
    "saturation": term("Saturation"),
    "collapse": term("Collapse"),
}
IN_SENTENCES = {
    "slo_limit": term("the SLO limit"),
    "knee": term("the knee"),
    "saturation": term("saturation"),
    "collapse": term("collapse"),
}
STATUS = {
    Status.REACHED: term("reached"),
    Status.NOT_REACHED: term("not reached"),
    Status.UNKNOWN: term("unknown"),
}
_MEANINGS = {
    "slo_limit": term("where the first threshold is violated"),
    "knee": term("10 % more load gives less than 5 % more throughput"),
    "saturation": term("throughput is flat, requests queue"),
    "collapse": term("throughput falls, or errors exceed 1 %"),
}


def place(finding: Finding, unit: str) -> str:
    """Return the load of a number in words, such as "about 45 users (40 to 50)"."""
    if not finding.reached:
        return STATUS[finding.status]
    if finding.load is None:
        return message("at or below {load}", load=words.with_unit(finding.high or 0.0, unit))
    load, interval = words.with_unit(_rounded(finding.load), unit), range_of(finding)
    if not interval:
        return message("about {load}", load=load)
    return message("about {load} ({interval})", load=load, interval=interval)


def range_of(finding: Finding) -> str:
    """Return the 95 % interval of a number that was reached, in words; one end may be unknown."""
    low, high = (None if load is None else words.load(_rounded(load)) for load in (finding.low, finding.high))
    if low is not None and high is not None:
        return message("{low} to {high}", low=low, high=high)
    if low is not None:
        return message("{value} or more", value=low)
    return "" if high is None else message("{value} or less", value=high)


def cards(verdict: Verdict, unit: str) -> list[dict[str, Any]]:
    """Return a card of the page for each number."""
    return [
        {
            "key": name,
            "name": NUMBERS[name],
            "means": _MEANINGS[name],
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
    interval = "" if finding.load is None else range_of(finding)
    if not interval:
        return words.unit_of(unit)
    return message("{unit}, 95 %: {interval}", unit=words.unit_of(unit), interval=interval)


def _rounded(load: float) -> float:
    """Round a load to the precision of these numbers: whole from 10 on, below to a tenth."""
    return float(round(load)) if load >= 10 else round(load, 1)
