"""A report in words: the verdict in a sentence, the four numbers and where they lie, what can be believed of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmlocust.analysis.breakpoints.cliffs import CliffKind
from llmlocust.analysis.breakpoints.steps import Finding, Status, steps_of
from llmlocust.analysis.breakpoints.verdict import Verdict
from llmlocust.analysis.checks.check import Check
from llmlocust.analysis.checks.trust import standing
from llmlocust.analysis.quality import changes
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.thresholds import Threshold
from llmlocust.report import parts
from llmlocust.report.charts.by_load import NUMBERS, STATUS
from llmlocust.report.sections import one_level
from llmlocust.report.sections.conversations import Turns
from llmlocust.report.sections.what_was_run import ended_by, mapping
from llmlocust.text import figures as words

if TYPE_CHECKING:
    from llmlocust.report.page import Report


def title(report: Report) -> str:
    """The model, or else the run, as a heading."""
    model = mapping(report.run.info.get("target")).get("model")
    return f"Load test of {model}" if model else f"Load test {report.run.prefix.name}"


def headline(report: Report) -> str:
    """The verdict in a sentence that everybody understands; a second one where the run was stopped early."""
    said = [_safe(report)] if report.climbs or not report.parts.headlines else []
    return " ".join([*said, *report.parts.headlines]) + _stopped(report)


def _safe(report: Report) -> str:
    verdict, unit = report.verdict, report.unit
    limit = verdict.slo_limit
    if verdict.windows:
        return verdict.windows
    if not limit.reached:
        return _held(report)
    bad = words.with_unit(limit.level_bad or 0.0, unit)
    if verdict.gone is not None and verdict.gone[0] == limit.level_bad:
        if limit.level_ok is None:
            what = "The server was gone" if any(each.ok for each in report.levels) else "There was no server"
            return f"{what}: {verdict.gone[1]}."
        ok = words.with_unit(limit.level_ok, unit)
        return f"Safe up to {ok}; then the server was gone: {verdict.gone[1]}."
    why = _why_it_breaks(verdict, limit)
    if report.only_level:
        return f"Not safe at {bad}: {why}."
    if limit.level_ok is None:
        return f"Not safe even at the lowest level, {bad}: {why}."
    ok = words.load(limit.level_ok)
    return f"Safe up to {words.with_unit(limit.level_ok, unit)}; breaks between {ok} and {bad.split()[0]}: {why}."


def _held(report: Report) -> str:
    """Nothing broke: what held, and at which levels that is known."""
    verdict, unit = report.verdict, report.unit
    steps = steps_of(report.ramp)
    judged = [each for step in steps for each in step.levels if each.level not in verdict.outages]
    told = [each for each in verdict.thresholds if any(report.meets(each, level) is not None for level in judged)]
    held = [each for each in judged if report.holds(each) == "holds" or _held_so_far(report, told, each)]
    if judged and {each.level for each in judged} <= verdict.empty:
        return "Whether it is safe cannot be told: no token of the answers was seen."
    if not held:
        return "Whether it is safe cannot be told from these figures: no level has what the limits speak of."
    top = words.with_unit(max(each.load for each in held), unit)
    if len(steps) == 1 and verdict.derived:
        return one_level.says(report.only_level) if report.only_level else f"Only {top}: nothing to compare them with."
    what = "Held every limit"
    if verdict.derived and not any(each.is_duration for each in told):
        what = f"Errors held their limit ({words.series([str(each) for each in told])}), latency is not known,"
    elif len(told) < len(verdict.thresholds):
        what = f"Held what is known of the limits ({words.series([str(each) for each in told])})"
    where = "at all levels"
    if len(held) < len(judged):
        where = "at the levels where they are known"
    elif verdict.outages:
        where = "at the levels without an outage"
    elif _stopped(report) or any(each.lacks_requests for each in report.ramp):
        where = "at the levels measured"
    elif len(steps) == 1:
        where = "at the one level"
    breaks = _first_break(verdict)
    return f"{what} {where}, up to {top}; {breaks or 'where it breaks was not reached'}."


def _held_so_far(report: Report, told: Sequence[Threshold], figures: LevelFigures) -> bool:
    """Whether a level holds whatever any level tells of the limits."""
    return (
        bool(told)
        and figures.level not in report.verdict.empty
        and all(report.meets(each, figures) is not None for each in told)
    )


def _stopped(report: Report) -> str:
    """That the run was stopped early, as a sentence to add; nothing where it was not."""
    check = next((each for each in report.checks if each.key == "run_completed" and not each.ok), None)
    if check is None:
        return ""
    over = report.run.info.get("ended") is not None
    said = "The run was stopped early" if over else "The run was cut off, or still goes on"
    if gate := ended_by(report.run):
        said = f"The run was ended by its gate {gate}"
    if check.limit is None or (check.value or 0) >= check.limit:
        return f" {said}."
    return f" {said}, after {check.value:.0f} of {check.limit:.0f} {check.unit or 'levels'}."


_CLIFFS = {
    CliffKind.QUEUE: "requests queue",
    CliffKind.SLOWER: "answers get slower",
    CliffKind.WAIT: "requests wait before their first token",
}
"""The words of a headline, for the kinds of cliffs that it mentions."""


def _why_it_breaks(verdict: Verdict, limit: Finding) -> str:
    cause = limit.cause or limit.why
    for cliff in verdict.cliffs:
        if cliff.between == (limit.level_ok, limit.level_bad) and cliff.kind in _CLIFFS:
            return f"{_CLIFFS[cliff.kind]} ({cause})"
    return cause


def _first_break(verdict: Verdict) -> str:
    for name in ("capacity", "collapse"):
        finding = verdict.numbers()[name]
        if finding.reached:
            return f"yet {NUMBERS[name].lower()} is {place(finding, verdict.unit)}"
    return ""


def place(finding: Finding, unit: str) -> str:
    """Where a number lies: about 45 users (40 to 50)."""
    if not finding.reached:
        return STATUS[finding.status]
    if finding.load is None:
        return f"at or below {words.with_unit(finding.high or 0.0, unit)}"
    about = f"about {words.with_unit(_rounded(finding.load), unit)}"
    between = range_of(finding)
    return f"{about} ({between})" if between else about


def range_of(finding: Finding) -> str:
    """The 95 % interval of a number that was reached, in words; one end may not be known."""
    low, high = (None if load is None else words.load(_rounded(load)) for load in (finding.low, finding.high))
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"{low} or more" if low is not None else f"{high} or less" if high is not None else ""


def card_number(finding: Finding, unit: str) -> str:
    """A number without its unit; why there is none."""
    if not finding.reached:
        return place(finding, unit)
    if finding.load is None:
        return f"≤ {words.load(finding.high or 0.0)}"
    return words.load(_rounded(finding.load))


def card_range(finding: Finding, unit: str) -> str:
    if not finding.reached:
        return ""
    between = "" if finding.load is None else range_of(finding)
    return f"{words.unit_of(unit)}, 95 %: {between}" if between else words.unit_of(unit)


def _rounded(load: float) -> float:
    """A load as precise as such a number can be: whole from 10 on, else a tenth."""
    return float(round(load)) if load >= 10 else round(load, 1)


def gold(limit: Finding, unit: str) -> str:
    """The highest load of the gold tier, in a few words."""
    if not limit.reached:
        return f"gold {'cannot be told' if limit.status is Status.UNKNOWN else 'holds at every level'}"
    if limit.level_ok is None:
        return "gold at no level"
    return f"gold up to {words.with_unit(limit.level_ok, unit)}"


def trust_line(report: Report) -> str:
    """Whether the run can be believed, in a sentence; of what failed, what it leaves standing."""
    failed = [check for check in report.checks if not check.ok]
    if not failed:
        if not any(check.key == "client_cpu" for check in report.checks):
            return (
                f"Nothing speaks against the measurement ({len(report.checks)} checks), but whether the load "
                "generator itself kept up is not known."
            )
        return f"The measurement can be believed: {len(report.checks)} checks, none failed."
    names = words.series([check.name for check in failed])
    said = f"Read these numbers with care: {len(failed)} of {len(report.checks)} checks failed ({names})."
    return said if report.verdict.windows else f"{said} {_still_stands(report)}".rstrip()


def _still_stands(report: Report) -> str:
    """Which of the four numbers can be used in spite of what failed; without a ramp, which parts."""
    if report.only_level:
        return "They doubt the only level." if report.doubted else ""
    if not report.climbs:
        return _parts_that_stand(report)
    told = {"slo_limit": "the SLO limit", "knee": "the knee", "capacity": "capacity", "collapse": "collapse"}
    held = report.stands
    fallen = [told[name] for name, holds in held.items() if not holds]
    kept = [told[name] for name, holds in held.items() if holds]
    if not kept:
        return "All four numbers rest on what they doubt."
    if not fallen:
        return "The four numbers rest on other levels and stand."
    stand = f"{words.series(kept)} {'stand' if len(kept) > 1 else 'stands'}"
    rest = f"{words.series(fallen)} {'rest' if len(fallen) > 1 else 'rests'} on doubted levels"
    return f"{words.sentence(rest)[:-1]}; {stand}."


def _parts_that_stand(report: Report) -> str:
    rests = {part.name: {each.level for each in part.levels} for part in report.parts.parts}
    fallen = [name for name, holds in standing(report.checks, rests).items() if not holds]
    return f"They are about {words.series(fallen)}." if fallen else "They are about no level that was measured."


MARKS = {"✓": "passed", "✗": "failed", "•": "to note"}


def mark(check: Check) -> str:
    """✗ where the numbers are hurt, • where something limits how far those of some levels reach, else ✓."""
    return "✗" if not check.ok else "•" if check.levels else "✓"


def summary(report: Report) -> list[str]:
    """The verdict in about five lines, for a terminal."""
    lines = [headline(report)]
    if report.only_level:
        return [*lines, *one_level.lines(report.only_level), f"{'Trust:':<21} {trust_line(report)}"]
    for name in ("capacity", "knee", "collapse") if report.climbs else ():
        finding = report.verdict.numbers()[name]
        lines.append(f"{NUMBERS[name] + ':':<10} {place(finding, report.unit)}" + _because(finding))
    lines += [f"{each.name + ':':<10} {parts.brief(each, report.parts, report.unit)}" for each in report.parts.parts]
    lines.append(f"{'Trust:':<10} {trust_line(report)}")
    return lines


def _because(finding: Finding) -> str:
    return f" – {finding.why}" if finding.reached else ""


def quality(report: Report) -> list[str]:
    """Sentences: whether answers get worse under load."""
    return [] if report.verdict.windows else [each.says(report.unit) for each in changes(report.ramp)]


def turns_at(report: Report, talks: Turns) -> str:
    """Of which levels the turns are."""
    lowest = min(each.load for each in report.levels)
    where = "Of" if talks.top == lowest else "Of the levels up to"
    return f"{where} {words.with_unit(talks.top, report.unit)}"
