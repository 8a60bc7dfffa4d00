"""Checks of our figures against those that the server reports: requests, tokens and times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmlocust.analysis.checks.check import Check, Facts, loads_of, marks, name_of
from llmlocust.metrics.levels import USERS, LevelFigures
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, sentences

MORE_WORK = 1.2
"""Requests and tokens of the server, by ours. Above it in both, more than a sixth of its work was not for this run."""
COUNT_SHARE = 0.01
"""Difference of two counts of requests, as a share, that is not reported: figures of levels are rounded."""
TOKEN_SHARE = 0.05
"""The same of tokens: engines also count tokens that they do not send, such as the end of a sequence."""
BETWEEN = 0.02
"""Seconds of a latency between client and server that are not reported: two networks of a few milliseconds each."""
BETWEEN_SHARE = 0.2
"""The same as a share of the latency that is measured here."""
_REPLICAS = 0.15
"""Deviation from a whole number of replicas, as a share, at all levels."""
_MAYBE_FINISHED = (
    *("timeout_first_token", "timeout_stall", "timeout_total", "reset", "truncated", "bad_stream", "too_large"),
    *("error_event", "empty_answer", "http_504", "http_5xx"),
)
"""Kinds of failures that the server may count as finished: the client gave up, or the answer was lost or replaced."""
_GENERATOR = ("client_cpu", "cpu_throttling", "cpu_wait", "token_times", "event_loop_lag", "turn_wait", "clock")
"""Checks that show that latencies contain time of the load generator."""


@dataclass(frozen=True)
class _Counts:
    """The counts of a level: those of the server, and ours."""

    level: LevelFigures
    finished: float
    """Requests that the server finished in the window."""
    finished_bounds: tuple[float, float]
    """The counters of the server are known at its scrapes, and not at the borders of the window."""
    aborted: float
    """Requests that the server says were aborted."""
    ok: float
    """Requests that were answered here in the window."""
    failed: float
    """Attempts at requests that failed here, retried or not, and that the server may have finished."""
    in_flight: float
    """Requests that may have ended on one side of a border of the window for the server, and on the other for us."""
    generated: float
    generated_bounds: tuple[float, float]
    arrived: float
    """Tokens; NaN if not known."""

    @classmethod
    def of(cls, level: LevelFigures) -> _Counts | None:
        """Return the counts of a level; None if one side is not known."""
        finished = _increase(level, "finished")
        if math.isnan(finished) or not level.counted or not level.throughput >= 0.0 or not level.window > 0.0:
            return None
        kinds = level.error_kinds
        return cls(
            level,
            finished,
            _increase_bounds(level, "finished"),
            aborted=max(0.0, _known(_increase(level, "aborted"))),
            ok=level.throughput * level.window,
            failed=level.aborted + sum(kinds.get(kind, 0) + level.retried.get(kind, 0) for kind in _MAYBE_FINISHED),
            in_flight=_in_flight(level),
            generated=_increase(level, "generation_tokens"),
            generated_bounds=_increase_bounds(level, "generation_tokens"),
            arrived=level.output_tokens_per_s * level.window,
        )

    @property
    def slack(self) -> float:
        """The difference that requests in flight at the borders of the window explain."""
        return self.in_flight + 2.0 + COUNT_SHARE * max(self.ok, self.finished)

    @property
    def has_more(self) -> bool:
        """Whether the server finished more requests than ours can be."""
        inputs = self.level.inputs_per_s * self.level.window  # some servers count each text of a request
        ours = max(self.ok, max(0.0, inputs))
        return self.finished_bounds[0] > ours + self.failed + self.slack

    @property
    def has_fewer(self) -> bool:
        """Whether the server finished fewer requests than were answered here."""
        return self.finished_bounds[1] < self.ok - self.slack

    @property
    def token_slack(self) -> float:
        """The difference of tokens that is not reported. Some engines count the tokens of an answer at its end."""
        mean = self.arrived / self.ok if self.ok else 0.0
        return (self.in_flight + 2.0) * mean + TOKEN_SHARE * max(self.arrived, self.generated)

    @property
    def has_more_tokens(self) -> bool:
        return self.generated_bounds[0] > self.arrived + self.token_slack

    @property
    def has_fewer_tokens(self) -> bool:
        return self.generated_bounds[1] < self.arrived - self.token_slack

    @property
    def is_of_others(self) -> bool:
        """Whether a good part of the server's work was surely not for this run: requests and tokens both show it."""
        requests = self.has_more and self.finished_bounds[0] > MORE_WORK * (self.ok + self.failed)
        return requests and self.has_more_tokens and self.generated_bounds[0] > MORE_WORK * self.arrived


def _increase(level: LevelFigures, key: str) -> float:
    summary = level.reported(key)
    return math.nan if summary is None else summary.increase


def _increase_bounds(level: LevelFigures, key: str) -> tuple[float, float]:
    summary = level.reported(key)
    if summary is None:
        return math.nan, math.nan
    return summary.increase_bounds or (summary.increase, summary.increase)


def _known(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _in_flight(level: LevelFigures) -> float:
    """Return the number of requests in flight: all users, or by Little's law."""
    if level.unit == USERS and math.isfinite(level.load):
        return level.load
    return _known(level.throughput * level.metric("e2e").mean)


def server_counts(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Check the requests and tokens that the server counts against ours.

    It fails only where the server surely worked for others: the figures are then not those of this load alone. A server
    that counts otherwise, or is observed in part, is noted.
    """
    known = [counts for level in levels if (counts := _Counts.of(level)) is not None]
    # a restart or a time without an answer hides requests; a lost worker takes its own along
    known = [
        counts
        for counts in known
        if counts.level.level not in facts.telemetry_events and counts.level.level not in facts.lost_workers
    ]
    if not known:
        return None
    others = [counts for counts in known if counts.is_of_others]
    ratio = max(counts.finished / max(1.0, counts.ok + counts.failed) for counts in known)
    if others:
        return Check("server_counts", False, ratio, MORE_WORK, _others(others), marks(_levels(others)))
    more = [counts for counts in known if counts.has_more]
    fewer = [counts for counts in known if counts.has_fewer]
    tokens = [
        counts
        for counts in known
        if (counts.has_more_tokens or counts.has_fewer_tokens) and not (counts.has_more or counts.has_fewer)
    ]
    says: list[str] = [*_more(more), *_fewer(fewer, known), *_tokens(tokens)]
    if says:
        marked = tuple(sorted({counts.level.level for counts in (*more, *fewer, *tokens)}))
        return Check("server_counts", True, ratio, MORE_WORK, sentences(says), marked)
    server, ours = (_total(values) for values in ([c.finished for c in known], [c.ok for c in known]))
    says = [
        message(
            "The server finished {server} requests in the measured windows, and {ours} were answered here.",
            server=server,
            ours=ours,
        )
    ]
    with_tokens = [counts for counts in known if not math.isnan(counts.generated + counts.arrived)]
    if with_tokens:
        says.append(_of_tokens(with_tokens))
    return Check("server_counts", True, ratio, MORE_WORK, sentences(says))


def _levels(counts: Sequence[_Counts]) -> list[LevelFigures]:
    return [one.level for one in counts]


def _total(values: Sequence[float]) -> str:
    return words.digits(round(sum(values)))


def _of_tokens(counts: Sequence[_Counts]) -> Message:
    return message(
        "It generated {server} tokens, and {ours} arrived.",
        server=_total([one.generated for one in counts]),
        ours=_total([one.arrived for one in counts]),
    )


def _others(counts: Sequence[_Counts]) -> str:
    work = message(
        "At {loads} the server finished {server} requests, but {ours} were answered here.",
        loads=loads_of(_levels(counts)),
        server=_total([one.finished for one in counts]),
        ours=_total([one.ok for one in counts]),
    )
    why = message(
        "Other clients use it, or a proxy repeats requests, so the figures are not those of this load alone. Measure again "
        "without them."
    )
    return sentences([work, _of_tokens(counts), why])


def _more(counts: Sequence[_Counts]) -> list[str]:
    if not counts:
        return []
    return [
        message(
            "At {loads} the server finished more requests than were answered here ({server}, and {ours} here): other clients "
            "use it, a proxy repeats requests, or it counts the choices or inputs of a request separately.",
            loads=loads_of(_levels(counts)),
            server=_total([one.finished for one in counts]),
            ours=_total([one.ok for one in counts]),
        )
    ]


def _fewer(counts: Sequence[_Counts], known: Sequence[_Counts]) -> list[str]:
    """Return sentences on levels at which the server finished fewer requests than were answered here."""
    if not counts:
        return []
    says: list[str] = [
        message(
            "At {loads} the server finished fewer requests than were answered here ({server}, and {ours} here).",
            loads=loads_of(_levels(counts)),
            server=_total([one.finished for one in counts]),
            ours=_total([one.ok for one in counts]),
        )
    ]
    missing = sum(one.ok - one.finished for one in counts)
    aborted = sum(one.aborted for one in counts)
    if replicas := _replicas(known):
        says.append(
            message(
                "One of about {count} replicas seems to be observed. Observe the others, too (--llm-observe).",
                count=replicas,
            )
        )
    elif aborted >= 0.5 * missing:
        says.append(message("It counts {count} as aborted.", count=words.digits(round(aborted))))
    else:
        says.append(
            message(
                "Another replica, a cache or a proxy answered the others, so telemetry shows only a part of the system."
            )
        )
    return says


def _replicas(known: Sequence[_Counts]) -> int:
    """Return the number of replicas that share the requests evenly, if the server finished 1/n of them at all levels."""
    shares = [one.finished / one.ok for one in known if one.ok > 2.0 * one.slack and one.finished > 0.0]
    if not shares:
        return 0
    count = round(len(shares) / sum(shares))
    is_even = count > 1 and all(abs(share * count - 1.0) <= _REPLICAS for share in shares)
    return count if is_even else 0


def _tokens(counts: Sequence[_Counts]) -> list[str]:
    """Return sentences on levels at which the requests agree and the tokens do not."""
    says: list[str] = []
    if more := [one for one in counts if one.has_more_tokens]:
        says.append(
            message(
                "At {loads} the server generated more tokens than arrived ({server}, and {ours} here): those of requests that "
                "failed here, or tokens that it does not send.",
                loads=loads_of(_levels(more)),
                server=_total([one.generated for one in more]),
                ours=_total([one.arrived for one in more]),
            )
        )
    if fewer := [one for one in counts if one.has_fewer_tokens]:
        says.append(
            message(
                "At {loads} the server generated fewer tokens than were counted here ({server}, and {ours} here).",
                loads=loads_of(_levels(fewer)),
                server=_total([one.generated for one in fewer]),
                ours=_total([one.arrived for one in fewer]),
            )
        )
    if says and any(one.level.counted_chunks > 0.0 for one in counts):
        says.append(message("Chunks were counted as tokens, because the server reported no usage."))
    return says


# -- times


@dataclass(frozen=True)
class _Times:
    """The mean of a latency at a level, in seconds."""

    level: LevelFigures
    name: Message
    ours: float
    server: float
    queue: float
    """Of `server`: the mean time in its queue; NaN if not known."""

    @classmethod
    def of(cls, level: LevelFigures) -> _Times | None:
        """Return the means of TTFT, or of the end-to-end time if the server has no other; None if one side has none."""
        for key, name in (("ttft", message("mean TTFT")), ("e2e", message("mean end-to-end time"))):
            ours, summary = level.metric(key), level.reported(f"server.{key}")
            if summary is not None and not math.isnan(summary.mean + ours.mean):
                queue = level.reported("server.queue")
                return cls(level, name, ours.mean, summary.mean, math.nan if queue is None else queue.mean)
        return None

    @property
    def between(self) -> float:
        return self.ours - self.server

    @property
    def differs(self) -> bool:
        return abs(self.between) > max(BETWEEN, BETWEEN_SHARE * self.ours)


def server_times(levels: Sequence[LevelFigures], facts: Facts, results: Sequence[Check]) -> Check | None:
    """Report how much of a latency lies between client and server, and where. `results`: the other checks.

    It never fails: if the load generator is the reason, other checks fail, and a network or a proxy may be part of the
    system.
    """
    known = [
        times
        for level in levels
        if level.level not in facts.telemetry_events and (times := _Times.of(level)) is not None
    ]
    if not known:
        return None
    above = [times for times in known if times.differs and times.between > 0.0]
    below = [times for times in known if times.differs and times.between < 0.0]
    worst = max(known, key=lambda times: times.between)
    if not above and not below:
        says = message(
            "The server's own {metric} differs from ours by at most {time}.",
            metric=worst.name,
            time=words.duration(max(abs(times.between) for times in known)),
        )
        return Check("server_times", True, worst.between, BETWEEN, says, unit="s")
    parts: list[str] = []
    if above:
        parts += [_lies_between(above), _where(above, results)]
    if below:
        parts.append(
            message(
                "At {loads} the server's own {metric} is longer than ours: it includes requests that failed here or are not "
                "ours.",
                loads=loads_of([times.level for times in below]),
                metric=below[0].name,
            )
        )
    marked = tuple(sorted(times.level.level for times in (*above, *below)))
    return Check("server_times", True, worst.between, BETWEEN, sentences(parts), marked, unit="s")


def _lies_between(above: Sequence[_Times]) -> Message:
    worst = max(above, key=lambda times: times.between)
    server = words.duration(worst.server)
    if worst.queue > 0.0:
        queue = words.duration(worst.queue)
        server = message("{time} on the server, of which {queue} in its queue", time=server, queue=queue)
    else:
        server = message("{time} on the server", time=server)
    return message(
        "At {loads} up to {between} of the {metric} lies between client and server ({ours} here, {server}).",
        loads=loads_of([times.level for times in above]),
        between=words.duration(worst.between),
        metric=worst.name,
        ours=words.duration(worst.ours),
        server=server,
    )


def _where(above: Sequence[_Times], results: Sequence[Check]) -> Message:
    """Return a sentence on what takes the time between client and server."""
    marked = {times.level.level for times in above}
    late = [
        check
        for check in results
        if check.key in _GENERATOR and not check.ok and (not check.levels or marked & set(check.levels))
    ]
    if all(times.level.retries for times in above):
        return message("Retries take it: the times of a retried request count from its first attempt.")
    if late:
        names = words.series([name_of(check.key) for check in late])
        return message("The load generator takes it, by other checks: {checks}.", checks=names)
    if all(_mean(times.level, "proxy.overhead") >= 0.5 * times.between for times in above):
        return message("The proxy takes it, by its own figures.")
    connects = [times.level.metric("connect").mean for times in above]
    if all(connect >= 0.3 * times.between for connect, times in zip(connects, above, strict=True)):
        return message(
            "The network takes it: opening a connection takes {time} on average.", time=words.duration(max(connects))
        )
    return message("It is not known which of them takes it: the network, a proxy, or the server before its engine.")


def _mean(level: LevelFigures, key: str) -> float:
    summary = level.reported(key)
    return math.nan if summary is None else summary.mean
