"""The parts that all checks share: the result of a check, the facts of a run, and the names of levels."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from llmlocust.analysis.phases.trend import Course
from llmlocust.metrics.levels import LevelFigures
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message

MIN_REQUESTS = {"p95": 20, "p99": 100}
"""Minimum of successful requests, by percentile. With fewer, the percentile is simply the slowest request."""
BOUNDED = {"p95": 73, "p99": 381}
"""Successful requests from which the 95 % interval of a percentile has an upper bound: n q + 1.96 √(n q (1−q)) ≤ n."""

NAMES: dict[str, Message] = {
    "any_requests": message("any requests"),
    "any_success": message("any success"),
    "requests_for_p95": message("requests for p95"),
    "requests_for_p99": message("requests for p99"),
    "client_cpu": message("client CPU"),
    "cpu_throttling": message("CPU throttling"),
    "cpu_wait": message("CPU wait"),
    "client_queue_time": message("client queue time"),
    "event_loop_lag": message("event loop lag"),
    "turn_wait": message("turn wait"),
    "back_off": message("back-off"),
    "token_times": message("token times"),
    "clock": message("clock"),
    "client_limits": message("client limits"),
    "network": message("network"),
    "name_lookup": message("name look-up"),
    "proxy": message("proxy"),
    "tls": message("TLS"),
    "requests_not_sent": message("requests not sent"),
    "cap_in_flight": message("cap in flight"),
    "schedule_delay": message("schedule delay"),
    "littles_law": message("Little's law"),
    "think_time": message("think time"),
    "warm_up": message("warm-up"),
    "drift": message("drift"),
    "outage": message("outage"),
    "answer_length": message("answer length"),
    "empty_answers": message("empty answers"),
    "unread_tokens": message("unread tokens"),
    "token_counts": message("token counts"),
    "tokens_together": message("tokens together"),
    "usage": message("usage"),
    "prefix_cache": message("prefix cache"),
    "server_counts": message("server's counts"),
    "server_times": message("server's times"),
    "retries": message("retries"),
    "request_consistency": message("request consistency"),
    "request_rows": message("request rows"),
    "lost_requests": message("lost requests"),
    "lost_workers": message("lost workers"),
    "frozen_workers": message("frozen workers"),
    "aborted_requests": message("aborted requests"),
    "levels_reached": message("levels reached"),
    "level_length": message("level length"),
    "run_completed": message("run completed"),
    "run_ended": message("run ended"),
}
"""The names of all checks, by their keys."""

RUN = "run"
"""The key of a problem that the running process notes in run.json. It is not one of NAMES: --accept cannot name it."""


def name_of(key: str) -> str:
    """Return the name that reports show for the key of a check."""
    return message("run") if key == RUN else NAMES.get(key, key)


def accepted_keys(keys: Iterable[str]) -> list[str]:
    """Return the keys of checks that may fail. Raise ValueError, in one line, for a key that no check has."""
    accepted = list(keys)
    for key in accepted:
        if key not in NAMES:
            likely = get_close_matches(key, NAMES, n=1)
            hint = f"did you mean {likely[0]!r}?" if likely else f"the checks are {', '.join(NAMES)}"
            raise ValueError(f"no check is called {key[:60]!r}: {hint}")
    return accepted


@dataclass(frozen=True)
class Check:
    """The result of one check. `value` and `limit` are shares, seconds or counts, as `says` explains; None: no number."""

    key: str
    """A key of NAMES or, for a check of the running process, RUN or any other text of run.json."""
    ok: bool
    value: float | None
    limit: float | None
    says: str
    levels: tuple[int, ...] = ()
    """The indices of the levels that the check marks."""
    unit: str = ""
    """"s" if value and limit are durations."""

    @property
    def name(self) -> str:
        return name_of(self.key)


@dataclass(frozen=True)
class Facts:
    """The facts of a run that checks need besides its levels. None: not known, and not checked."""

    client_cpu: Mapping[int, float] = field(default_factory=dict)
    """CPU of the busiest process, as a share of a core, by level (90th percentile of the seconds)."""
    loop_lag: Mapping[int, float] = field(default_factory=dict)
    """Lag of the event loop in seconds, by level."""
    turn_wait: Mapping[int, float] = field(default_factory=dict)
    """Seconds that requests and answers waited for their turn in a process, by level (90th percentile of the longest \
wait of each second)."""
    throttled: Mapping[int, float] = field(default_factory=dict)
    """Share of a level's time in which a CPU limit throttled a process."""
    core_wait: Mapping[int, float] = field(default_factory=dict)
    """Share of a level's time in which a process was ready to run but had no core."""
    cut_off: bool = False
    """Whether the run has no end: it was killed, or is still running."""
    planned: Sequence[float] = ()
    """The loads of the plan, in its order: the level of index i has the i-th of them."""
    hold: float | None = None
    """Planned seconds of measurement of every level."""
    holds: Sequence[float] = ()
    """Planned seconds of measurement by the index of the level, if they differ between levels."""
    requests: int | None = None
    """Planned number of requests of a run with a fixed number."""
    stopped: bool | None = None
    """Whether the run was stopped before the end of its plan."""
    empty: Mapping[int, float] = field(default_factory=dict)
    """Share of a level's successful requests that returned no token."""
    unread: Mapping[int, float] = field(default_factory=dict)
    """Share of a level's successful requests for which the server reported tokens but llmlocust found none."""
    unread_fields: str = ""
    """The fields of the streams of `unread` that llmlocust does not read."""
    busy: Mapping[int, float] = field(default_factory=dict)
    """Mean seconds of a successful request, from sending it to the end of its response, by level."""
    length_noise: Mapping[int, float] = field(default_factory=dict)
    """Standard error of a level's mean output tokens, as a share of that mean."""
    rows_seen: int | None = None
    """Requests of the run that a row was made for."""
    rows_kept: int | None = None
    """Rows that the run wrote to the requests file; fewer than `rows_seen` for a sample."""
    rows_found: int | None = None
    """Complete rows in the requests file; None: the file was not read."""
    rows_outside: int = 0
    """Rows in the requests file whose time is before or after the run."""
    sent: int | None = None
    """Requests that the run sent."""
    ended: int | None = None
    """Requests of the run that ended."""
    think_time: float | None = None
    """Mean seconds between a user's requests, if it is the same for all users."""
    clocks: Mapping[str, int] = field(default_factory=dict)
    """Measured requests by the clock of their arrival times: the kernel's ("kernel") or the process's own ("user")."""
    readers: Mapping[str, int] = field(default_factory=dict)
    """Measured requests by the reader of their answers: a native thread ("native") or the event loop ("loop")."""
    courses: Mapping[int, Sequence[Course]] = field(default_factory=dict)
    """Trends of latencies inside each level."""
    warmup: float | None = None
    """Warm-up of each level in seconds."""
    cache_hits: Mapping[int, float] = field(default_factory=dict)
    """Share of a level's prompt tokens that came from the server's prefix cache, by its own counters."""
    prompts: int | None = None
    """Number of different prompts that were sent repeatedly; 0: the number is not known. None: each prompt was unique, or \
it is not known whether prompts were repeated."""
    shared: bool = False
    """Whether every prompt begins with the same system prompt, as in the users' own requests."""
    lost_workers: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """Names of the workers that stopped reporting during a level, by level."""
    frozen_workers: Mapping[int, float] = field(default_factory=dict)
    """Longest time in seconds in which a process did not run and then continued, by level."""
    outages: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    """Outages by level: the second of the level at which connections began to fail, and the seconds until requests \
succeeded again."""
    outages_left_out: Collection[int] = ()
    """The levels that the verdict leaves out because of an outage that the load did not cause."""
    telemetry_events: Collection[int] = ()
    """The levels during which a source of telemetry restarted or did not answer."""
    unreported_workers: int = 0
    """Number of workers that never reported."""
    tokens_per_chunk: Mapping[int, float] = field(default_factory=dict)
    """Tokens of the server's usage per received chunk, by level."""
    is_table: bool = False
    """Whether the figures come from a table of levels, and nothing else is known."""
    whole_requests: bool = False
    """Whether the figures come from Locust's own files, which contain neither tokens nor plans."""
    process_checks: Sequence[Check] = ()
    """The checks that the running process made."""
    decisive: Collection[int] | None = None
    """The levels that the verdict depends on; None: all. At other levels, too few requests do not fail a check."""


def more_requests(facts: Facts) -> Message:
    """Return the advice for more requests at a level."""
    return message("send more requests (--requests)") if facts.requests else message("hold the levels longer")


def loads_of(levels: Iterable[LevelFigures]) -> str:
    """Return the loads of levels with their unit, such as 5, 10 and 20 users."""
    named = list(levels)
    return words.loads([level.load for level in named], named[0].unit) if named else ""


def marks(levels: Iterable[LevelFigures]) -> tuple[int, ...]:
    """Return the indices of levels, for `Check.levels`."""
    return tuple(level.level for level in levels)


def above(values: Mapping[int, float], levels: Sequence[LevelFigures], limit: float) -> list[LevelFigures]:
    """Return the levels whose value is above the limit. `values`: by the index of the level."""
    return [level for level in levels if values.get(level.level, 0.0) > limit]
