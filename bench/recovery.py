"""Is the analysis of faults and of drift right where the truth is known?

    python bench/recovery.py [--injections 300] [--storms 120] [--soaks 400] [--seed 10000] [--processes 2]

Faults are injected into virtual servers (faulty.py). The truth of a recovery comes from a twin without the fault, that of a
metastable failure from the same server five minutes later. Soaks are series of autocorrelated noise, with a drift of three
times the smallest detectable one, or without, or with a warm-up that is longer than the part left out. The rules were chosen
with seeds below 1000, so use other seeds.

The rules to beat: the first success after the lift (Dynamo's tests), ten buckets of a second in a row with 95 % good
requests, the moment from which no bucket is bad any more; for a drift, the plain Mann-Kendall test.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace

import faulty
import numpy as np

from llmlocust.analysis.drift import mann_kendall
from llmlocust.analysis.drift.drift import PER_HOUR, WARMUP, drift_of
from llmlocust.analysis.faults.fault_report import FaultReport

TUNED_ON = 1000
TOLERANCE, RELATIVE_TOLERANCE = 1.0, 0.05
"""Seconds, or a share of the true time: the larger of the two."""
HOURS = 8.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--injections", type=int, default=300)
    parser.add_argument("--storms", type=int, default=120)
    parser.add_argument("--soaks", type=int, default=400)
    parser.add_argument("--seed", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()

    def results_of(judge: Callable, count: int) -> list:
        results = []
        for result in pool.map(judge, range(options.seed, options.seed + count)):
            results.append(result)
            if sys.stderr.isatty():
                print(f"\r{judge.__name__} {len(results)}/{count} ", end="", file=sys.stderr)
        return results

    if options.seed < TUNED_ON:
        print("THE RULES WERE CHOSEN ON THESE SEEDS.")
    with ProcessPoolExecutor(options.processes) as pool:
        injections = results_of(injection, options.injections)
        show(recovery_table(injections))
        show(metastable_table(injections, results_of(storm, options.storms)))
        show(drift_table(results_of(soak, options.soaks)))


def show(lines: Iterator[str]) -> None:
    print("\n".join(lines) + "\n", flush=True)


# -- recovery


@dataclass(frozen=True)
class Injection:
    """One fault: the truth, and the results of the rules. Seconds from the lift; infinite without a recovery."""

    seed: int
    kind: str
    utilisation: float
    true: float
    seconds: dict[str, float]
    low: float
    high: float
    metastable: bool | None

    def is_right(self, rule: str) -> bool:
        seconds = self.seconds[rule]
        if math.isinf(self.true) or math.isinf(seconds):
            return self.true == seconds
        return abs(seconds - self.true) <= max(TOLERANCE, RELATIVE_TOLERANCE * self.true)


OURS, SUCCESS, BUCKETS, LAST_BAD = "llmlocust", "first success", "ten good buckets", "last bad bucket"


def injection(seed: int) -> Injection:
    case = faulty.draw(seed)
    played, twin = faulty.play(case), faulty.play(case.without_fault)
    slo = faulty.slo_of(case, twin)
    report = faulty.report_of(played, slo)
    recovery = report.recovery
    return Injection(
        seed=seed,
        kind=case.fault.kind,
        utilisation=case.utilisation,
        true=faulty.recovery(played, twin, slo),
        seconds={
            OURS: _or_never(recovery.seconds),
            SUCCESS: _or_never(report.first_success),
            BUCKETS: first_good_buckets(report, case.fault.lifted),
            LAST_BAD: last_bad_bucket(report, case.fault.lifted),
        },
        low=recovery.low or 0.0,
        high=_or_never(recovery.high),
        metastable=report.metastable,
    )


def _or_never(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds


def _good_buckets(report: FaultReport, lifted: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the beginnings of the buckets after the lift, in seconds from it, and which buckets are good enough."""
    course = report.course
    assert course is not None
    is_after = course.starts >= lifted
    return course.starts[is_after] - lifted, ~(course.share[is_after] < faulty_target(report))


def faulty_target(report: FaultReport) -> float:
    return report.baseline.target if report.baseline is not None else 1.0


def first_good_buckets(report: FaultReport, lifted: float) -> float:
    starts, is_good = _good_buckets(report, lifted)
    runs = np.convolve(is_good, np.ones(10), "valid") == 10
    return float(starts[np.argmax(runs)]) if runs.any() else math.inf


def last_bad_bucket(report: FaultReport, lifted: float) -> float:
    starts, is_good = _good_buckets(report, lifted)
    bad = np.flatnonzero(~is_good)
    return float(starts[bad[-1]]) + 1.0 if len(bad) else 0.0


def recovery_table(injections: Sequence[Injection]) -> Iterator[str]:
    if not injections:
        return
    yield f"## Time to recover: {len(injections)} injections, seeds {injections[0].seed} to {injections[-1].seed}"
    yield ""
    kinds = [kind for kind in faulty.KINDS if any(injection.kind == kind for injection in injections)]
    yield f"| rule | within max(1 s, 5 %) | {' | '.join(kinds)} | median error | p95 error |"
    yield f"|---|---:|{'---:|' * len(kinds)}---:|---:|"
    for rule in injections[0].seconds:
        by_kind = [share([i.is_right(rule) for i in injections if i.kind == kind]) for kind in kinds]
        errors = sorted(abs(i.seconds[rule] - i.true) for i in injections if math.isfinite(i.true))
        figures = [f"{seconds_of(errors, quantile):.2f} s" for quantile in (0.5, 0.95)]
        total = share([injection.is_right(rule) for injection in injections])
        yield f"| {' | '.join([rule, total, *by_kind, *figures])} |"
    yield ""
    known = [injection for injection in injections if math.isfinite(injection.true)]
    inside = [i.low - 0.05 <= i.true <= i.high + 0.05 for i in known]
    yield f"- required of llmlocust: ≥ 95 % of ≥ 100. The true time is inside the 95 % interval in {share(inside)}."
    busy = [i.is_right(OURS) for i in injections if i.utilisation >= 0.55]
    calm = [i.is_right(OURS) for i in injections if i.utilisation < 0.55]
    yield f"- servers that are less than 55 % busy: {share(calm)}; busier ones: {share(busy)}"
    wrong = [
        f"{i.seed} {i.kind}: true {i.true:.1f} s, {i.seconds[OURS]:.1f} s" for i in injections if not i.is_right(OURS)
    ]
    yield f"- wrong: {'; '.join(wrong) or 'none'}"


def seconds_of(errors: Sequence[float], quantile: float) -> float:
    return errors[min(len(errors) - 1, int(quantile * len(errors)))] if errors else math.nan


# -- metastable failures


@dataclass(frozen=True)
class Storm:
    seed: int
    true: bool
    metastable: bool | None


def storm(seed: int) -> Storm:
    case = faulty.draw_storm(seed)
    long = faulty.play(replace(case, end=case.end + faulty.STORM_HORIZON))
    return Storm(seed, faulty.is_metastable(long), faulty.report_of(faulty.cut_off(long, case)).metastable)


def metastable_table(injections: Sequence[Injection], storms: Sequence[Storm]) -> Iterator[str]:
    yield f"## Metastable: {len(storms)} retry storms and {len(injections)} other injections"
    yield ""
    # after an ordinary fault, the twin shows whether the service recovers
    ordinary = [Storm(i.seed, False, i.metastable) for i in injections]
    yield "| cases | right | false alarms | missed | not decided |"
    yield "|---|---:|---:|---:|---:|"
    for name, cases in (("retry storms", storms), ("other faults", ordinary), ("all", [*storms, *ordinary])):
        right = share([case.metastable == case.true for case in cases])
        alarms = share([case.metastable is True for case in cases if not case.true])
        missed = share([case.metastable is False for case in cases if case.true])
        yield f"| {name} | {right} | {alarms} | {missed} | {share([case.metastable is None for case in cases])} |"
    yield ""
    yield "- required: right ≥ 95 %, false alarms ≤ 2 %"
    wrong = [f"{case.seed}: true {case.true}, {case.metastable}" for case in storms if case.metastable != case.true]
    yield f"- wrong or not decided: {'; '.join(wrong) or 'none'}"


# -- drift


@dataclass(frozen=True)
class Soak:
    """The results with a drift, without one, and with a long warm-up."""

    seed: int
    correlation: float
    detection: dict[str, bool] = field(default_factory=dict)
    alarm: dict[str, bool] = field(default_factory=dict)
    alarm_of_warmup: dict[str, bool] = field(default_factory=dict)
    covers: bool = True


KENDALL = "Mann-Kendall"


def soak(seed: int) -> Soak:
    generator = np.random.default_rng(seed)
    correlation, count = float(generator.uniform(0.0, 0.9)), int(generator.integers(60, 240))
    hours = np.linspace(0.0, HOURS, count)
    quiet, noisy = (noise(generator, count, correlation) for _ in range(2))
    without = drift_of("latency", hours, quiet, PER_HOUR)
    assert without is not None
    drift = 3.0 * without.smallest * generator.choice([-1.0, 1.0])
    with_drift = drift_of("latency", hours, noisy + drift * hours, PER_HOUR)
    # a cache that fills up with a time constant of 5 to 15 % of the run, to five standard deviations
    filling = 5.0 * (1.0 - np.exp(-hours / (HOURS * generator.uniform(0.05, 0.15))))
    warming = drift_of("latency", hours, noisy + filling, PER_HOUR)
    assert with_drift is not None
    assert warming is not None
    is_warm = hours >= WARMUP * HOURS
    plain = [mann_kendall.p_value(values[is_warm]) < 0.05 for values in (noisy + drift * hours, quiet, noisy + filling)]
    return Soak(
        seed,
        correlation,
        detection={OURS: with_drift.is_drifting, KENDALL: plain[0]},
        alarm={OURS: without.is_drifting, KENDALL: plain[1]},
        alarm_of_warmup={OURS: warming.is_drifting, KENDALL: plain[2]},
        covers=with_drift.low <= drift <= with_drift.high,
    )


def noise(generator: np.random.Generator, count: int, correlation: float) -> np.ndarray:
    """Return autocorrelated noise with a standard deviation of 1, with normal or heavy tails."""
    shocks = (
        generator.standard_normal(count + 200) if generator.random() < 0.5 else generator.standard_t(4, count + 200)
    )
    shocks = shocks / shocks.std() * math.sqrt(1.0 - correlation**2)
    values = np.empty(count + 200)
    value = 0.0
    for place, shock in enumerate(shocks):
        value = correlation * value + shock
        values[place] = value
    return values[200:]


def drift_table(soaks: Sequence[Soak]) -> Iterator[str]:
    if not soaks:
        return
    yield f"## Drift: {len(soaks)} soaks, seeds {soaks[0].seed} to {soaks[-1].seed}"
    yield ""
    yield "| rule | drift of three times the smallest found | false alarm | false alarm of a long warm-up |"
    yield "|---|---:|---:|---:|"
    for rule in (OURS, KENDALL):
        results = [
            share([getattr(soak, name)[rule] for soak in soaks]) for name in ("detection", "alarm", "alarm_of_warmup")
        ]
        yield f"| {' | '.join([rule, *results])} |"
    yield ""
    yield f"- required: found ≥ 95 %, false alarms ≤ 5 %. The drift is inside its 95 % interval in {share([s.covers for s in soaks])}."


def share(hits: Sequence[bool]) -> str:
    return f"{100.0 * sum(map(bool, hits)) / len(hits):.1f} % of {len(hits)}" if hits else "–"


if __name__ == "__main__":
    main()
