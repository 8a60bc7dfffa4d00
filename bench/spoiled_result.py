"""What the checks say of a run whose truth is known: a result of bench/spoiled.py."""

from dataclasses import dataclass

from llmlocust.analysis.checks.check import Check
from llmlocust.assessment.assessment import assess
from llmlocust.runfiles.reading.run_data import RunData

CLEAN = "clean"
OWN_CHECKS = {
    "slow generator": ("client_cpu", "token_times", "event_loop_lag"),
    "short warm-up": ("warm_up",),
    "repeated prompts": ("prefix_cache",),
    "drift": ("drift",),
    "worker killed": ("lost_workers",),
}


@dataclass(frozen=True)
class Result:
    kind: str
    how: str
    marked: bool
    own: bool
    """By the check that is meant for it."""
    failed: tuple[str, ...]
    what: str


def judged(kind: str, how: str, run: RunData, spoiled: set[int], what: str) -> Result:
    """What the report's checks say of a run whose truth is known."""
    failed = [each for each in assess(run).checks if not each.ok]
    hits = [each for each in failed if not each.levels or spoiled & set(each.levels)]
    marked = bool(failed) if kind == CLEAN else bool(hits)
    own = any(each.key in OWN_CHECKS.get(kind, ()) for each in hits)
    return Result(kind, how, marked, own, tuple(said(each) for each in failed), what)


def said(check: Check) -> str:
    return f"{check.key} {list(check.levels)}"
