"""The verdict on virtual systems whose limits are known: how often it is right, beside the field's rules.

    python bench/verdict.py [--systems 300] [--seed 10000]

Each system (systems.py) is drawn from a seed of its own, is loaded once with levels of 30 s, and judged from the
figures that a run's files hold. Seeds below 1000 were used to choose the rules; give others. The rules of the field
are written from their description; kneed's is its library, where that is installed (`pip install kneed`).
"""

import argparse
import bisect
import csv
import math
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import locust_csv
import numpy as np
import systems

from llmlocust.analysis.breakpoints.steps import Finding
from llmlocust.analysis.breakpoints.verdict import find
from llmlocust.metrics.levels import LevelFigures
from llmlocust.runfiles.reading.locate import load_run

TUNED_ON = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", type=int, default=300)
    parser.add_argument("--seed", type=int, default=10_000)
    options = parser.parse_args()
    judged = list(judge_all(range(options.seed, options.seed + options.systems)))
    print("\n".join(table(judged)))


@dataclass(frozen=True)
class FromLocust:
    """The same staircase by Locust's own files, against a limit on e2e.p95 of its own; places of levels."""

    safe: int
    full: int
    by_eye: int
    """From the last row of each level."""
    without_flag: Finding
    loads: tuple[float, ...]


@dataclass(frozen=True)
class Judged:
    case: systems.Case
    true: systems.Truth
    findings: dict[str, Finding]
    rivals: dict[str, float]
    """What the field's rules say, in load; infinite where they say that there is none."""
    locust: "FromLocust | None" = None

    def place(self, load: float) -> int:
        """The level at or below a load: -1 below the lowest, the highest one's where there is none up to it."""
        return bisect.bisect_right(self.case.loads, load) - 1

    def off(self, said: float, true: float) -> int:
        """How many levels lie between the two."""
        return abs(self.place(said) - self.place(true))


def judge_all(seeds: Sequence[int]) -> Iterator[Judged]:
    for seed in seeds:
        case = systems.draw(seed)
        records = systems.ramp(case)
        levels = systems.observe(case, records)
        verdict = find(levels, case.thresholds)
        findings = {**verdict.numbers(), "onset": verdict.onset}
        yield Judged(
            case,
            systems.truth(case),
            findings,
            {name: rule(levels) for name, rule in RIVALS.items()},
            from_locust(case, records),
        )
        if sys.stderr.isatty():
            print(f"\r{seed - seeds[0] + 1}/{len(seeds)}", end="", file=sys.stderr)


def from_locust(case: systems.Case, records: np.ndarray) -> FromLocust | None:
    """None for rates: Locust's files know users alone."""
    if case.system.open:
        return None
    case = systems.asking_e2e(case)
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for full in (True, False):
            prefix = Path(folder, f"full_{full}")
            locust_csv.write(prefix, case, records, full=full)
            found[full] = find(load_run(prefix).levels, case.thresholds).slo_limit
        by_eye = _by_eye(Path(folder, "full_True_stats_history.csv"), case)
    true = systems.safe_level(case)
    return FromLocust(true, safe_place(found[True], case.loads), by_eye, found[False], case.loads)


def _by_eye(path: Path, case: systems.Case) -> int:
    rows = [row for row in csv.DictReader(path.open()) if row["Name"] == "Aggregated"]
    before = 0, 0
    hold = int(systems.WARMUP + systems.WINDOW)
    for place in range(len(case.loads)):
        row = rows[(place + 1) * hold - 1]
        counts = int(float(row["Total Request Count"])), int(float(row["Total Failure Count"]))
        sent, failed = (now - then for now, then in zip(counts, before, strict=True))
        before = counts
        share = failed / max(1, sent)
        values = {"e2e": math.inf if share > 0.05 else float(row["95%"]) / 1000.0, "errors": share}
        if not all(each.met_by(values[each.metric]) for each in case.thresholds):
            return place - 1
    return len(case.loads) - 1


def safe_place(finding: Finding, loads: Sequence[float]) -> int:
    if not finding.reached:
        return len(loads) - 1
    return -1 if finding.level_ok is None else bisect.bisect_right(loads, finding.level_ok + 1e-9) - 1


def said(finding: Finding) -> float:
    """The load that a finding names; 0 at or below the lowest level, infinite where not reached."""
    if not finding.reached:
        return math.inf
    return 0.0 if finding.load is None else finding.load


# -- the rules of the field, from their description


def two_lines(levels: Sequence[LevelFigures]) -> float:
    """guidellm: two straight lines through output tokens/s over load, both scaled to 1; where they cross."""
    if len(levels) < 5:
        return math.inf
    x = np.array([each.load for each in levels]) / levels[-1].load
    y = np.array([each.throughput for each in levels])
    y = y / max(y.max(), 1e-9)
    whole = _residual(x, y)
    fits = [(_residual(x[:n], y[:n]) + _residual(x[n:], y[n:]), n) for n in range(2, len(x) - 1)]
    error, n = min(fits)
    (before, start), (after, other) = np.polyfit(x[:n], y[:n], 1), np.polyfit(x[n:], y[n:], 1)
    if before == after or after > 0.25 * before or error > 0.5 * whole:
        return math.inf
    cross = (other - start) / (before - after)
    if not x[0] <= cross <= x[-1] or start + before * cross < 0.85:
        return math.inf
    return float(cross * levels[-1].load)


def _residual(x: np.ndarray, y: np.ndarray) -> float:
    return float(((np.polyval(np.polyfit(x, y, 1), x) - y) ** 2).sum())


def fifth_slower(levels: Sequence[LevelFigures]) -> float:
    """aiperf: the first level whose p99 end to end is above 1.2 times the lowest level's."""
    values = [each.metric("e2e")["p99"] for each in levels]
    return next((each.load for each, value in zip(levels, values, strict=True) if value > 1.2 * values[0]), math.inf)


def kneedle(levels: Sequence[LevelFigures]) -> float:
    """kneed, on throughput."""
    from kneed import KneeLocator

    x, y = [each.load for each in levels], [each.throughput for each in levels]
    knee = KneeLocator(x, y, curve="concave", direction="increasing").knee
    return math.inf if knee is None else float(knee)


RIVALS = {"guidellm's two lines": two_lines, "aiperf's 20 %": fifth_slower}
try:
    import kneed  # noqa: F401

    RIVALS["kneed"] = kneedle
except ImportError:
    print("kneed is not installed (pip install kneed): without its row", file=sys.stderr)


# -- the table


def share(hits: Sequence[bool]) -> str:
    return f"{100.0 * statistics.mean(hits):.1f} % of {len(hits)}" if hits else "–"


def table(judged: Sequence[Judged]) -> Iterator[str]:
    seeds = [each.case.seed for each in judged]
    yield f"{len(judged)} systems, seeds {seeds[0]} to {seeds[-1]}."
    if seeds[0] < TUNED_ON:
        yield "THE RULES WERE CHOSEN ON THESE SEEDS."
    yield ""
    yield "| number | figure | reached | required |"
    yield "|---|---|---:|---:|"
    for row in [*_limit_rows(judged), *_place_rows(judged), *_locust_rows(judged)]:
        yield f"| {' | '.join(row)} |"
    yield ""
    yield "| rule | capacity within one level | knee within one level | false alarm where there is no capacity | no knee |"
    yield "|---|---:|---:|---:|---:|"
    yield f"| llmlocust | {' | '.join(_beside(judged, None))} |"
    for name in RIVALS:
        yield f"| {name} | {' | '.join(_beside(judged, name))} |"


def _limit_rows(judged: Sequence[Judged]) -> Iterator[tuple[str, ...]]:
    found = [(each, each.findings["slo_limit"]) for each in judged]
    off = [abs(safe_place(finding, each.case.loads) - each.true.safe) for each, finding in found]
    yield "SLO limit", "safe level exact", share([each == 0 for each in off]), "≥ 92 %"
    yield "", "exact or next to it", share([each <= 1 for each in off]), "≥ 99 %"
    wrong = [finding.reached != math.isfinite(each.true.limit) for each, finding in found]
    yield "", "“not reached” or a limit, wrongly", share(wrong), "≤ 2 %"
    yield from _interval_rows(judged, "slo_limit", "limit")


def _place_rows(judged: Sequence[Judged]) -> Iterator[tuple[str, ...]]:
    for name, attribute, required in (
        ("saturation", "saturation", "≥ 85 %"),
        ("knee", "knee", "≥ 85 %"),
        ("onset", "onset", "≥ 95 %"),
        ("collapse", "collapse", "–"),
    ):
        pairs = [(each, said(each.findings[name]), getattr(each.true, attribute)) for each in judged]
        there = [pair for pair in pairs if math.isfinite(pair[2])]
        title = {"onset": "errors' onset"}.get(name, name)
        yield title, "within one level", share([each.off(*both) <= 1 for each, *both in pairs]), required
        yield "", "… where there is one", share([each.off(*both) <= 1 for each, *both in there]), "–"
        yield "", "false alarm", share([math.isfinite(s) for _, s, t in pairs if math.isinf(t)]), "≤ 2 %"
        yield from _interval_rows(judged, name, attribute)


def _locust_rows(judged: Sequence[Judged]) -> Iterator[tuple[str, ...]]:
    known = [each.locust for each in judged if each.locust is not None]
    if not known:
        return
    for name, off, exact, near in (
        ("Locust's CSVs, --csv-full-history", [abs(each.full - each.safe) for each in known], "≥ 85 %", "≥ 97 %"),
        ("… their last rows, by eye", [abs(each.by_eye - each.safe) for each in known], "–", "–"),
    ):
        yield name, "safe level exact", share([each == 0 for each in off]), exact
        yield "", "exact or next to it", share([each <= 1 for each in off]), near
    claimed = [each for each in known if each.without_flag.reached]
    yield (
        "Locust's CSVs without the flag",
        "a limit claimed (of errors)",
        share([each in claimed for each in known]),
        "–",
    )
    yield "", "… and the safe level outside its interval", share([not _may_be(each) for each in claimed]), "0"


def _may_be(each: FromLocust) -> bool:
    """Whether the interval of a limit leaves room for the safe level."""
    finding, safe = each.without_flag, each.loads[each.safe] if each.safe >= 0 else 0.0
    return (finding.low or 0.0) <= safe < (finding.high or math.inf)


def _interval_rows(judged: Sequence[Judged], name: str, attribute: str) -> Iterator[tuple[str, ...]]:
    """Where a number is there, or is said to be: a number that is missed, or made up, is outside its interval."""
    pairs = [(each, each.findings[name], getattr(each.true, attribute)) for each in judged]
    asked = [(each, finding, true) for each, finding, true in pairs if finding.reached or math.isfinite(true)]
    yield "", "the 95 % interval holds it", share([holds(finding, true) for _, finding, true in asked]), "≥ 93 %"
    named = [holds(finding, true) for _, finding, true in asked if finding.reached]
    yield "", "… where one is named", share(named), "–"
    widths = [bisect.bisect_left(each.case.loads, f.high) - each.place(f.low or 0.0) for each, f, _ in asked if f.high]
    yield "", "the interval spans, in levels (mean)", f"{statistics.mean(widths):.2f}" if widths else "–", "–"


def holds(finding: Finding, true: float) -> bool:
    low = 0.0 if finding.low is None else finding.low
    return finding.reached and low <= true <= (math.inf if finding.high is None else finding.high)


def _beside(judged: Sequence[Judged], rule: str | None) -> Iterator[str]:
    alarms = defaultdict(list)
    for name in ("saturation", "knee"):
        pairs = [
            (each, said(each.findings[name]) if rule is None else each.rivals[rule], getattr(each.true, name))
            for each in judged
        ]
        yield share([each.off(*both) <= 1 for each, *both in pairs])
        alarms[name] = [math.isfinite(s) for _, s, t in pairs if math.isinf(t)]
    yield from map(share, alarms.values())


if __name__ == "__main__":
    main()
