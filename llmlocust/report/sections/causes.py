"""The causes of the four numbers and the cliffs, in words: what limits the system, with the evidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llmlocust.analysis.causes.cause import DEGREES, NAMES, Cause, Evidence, Excluded
from llmlocust.assessment.assessment import Assessment
from llmlocust.report.sections.four_numbers import NUMBERS
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message

_MAX_EXCLUDED = 6


@dataclass(frozen=True)
class ShownCause:
    """A cause, with the numbers and cliffs that have it."""

    where: str
    """The names of the numbers and cliffs."""
    name: Message | None
    says: str
    degree: Message
    evidence: tuple[Evidence, ...]
    excluded: tuple[tuple[Message, Excluded], ...]
    """With the name of the cause."""

    @property
    def is_known(self) -> bool:
        return self.name is not None


def causes(assessment: Assessment) -> list[ShownCause]:
    """Return the causes of all numbers and cliffs that were reached; those with the same cause at the same load together."""
    if not assessment.climbs:
        return []
    together: dict[tuple[str | None, str], tuple[list[str], Cause]] = {}
    for place, cause in _reached(assessment):
        together.setdefault((cause.key, cause.says), ([], cause))[0].append(place)
    return [_shown(places, cause) for places, cause in together.values()]


def _reached(assessment: Assessment) -> Iterator[tuple[str, Cause]]:
    """Yield the name of each number and cliff with its cause, if it was reached."""
    verdict = assessment.verdict
    for name, finding in verdict.numbers().items():
        cause = assessment.causes[name]
        if finding.reached or cause.is_known:
            yield NUMBERS[name], cause
    for cliff, cause in zip(verdict.cliffs, assessment.causes.cliffs, strict=True):
        low, high = words.load(cliff.between[0]), words.with_unit(cliff.between[1], assessment.unit)
        if cause.is_known:
            yield message("cliff {before} → {after}", before=low, after=high), cause


def _shown(places: list[str], cause: Cause) -> ShownCause:
    excluded = tuple((NAMES[entry.key], entry) for entry in cause.excluded[:_MAX_EXCLUDED])
    return ShownCause(
        where=words.series(list(dict.fromkeys(places))),
        name=None if cause.key is None else NAMES[cause.key],
        says=cause.says,
        degree=DEGREES[cause.degree],
        evidence=cause.evidence,
        excluded=excluded if cause.is_known else (),
    )
