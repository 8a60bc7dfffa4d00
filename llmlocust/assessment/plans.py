"""The plan of judged runs: how many users and replicas (capacity planning)."""

from __future__ import annotations

from collections.abc import Mapping

from llmlocust.analysis.breakpoints.steps import steps_of
from llmlocust.analysis.planning.assumptions import assumptions
from llmlocust.analysis.planning.curve import Limit, limit_of
from llmlocust.analysis.planning.plan import Plan, plan_of
from llmlocust.analysis.planning.target import Target
from llmlocust.assessment.assessment import Assessment
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message


def limit_in(assessment: Assessment, think_time: float | None = None) -> Limit | None:
    """Return the SLO limit of a run on its curve; None if the run does not show one.

    `think_time`: mean think time of the run's users in seconds, in place of the one in its files.
    """
    verdict = assessment.verdict
    if verdict.windows:
        return None
    unused = verdict.outages | verdict.empty
    steps = steps_of(level for level in assessment.ramp if level.level not in unused)
    think = assessment.facts.think_time if think_time is None else think_time
    return limit_of(verdict.slo_limit, steps, assessment.unit, assessment.facts.busy, think)


def plan_in(
    assessments: Mapping[int, Assessment],
    limits: Mapping[int, Limit],
    given: Mapping[str, float] | None = None,
    target: Target | None = None,
) -> Plan:
    """Return the plan of runs by their numbers of replicas. Raises ValueError with one line for an impossible value."""
    fewest = limits[min(limits)]
    problems = [
        problem
        for count, run in sorted(assessments.items())
        for problem in _problems(run, _name(count, len(assessments)))
    ]
    return plan_of(limits, assumptions(given or {}, fewest.measured_think), target, problems)


def plan_of_report(assessment: Assessment) -> Plan | None:
    """Return the plan of a run with the default assumptions; None if the run shows no SLO limit, or no throughput."""
    limit = limit_in(assessment)
    if limit is None or not (assessment.climbs or limit.value):
        return None
    plan = plan_in({1: assessment}, {1: limit})
    return None if plan.capacity.requests_per_hour.value is None else plan


def _problems(assessment: Assessment, run: Message) -> list[Message]:
    """Return a sentence if a run is not valid."""
    failed = [check.name for check in assessment.checks if not check.ok]
    if not failed:
        return []
    checks = words.series(failed)
    if assessment.valid_numbers.get("slo_limit", False):
        return [
            message("{run} is not valid ({checks}), but this does not affect its SLO limit.", run=run, checks=checks)
        ]
    return [
        message("{run} is not valid ({checks}), so its SLO limit and this plan may be wrong.", run=run, checks=checks)
    ]


def _name(replicas: int, runs: int) -> Message:
    return message("The run") if runs == 1 else message("The run of {count} replicas", count=replicas)
