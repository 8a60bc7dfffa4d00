"""A run judged by gates, as `llmlocust check` does."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from llmlocust.analysis.gates import Outcome, judge
from llmlocust.assessment.assessment import assess
from llmlocust.assessment.run_gates import gates_of_run
from llmlocust.metrics.thresholds import Gate
from llmlocust.runfiles.reading.run_data import RunData
from llmlocust.runfiles.reading.run_json import ended_by


@dataclass(frozen=True)
class Judged:
    """A run and the outcome of its gates."""

    prefix: str
    gates: Sequence[Gate]
    outcome: Outcome
    ended_by: str = ""
    """The gate that ended the run early, if one did."""


def judge_run(run: RunData, gates: Sequence[Gate], accepted: Collection[str] = ()) -> Judged:
    """Judge a run by gates. `accepted`: keys of validity checks that may fail."""
    assessment = assess(run, list(dict.fromkeys(gate.threshold for gate in gates if not gate.is_of_run)))
    run, is_ramp = assessment.run, not assessment.verdict.windows
    of_run = gates_of_run(assessment.faults, assessment.soaks)
    outcome = judge(run.levels, gates, assessment.checks, run.goodput, accepted, is_ramp=is_ramp, of_run=of_run)
    return Judged(str(run.prefix), gates, outcome, ended_by(run.info))
