"""`View`: the figures around one number or cliff, from which all rules draw their witnesses.

A mean request is divided into the places where it spends time. vLLM's histograms have the same clocks: TTFT and E2E begin
in the API process, queue, prefill and decode are times between steps of the engine. So TTFT - queue - prefill is the front
end's time (vllm/v1/metrics/stats.py), and the load generator's TTFT minus the server's is the network's, a proxy's or ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median

from llmlocust.analysis.breakpoints.cliffs import CliffKind
from llmlocust.analysis.breakpoints.steps import ERROR_LIMIT, Step, mean_of
from llmlocust.analysis.causes.context import Context
from llmlocust.analysis.checks.check import Check
from llmlocust.metrics.levels import USERS
from llmlocust.metrics.telemetry import TelemetryEvent
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import QUANTILES
from llmlocust.text import figures as words

MANY_ERRORS = 0.05
"""Share of failed requests above which failures, not times, explain a number."""
WAITS_FROM = 0.5
"""Mean number of waiting requests from which the server has a queue."""
AT_LIMIT = 0.9
"""Share of the limit of running requests from which they are at their limit: places are empty between two steps."""
UNDER_LOAD = 0.5
"""GPU utilisation from which the GPU is busy."""
DIFFERENT = 0.08
"""Share of the TPOT by which ours must exceed the server's to count: both are means of other requests near the borders of
a level."""
MIN_EFFECT = 0.002
"""Seconds. A request that takes longer by less has no cause to look for."""

TIME, TTFT, TPOT, FAILURES = "time", "ttft", "tpot", "failures"
"""Effects: the whole request, its first token or its further tokens take longer, or requests fail."""
_METRICS = {TIME: "e2e", TTFT: "ttft", TPOT: "tpot"}
"""The metrics that show the effects, where no threshold names one."""
SAME_BATCH = 1.2
"""Factor of the sequences in a step, within which a batch is the same."""

GENERATOR = (
    *("client_cpu", "cpu_throttling", "cpu_wait", "client_queue_time", "event_loop_lag", "turn_wait", "cap_in_flight"),
    *("schedule_delay", "client_limits", "lost_workers", "frozen_workers"),
)
"""Checks of the load generator. If one of them fails, figures may include the load generator's own delays."""

_FIRST, _FURTHER = {"ttft", "ttfo", "ttft_due"}, {"itl", "tpot", "itl_max"}
_LIMITS = ("max_num_seqs", "max_running_requests", "parallel", "np", "n_parallel", "total_slots", "max_batch_size")
"""Names of settings with the limit of running requests."""
_WAITED = ("http_503", "timeout_first_token", "timeout_total", "timeout_stall")
"""Kinds of failures that follow from long times and full queues."""


@dataclass(frozen=True)
class Pieces:
    """Seconds by which a mean request is longer than one that is alone, by place; NaN: not known."""

    queue: float = math.nan
    prefill: float = math.nan
    decode: float = math.nan
    front: float = math.nan
    network: float = math.nan
    clock: float = math.nan
    """The part of decode that is due to a lower clock of the GPU."""
    undivided: float = math.nan
    """Time before the first token whose place is not known."""

    def share(self, *places: str) -> float:
        """Return the share of the known time that is spent in these places; 0 if there is hardly any."""
        values: dict[str, float] = vars(self)
        total = sum(value for value in values.values() if value > 0.0)
        if total < MIN_EFFECT:
            return 0.0
        return sum(values[place] for place in places if values[place] > 0.0) / total


@dataclass(frozen=True)
class View:
    """The figures around one number or cliff."""

    at: Step
    """The load at which the number shows: the lowest one above it."""
    steps: Sequence[Step]
    """All loads of the ramp, lowest first."""
    before: Step | None
    """The highest load below the number; None if the lowest load is already above it."""
    unit: str = USERS
    effect: str = TIME
    context: Context = field(default_factory=Context)
    is_latency: bool = False
    """Whether a latency decides, and not throughput: then a constant delay counts."""
    violated: Threshold | None = None
    """The threshold on a duration that decides, if one does."""

    # ── loads ──

    @cached_property
    def base(self) -> Step | None:
        """The lowest load, if it is below the number."""
        return self.steps[0] if self.steps and self.steps[0].load < self.at.load else None

    @cached_property
    def above(self) -> list[Step]:
        return [step for step in self.steps if step.load > self.at.load]

    @cached_property
    def below(self) -> list[Step]:
        return [step for step in self.steps if step.load < self.at.load]

    @property
    def low_load(self) -> str:
        return words.load(self.base.load) if self.base else words.UNKNOWN

    @property
    def load(self) -> str:
        return words.with_unit(self.at.load, self.unit)

    # ── telemetry ──

    def value(self, key: str, step: Step | None = None, statistic: str = "mean") -> float:
        """Return a statistic of telemetry at a load, by default that of the number; NaN if it is not exposed."""
        levels = (self.at if step is None else step).levels
        known = [(summary[statistic], max(1, summary.samples)) for level in levels if (summary := level.reported(key))]
        return mean_of(known) if known else math.nan

    def lowest(self, key: str, statistic: str = "mean") -> float:
        """Return a statistic of telemetry at the lowest load, if that is below the number."""
        return math.nan if self.base is None else self.value(key, self.base, statistic)

    def increase(self, key: str, step: Step | None = None) -> float:
        """Return the increase of a counter at a load; NaN if it is not exposed."""
        summaries = [level.reported(key) for level in (self.at if step is None else step).levels]
        known = [summary.increase for summary in summaries if summary is not None]
        return sum(known) if known else math.nan

    def is_exposed(self, *keys: str) -> bool:
        return all(math.isfinite(self.value(key)) for key in keys)

    @cached_property
    def has_telemetry(self) -> bool:
        """Whether the server's engine reported anything at this load."""
        return any(level.telemetry for level in self.at.levels)

    def source(self, metric: str) -> str:
        """Return the name of the source of a metric of telemetry; otherwise the load generator."""
        source = next((source for source in self.context.sources if metric in source.exposes), None)
        if source is None:
            return "server" if self.is_exposed(metric) else "load generator"
        return f"{source.engine} ({source.name})" if source.engine else source.name

    # ── the load generator's figures ──

    def client(self, metric: str, step: Step | None = None) -> float:
        """Return the mean of a duration at a load, by default that of the number."""
        return (self.at if step is None else step).figure(metric, "mean")

    def first_client(self, metric: str) -> float:
        return math.nan if self.base is None else self.client(metric, self.base)

    def failed(self, kinds: Collection[str], step: Step | None = None) -> float:
        """Return the share of the requests of a load that failed in one of these ways."""
        step = self.at if step is None else step
        count = sum(step.kinds().get(kind, 0) for kind in kinds)
        return count / step.requests if step.requests else 0.0

    def of_failures(self, kinds: Collection[str]) -> float:
        """Return the share of the failed requests that failed in one of these ways."""
        return self.failed(kinds) / self.at.errors if self.at.failed else 0.0

    @cached_property
    def timely(self) -> float:
        """The weight of rules on times: 1, or the share of the failures that follow from long times and full queues."""
        return self.of_failures(_WAITED) if self.effect == FAILURES else 1.0

    def failed_check(self, *keys: str) -> Check | None:
        """Return the first failed check of these that marks this load, or no load."""
        marked = {level.level for level in self.at.levels}
        return next(
            (
                check
                for check in self.context.checks
                if check.key in keys and not check.ok and (not check.levels or marked & set(check.levels))
            ),
            None,
        )

    def passed_check(self, *keys: str) -> Check | None:
        return next((check for check in self.context.checks if check.key in keys and check.ok), None)

    @cached_property
    def in_flight(self) -> float:
        """Mean number of requests in flight by Little's law (X·R); NaN if requests were retried."""
        return self.in_flight_at(self.at)

    def in_flight_at(self, step: Step) -> float:
        if _has_retries(step):  # some of them wait for their next attempt
            return math.nan
        return step.throughput * step.figure("e2e", "mean")

    @cached_property
    def is_beyond_noise(self) -> bool:
        """Whether the duration that decides exceeds that of the lowest load by more than noise. A failure has its own kind and
        age, so failures need no comparison.
        """
        if self.base is None or self.effect == FAILURES:
            return self.effect == FAILURES
        metric, statistic = _METRICS[self.effect], "p50"
        if self.violated is not None:
            metric = self.violated.metric
            statistic = self.violated.statistic if self._has_tail(metric, self.violated.statistic) else "p50"
        before, now = (step.figure(metric, statistic) for step in (self.base, self.at))
        _, high = self.base.interval(metric, statistic)
        low, _ = self.at.interval(metric, statistic)
        # without intervals, noise is not known
        return now - before > _or(math.hypot(high - before, now - low), 0.0)

    def _has_tail(self, metric: str, statistic: str) -> bool:
        """Whether the lowest load has enough requests to know the highest value that a percentile may have."""
        q = QUANTILES.get(statistic)
        if q is None or self.base is None:
            return False
        count = sum(level.metric(metric).count for level in self.base.levels)
        return count * (1.0 - q) > 1.0 + 1.96 * math.sqrt(count * q * (1.0 - q))

    # ── events ──

    @cached_property
    def events(self) -> list[TelemetryEvent]:
        """The restarts and silences of the telemetry's sources during the levels of this load."""
        return [
            event
            for event in self.context.events
            if any(event.time + event.seconds >= level.began and event.time <= level.ended for level in self.at.levels)
        ]

    # ── the batch ──

    @cached_property
    def is_queueing(self) -> bool:
        return self.value("waiting") >= max(WAITS_FROM, 0.02 * self.value("running"))

    @cached_property
    def limit(self) -> float:
        """The limit of running requests that the server reports; NaN if it reports none."""
        reported = self.value("running.limit")
        if reported > 0:
            return reported
        settings = {name.strip("-").replace("-", "_"): value for name, value in self.context.settings.items()}
        values = (settings[name] for name in _LIMITS if name in settings)
        return next((float(value) for value in values if value.isdigit() and int(value) > 0), math.nan)

    @cached_property
    def plateau(self) -> float:
        """The number of running requests that two loads with a queue do not exceed; NaN if there is none."""
        queued = [
            (self.value("running", step, "max"), self.value("running", step), step.load)
            for step in (*self.below[-1:], self.at, *self.above)
            if self.value("waiting", step) >= WAITS_FROM
        ]
        tops = [top for top, mean, _ in queued if mean >= AT_LIMIT * top]
        if len(tops) < 2 or max(tops) - min(tops) > max(0.5, 0.02 * max(tops)):
            return math.nan
        return max(tops)

    @cached_property
    def is_full(self) -> bool:
        """Whether as many requests run as may run."""
        limit = self.limit if math.isfinite(self.limit) else self.plateau
        return max(self.value("running"), self.value("running", None, "p50")) >= AT_LIMIT * limit

    @cached_property
    def has_room(self) -> bool:
        """Whether fewer requests run than may run, by the limit that the server reports."""
        return max(self.value("running"), self.value("running", None, "p50")) < AT_LIMIT * self.limit

    # ── where the time goes ──

    def itl(self, step: Step) -> float:
        """Mean seconds between two tokens of a stream: on the server, or else at the load generator."""
        known = (
            *(self.value(key, step) for key in ("server.tpot", "server.itl")),
            *(step.figure(metric, "mean") for metric in ("tpot", "itl")),
        )
        return next((value for value in known if math.isfinite(value)), math.nan)

    @cached_property
    def prefill_alone(self) -> float:
        """Seconds of computation for the prompt of a request that is alone: the least of all loads.

        A request that arrives during a step waits for the end of it, and its first token ends its own step, so up to two
        steps are not computation of its prompt.
        """
        known = [time for time in map(self._prompt_time, self.steps) if math.isfinite(time)]
        return max(0.0, min(known)) if known else math.nan

    def _prompt_time(self, step: Step) -> float:
        first = self.value("server.prefill", step)
        if math.isnan(first) and not self.is_exposed("server.ttft"):
            first = step.figure("ttft", "mean")
        return first - 2.0 * self.itl(step)

    def prefill_load(self, step: Step) -> float:
        """Return the share of the time in which a server that handles one step after another computes prompts (X·S)."""
        alone = self.prefill_alone
        if math.isnan(alone):
            return 0.0
        return min(0.97, step.throughput * alone * self.computed_ratio(step))

    def computed_ratio(self, step: Step) -> float:
        """Return the prompt tokens that a request has computed at a load, compared with those at the lowest load."""
        if not self.steps or step is self.steps[0]:
            return 1.0
        now, then = (
            self.value("computed_tokens", where) / where.throughput if where.throughput > 0 else math.nan
            for where in (step, self.steps[0])
        )
        if now > 0 and then > 0:
            return now / then
        cached, before = (self.value("cached_share", where) for where in (step, self.steps[0]))
        return (1.0 - cached) / (1.0 - before) if cached <= 1.0 and before < 0.99 else 1.0

    def decoding(self, step: Step) -> float:
        """Return the seconds between two tokens at full clock, without those for the prompts that the same steps read."""
        return self.itl(step) * (1.0 - self.prefill_load(step)) * self.clock_share(step)

    def is_loaded(self, step: Step, statistic: str = "mean") -> bool:
        """Return whether the GPU is busy at a load. A clock counts only then: clocks also fall when the GPU is idle."""
        busy = self.value("gpu.utilisation", step, statistic)
        return busy >= UNDER_LOAD if math.isfinite(busy) else self.value("running", step, statistic) >= 1.0

    @cached_property
    def full_clock(self) -> float:
        """The highest clock of the GPU under load."""
        loaded = [step for step in self.steps if self.is_loaded(step)]
        clocks = (self.value("gpu.clock", step, name) for step in loaded for name in ("mean", "max"))
        return max((clock for clock in clocks if math.isfinite(clock)), default=math.nan)

    def clock_share(self, step: Step) -> float:
        """Return the GPU's clock at a load as a share of its highest; 1 if it is not known, or the GPU is idle."""
        share = self.value("gpu.clock", step) / self.full_clock
        return share if 0.0 < share < 1.0 and self.is_loaded(step) else 1.0

    @cached_property
    def batch_cost(self) -> float:
        """The share of a step's time that grows with the batch, by a straight line through the loads: b·n / (a + b·n). At
        1, another sequence adds no tokens per second; at 0, it costs nothing.
        """
        if self.base is None:
            return math.nan
        sizes = [self._batch(step) for step in (self.base, self.at)]
        steps = [self._decoding_of(size) for size in sizes]
        if not all(map(math.isfinite, (*sizes, *steps))) or sizes[1] <= SAME_BATCH * sizes[0] or steps[1] <= 0.0:
            return math.nan
        slope = (steps[1] - steps[0]) / (sizes[1] - sizes[0])
        return min(1.0, max(0.0, slope * sizes[1] / steps[1]))

    @cached_property
    def has_same_batch(self) -> bool:
        """Whether a step has as many sequences as at the lowest load."""
        return self.base is not None and self._batch(self.at) <= SAME_BATCH * self._batch(self.base)

    def _decoding_of(self, size: float) -> float:
        """Return the seconds between two tokens with a batch of some size: the median of all loads that have it, since other
        programs make single loads slower.
        """
        same = [step for step in self.steps if size / SAME_BATCH <= self._batch(step) <= size * SAME_BATCH]
        known = [time for time in map(self.decoding, same) if math.isfinite(time)]
        return median(known) if known else math.nan

    def _batch(self, step: Step) -> float:
        """Mean number of sequences in a step."""
        running = self.value("running", step)
        if math.isfinite(running):
            return max(1.0, running)
        return max(1.0, step.throughput * (step.figure("e2e", "mean") - step.figure("ttft", "mean")))

    def queue_time(self, step: Step) -> float:
        """Mean seconds in the server's queue: by its histogram, or by Little's law from its waiting requests."""
        reported = self.value("server.queue", step)
        if math.isfinite(reported):
            return reported
        waiting = self.value("waiting", step)
        return waiting / step.throughput if step.throughput > 0 else math.nan

    @cached_property
    def pieces(self) -> Pieces:
        """Where a request spends the time that it would not need alone. The queue, the front end and the network count as
        a whole where a latency decides: no request needs them. Where throughput decides, only their growth counts.
        """
        if self.effect == TTFT:
            return self._first_token()
        if self.effect == TPOT:
            return self._further_tokens()
        first, further = self._first_token(), self._further_tokens()
        together = {
            place: sum(value for value in (getattr(first, place), getattr(further, place)) if math.isfinite(value))
            for place in vars(first)
        }
        return Pieces(**together)

    def _first_token(self) -> Pieces:
        queue, prefill = self.queue_time(self.at), self.grown("server.prefill")
        front = self._overhead(self.in_front_first)
        network = self._overhead(self.outside_first)
        grown = self.client("ttft") - _or(self.first_client("ttft"), 0.0)
        known = sum(value for value in (queue, prefill, front, network) if value > 0.0)
        rest = 0.0 if self.is_exposed("server.ttft") else grown - known
        return Pieces(queue=queue, prefill=prefill, front=front, network=network, undivided=rest)

    def _further_tokens(self) -> Pieces:
        tokens = max(1.0, _or(mean_of((level.output_tokens, 1.0) for level in self.at.levels), 1.0) - 1.0)
        now, then = self.at, self.base
        decode = self.decoding(now) - (self.decoding(then) if then else 0.0)
        prefill = self.itl(now) * self.prefill_load(now) - (self.itl(then) * self.prefill_load(then) if then else 0.0)
        front = network = math.nan
        engine = self.value("server.tpot")
        if math.isfinite(engine):
            late = self._overhead(lambda step: step.figure("tpot", "mean") - self.value("server.tpot", step))
            in_front = self._overhead(self.in_front_further) / tokens
            front = min(max(0.0, in_front), max(0.0, late)) if math.isfinite(in_front) else math.nan
            late = late if late > DIFFERENT * engine else 0.0
            network = late - _or(front, 0.0)
        clock = self.itl(now) * (1.0 - self.prefill_load(now)) * (1.0 - self.clock_share(now))
        return Pieces(
            prefill=tokens * prefill,
            decode=tokens * decode,
            front=tokens * front,
            network=tokens * network,
            clock=tokens * clock,
        )

    def in_front_first(self, step: Step) -> float:
        """Return the seconds that the front end adds before the first token."""
        return self.value("server.ttft", step) - self.value("server.queue", step) - self.value("server.prefill", step)

    def in_front_further(self, step: Step) -> float:
        """Return the seconds that the front end adds after the first token."""
        engine = sum(self.value(f"server.{part}", step) for part in ("queue", "prefill", "decode"))
        return self.value("server.e2e", step) - engine - max(0.0, self.in_front_first(step))

    def outside_first(self, step: Step) -> float:
        """Return the seconds before the first token that a request spends outside the server; NaN if requests were retried:
        their times contain several attempts.
        """
        if _has_retries(step):
            return math.nan
        return step.figure("ttft", "mean") - self.value("server.ttft", step)

    def outside(self, step: Step) -> float:
        """Return the seconds that a request spends outside the server; before its first token if no more is known."""
        if _has_retries(step):
            return math.nan
        whole = step.figure("e2e", "mean") - self.value("server.e2e", step)
        return whole if math.isfinite(whole) else self.outside_first(step)

    def _overhead(self, figure: Callable[[Step], float]) -> float:
        """Return time that no request needs: as a whole, or its growth where throughput decides."""
        now = figure(self.at)
        if self.is_latency or self.base is None:
            return now
        return now - _or(figure(self.base), 0.0)

    def grown(self, key: str) -> float:
        """Return the growth of a duration from the lowest load; as a whole if the lowest load already fails."""
        return self.value(key) - (_or(self.lowest(key), 0.0) if self.base else 0.0)


def _has_retries(step: Step) -> bool:
    return any(level.retries for level in step.levels)


def _or(value: float, otherwise: float) -> float:
    return value if math.isfinite(value) else otherwise


def violated_at(step: Step, thresholds: Sequence[Threshold]) -> Threshold | None:
    """Return the first threshold on a duration that the successful requests of a load violate; None if they meet all."""
    for threshold in thresholds:
        value = step.figure(threshold.metric, threshold.statistic)
        if threshold.is_duration and math.isfinite(value) and not threshold.met_by(value):
            return threshold
    return None


def effect_of_limit(step: Step, violated: Threshold | None) -> str:
    """Return what makes a load violate the thresholds: FAILURES, if its successful requests meet them."""
    if violated is None:
        return FAILURES if step.errors > ERROR_LIMIT else TIME
    return TTFT if violated.metric in _FIRST else TPOT if violated.metric in _FURTHER else TIME


def effect_of_cliff(kind: CliffKind) -> str:
    """Return what jumps at a cliff."""
    if kind in (CliffKind.QUEUE, CliffKind.WAIT):
        return TTFT
    return FAILURES if kind is CliffKind.ERRORS else TIME


def effect_of_throughput(step: Step) -> str:
    """Return what makes throughput flat or fall at a load."""
    return FAILURES if step.errors > MANY_ERRORS else TIME
