"""The result of the validity checks for a run that bench/spoiled.py spoiled, or left clean."""

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
    way: str
    """The way in which the run was spoiled."""
    marked: bool
    own: bool
    """Whether a check for this kind marked it."""
    failed: tuple[str, ...]
    description: str


def judge(kind: str, way: str, run: RunData, spoiled: set[int], description: str) -> Result:
    """Run the checks of the report, and compare the failed ones with the spoiled levels."""
    failed = [check for check in assess(run).checks if not check.ok]
    hits = [check for check in failed if not check.levels or spoiled & set(check.levels)]
    marked = bool(failed) if kind == CLEAN else bool(hits)
    own = any(check.key in OWN_CHECKS.get(kind, ()) for check in hits)
    return Result(kind, way, marked, own, tuple(described(check) for check in failed), description)


def described(check: Check) -> str:
    return f"{check.key} {list(check.levels)}"
