"""How often is the verdict right on virtual systems whose limits are known, compared with the rules of other tools?

    python bench/verdict.py [--systems 300] [--seed 10000]

Each system (systems.py) is drawn from its own seed and loaded once with levels of 30 s. The verdict is based on the figures
in a run's files. The rules were chosen with seeds below 1000, so use other seeds. The rules of other tools are implemented
from their descriptions; kneed's rule is its library, if it is installed (`pip install kneed`).
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
    """The verdict from Locust's own files of the same staircase, for a threshold on e2e.p95. The first three fields are
    indices of levels.
    """

    safe: int
    full: int
    """With --csv-full-history."""
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
    """Loads according to the rules of other tools; infinite if a rule finds none."""
    locust: "FromLocust | None" = None

    def place(self, load: float) -> int:
        """Return the index of the level at or below a load: -1 below the lowest level."""
        return bisect.bisect_right(self.case.loads, load) - 1

    def off(self, load: float, true: float) -> int:
        """Return the distance of two loads in levels."""
        return abs(self.place(load) - self.place(true))


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
    """Return the verdict from Locust's files; None for rates, because these files contain only users."""
    if case.system.open:
        return None
    case = systems.with_e2e_threshold(case)
    with tempfile.TemporaryDirectory() as folder:
        findings = {}
        for full in (True, False):
            prefix = Path(folder, f"full_{full}")
            locust_csv.write(prefix, case, records, full=full)
            findings[full] = find(load_run(prefix).levels, case.thresholds).slo_limit
        by_eye = _by_eye(Path(folder, "full_True_stats_history.csv"), case)
    true = systems.safe_level(case)
    return FromLocust(true, safe_place(findings[True], case.loads), by_eye, findings[False], case.loads)


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
        if not all(threshold.met_by(values[threshold.metric]) for threshold in case.thresholds):
            return place - 1
    return len(case.loads) - 1


def safe_place(finding: Finding, loads: Sequence[float]) -> int:
    if not finding.reached:
        return len(loads) - 1
    return -1 if finding.level_ok is None else bisect.bisect_right(loads, finding.level_ok + 1e-9) - 1


def load_of(finding: Finding) -> float:
    """Return the load of a finding: 0 at or below the lowest level, infinite if not reached."""
    if not finding.reached:
        return math.inf
    return 0.0 if finding.load is None else finding.load


# -- the rules of other tools, from their descriptions


def two_lines(levels: Sequence[LevelFigures]) -> float:
    """guidellm: the intersection of two straight lines through output tokens/s over load, both scaled to 1."""
    if len(levels) < 5:
        return math.inf
    x = np.array([level.load for level in levels]) / levels[-1].load
    y = np.array([level.throughput for level in levels])
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
    """aiperf: the first level whose p99 of E2E latency is above 1.2 times that of the lowest level."""
    values = [level.metric("e2e")["p99"] for level in levels]
    return next((level.load for level, value in zip(levels, values, strict=True) if value > 1.2 * values[0]), math.inf)


def kneedle(levels: Sequence[LevelFigures]) -> float:
    """kneed: the knee of throughput over load."""
    from kneed import KneeLocator

    x, y = [level.load for level in levels], [level.throughput for level in levels]
    knee = KneeLocator(x, y, curve="concave", direction="increasing").knee
    return math.inf if knee is None else float(knee)


RIVALS = {"guidellm's two lines": two_lines, "aiperf's 20 %": fifth_slower}
try:
    import kneed  # noqa: F401

    RIVALS["kneed"] = kneedle
except ImportError:
    print("kneed is not installed (pip install kneed), so its row is missing", file=sys.stderr)


# -- the table


def share(hits: Sequence[bool]) -> str:
    return f"{100.0 * statistics.mean(hits):.1f} % of {len(hits)}" if hits else "–"


def table(judged: Sequence[Judged]) -> Iterator[str]:
    seeds = [result.case.seed for result in judged]
    yield f"{len(judged)} systems, seeds {seeds[0]} to {seeds[-1]}."
    if seeds[0] < TUNED_ON:
        yield "THE RULES WERE CHOSEN ON THESE SEEDS."
    yield ""
    yield "| number | figure | reached | required |"
    yield "|---|---|---:|---:|"
    for row in [*_limit_rows(judged), *_place_rows(judged), *_locust_rows(judged)]:
        yield f"| {' | '.join(row)} |"
    yield ""
    yield "| rule | saturation within one level | knee within one level | false alarm without saturation | without knee |"
    yield "|---|---:|---:|---:|---:|"
    yield f"| llmlocust | {' | '.join(_comparison(judged, None))} |"
    for name in RIVALS:
        yield f"| {name} | {' | '.join(_comparison(judged, name))} |"


def _limit_rows(judged: Sequence[Judged]) -> Iterator[tuple[str, ...]]:
    findings = [(result, result.findings["slo_limit"]) for result in judged]
    off = [abs(safe_place(finding, result.case.loads) - result.true.safe) for result, finding in findings]
    yield "SLO limit", "safe level exact", share([levels == 0 for levels in off]), "≥ 92 %"
    yield "", "exact or next to it", share([levels <= 1 for levels in off]), "≥ 99 %"
    wrong = [finding.reached != math.isfinite(result.true.limit) for result, finding in findings]
    yield "", "“not reached” or a limit, wrongly", share(wrong), "≤ 2 %"
    yield from _interval_rows(judged, "slo_limit", "limit")


def _place_rows(judged: Sequence[Judged]) -> Iterator[tuple[str, ...]]:
    for name, attribute, required in (
        ("saturation", "saturation", "≥ 85 %"),
        ("knee", "knee", "≥ 85 %"),
        ("onset", "onset", "≥ 95 %"),
        ("collapse", "collapse", "–"),
    ):
        pairs = [(result, load_of(result.findings[name]), getattr(result.true, attribute)) for result in judged]
        in_range = [pair for pair in pairs if math.isfinite(pair[2])]
        title = {"onset": "errors' onset"}.get(name, name)
        yield title, "within one level", share([result.off(*loads) <= 1 for result, *loads in pairs]), required
        yield "", "… of systems that have one", share([result.off(*loads) <= 1 for result, *loads in in_range]), "–"
        yield "", "false alarm", share([math.isfinite(load) for _, load, true in pairs if math.isinf(true)]), "≤ 2 %"
        yield from _interval_rows(judged, name, attribute)


def _locust_rows(judged: Sequence[Judged]) -> Iterator[tuple[str, ...]]:
    known = [result.locust for result in judged if result.locust is not None]
    if not known:
        return
    for name, off, exact, near in (
        ("Locust's CSVs, --csv-full-history", [abs(result.full - result.safe) for result in known], "≥ 85 %", "≥ 97 %"),
        ("… their last rows, by eye", [abs(result.by_eye - result.safe) for result in known], "–", "–"),
    ):
        yield name, "safe level exact", share([levels == 0 for levels in off]), exact
        yield "", "exact or next to it", share([levels <= 1 for levels in off]), near
    claimed = [result for result in known if result.without_flag.reached]
    yield (
        "Locust's CSVs without the flag",
        "a limit claimed (of errors)",
        share([result in claimed for result in known]),
        "–",
    )
    yield "", "… and the safe level outside its interval", share([not _is_possible(result) for result in claimed]), "0"


def _is_possible(result: FromLocust) -> bool:
    """Whether the safe level is inside the interval of the limit."""
    finding, safe = result.without_flag, result.loads[result.safe] if result.safe >= 0 else 0.0
    return (finding.low or 0.0) <= safe < (finding.high or math.inf)


def _interval_rows(judged: Sequence[Judged], name: str, attribute: str) -> Iterator[tuple[str, ...]]:
    """Yield the rows about the intervals of a number, for systems that have the number or whose verdict has it. If only one
    of the two is true, the number counts as outside its interval.
    """
    pairs = [(result, result.findings[name], getattr(result.true, attribute)) for result in judged]
    relevant = [(result, finding, true) for result, finding, true in pairs if finding.reached or math.isfinite(true)]
    yield "", "inside the 95 % interval", share([contains(finding, true) for _, finding, true in relevant]), "≥ 93 %"
    reached = [contains(finding, true) for _, finding, true in relevant if finding.reached]
    yield "", "… of verdicts with the number", share(reached), "–"
    widths = [
        bisect.bisect_left(result.case.loads, finding.high) - result.place(finding.low or 0.0)
        for result, finding, _ in relevant
        if finding.high
    ]
    yield "", "width of the interval, in levels (mean)", f"{statistics.mean(widths):.2f}" if widths else "–", "–"


def contains(finding: Finding, true: float) -> bool:
    """Whether a load is inside the interval of a finding."""
    low = 0.0 if finding.low is None else finding.low
    return finding.reached and low <= true <= (math.inf if finding.high is None else finding.high)


def _comparison(judged: Sequence[Judged], rule: str | None) -> Iterator[str]:
    alarms = defaultdict(list)
    for name in ("saturation", "knee"):
        pairs = [
            (
                result,
                load_of(result.findings[name]) if rule is None else result.rivals[rule],
                getattr(result.true, name),
            )
            for result in judged
        ]
        yield share([result.off(*loads) <= 1 for result, *loads in pairs])
        alarms[name] = [math.isfinite(load) for _, load, true in pairs if math.isinf(true)]
    yield from map(share, alarms.values())


if __name__ == "__main__":
    main()
