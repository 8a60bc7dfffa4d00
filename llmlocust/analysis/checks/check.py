"""What every check is made of: its result, what is known of the run, and how it names levels."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from llmlocust.analysis.phases.trend import Course
from llmlocust.metrics.levels import LevelFigures
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message

LEAST = {"p95": 20, "p99": 100}
"""Fewer successful requests than this, and the percentile is but the slowest request."""
BOUNDED = {"p95": 73, "p99": 381}
"""So many, and its 95 % interval has an upper end: n q + 1.96 √(n q (1−q)) ≤ n."""


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


def accepted_keys(keys: Iterable[str]) -> list[str]:
    """Return the keys of checks that may fail. ValueError in one line for one that no check has."""
    accepted = list(keys)
    for key in accepted:
        if key not in NAMES:
            likely = get_close_matches(key, NAMES, n=1)
            hint = f"is it {likely[0]!r}?" if likely else f"they are {', '.join(NAMES)}"
            raise ValueError(f"no check is called {key[:60]!r}: {hint}")
    return accepted


@dataclass(frozen=True)
class Check:
    """One doubt, looked into. `value` and `limit` are shares, seconds or counts, as `says` says; None: no number."""

    key: str
    """One of NAMES; what a running process checked for itself has a key of its own."""
    ok: bool
    value: float | None
    limit: float | None
    says: str
    levels: tuple[int, ...] = ()
    """The levels that it marks, by their index."""
    unit: str = ""
    """"s" where value and limit are durations."""

    @property
    def name(self) -> str:
        """What a reader is shown for the key."""
        return NAMES.get(self.key, self.key)


@dataclass(frozen=True)
class Facts:
    """What is known of the run beside its levels. None: not known, and not doubted."""

    client_cpu: Mapping[int, float] = field(default_factory=dict)
    """Of the busiest process, as a share of a core, by level (90th percentile of the seconds)."""
    loop_lag: Mapping[int, float] = field(default_factory=dict)
    """Seconds, by level."""
    turn_wait: Mapping[int, float] = field(default_factory=dict)
    """Seconds that requests and answers waited for their turn in a load process, by level (90th percentile of the \
longest wait of each second)."""
    throttled: Mapping[int, float] = field(default_factory=dict)
    """Share of a level's time in which a CPU limit kept a load process from running,"""
    core_wait: Mapping[int, float] = field(default_factory=dict)
    """and in which one was ready to run and had no core."""
    cut_off: bool = False
    planned: Sequence[float] = ()
    """The loads of the plan, in its order: the level of index i is the i-th of them."""
    hold: float | None = None
    """Seconds that each level was to be measured,"""
    holds: Sequence[float] = ()
    """or where that differs, how long the level of index i was to be."""
    requests: int | None = None
    """How many the run was of, where it was of a fixed number."""
    stopped: bool | None = None
    """Whether somebody ended the run before its plan was through, where the run says so."""
    empty: Mapping[int, float] = field(default_factory=dict)
    """Share of a level's successful requests that brought no token."""
    unread: Mapping[int, float] = field(default_factory=dict)
    """Share of a level's successful requests whose tokens the server counted, and of which none was seen,"""
    unread_fields: str = ""
    """and the fields of their streams that are not read."""
    busy: Mapping[int, float] = field(default_factory=dict)
    """Mean seconds of a successful request, from when it was sent until its response was read to the end, by level."""
    length_noise: Mapping[int, float] = field(default_factory=dict)
    """Standard error of a level's mean output tokens, as a share of that mean."""
    rows_seen: int | None = None
    rows_kept: int | None = None
    rows_found: int | None = None
    """Rows in the file of requests that are not torn; None: the file was not read."""
    rows_outside: int = 0
    """Those of its rows whose time lies before or after the run."""
    sent: int | None = None
    ended: int | None = None
    think_time: float | None = None
    """Mean seconds between a user's requests, where all users do alike."""
    clocks: Mapping[str, int] = field(default_factory=dict)
    """Measured requests by the clock of their arrival times: the kernel's ("kernel") or the process's own ("user")."""
    courses: Mapping[int, Sequence[Course]] = field(default_factory=dict)
    """How latencies went inside each level."""
    warmup: float | None = None
    """Warm-up of each level in seconds."""
    cache_hits: Mapping[int, float] = field(default_factory=dict)
    """Share of a level's prompt tokens that came from the server's prefix cache, by its own counters."""
    prompts: int | None = None
    """How many different prompts were asked over and over; None where each was made unique, or nobody told. 0: not \
known how many."""
    shared: bool = False
    """Every prompt begins with the same system prompt, as the users' own would."""
    gone: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """Load processes that fell silent inside a level."""
    stood_still: Mapping[int, float] = field(default_factory=dict)
    """Levels in which a load process did nothing for a while and went on then, with how many seconds that was."""
    outages: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    """Levels in which nothing could connect for a while and requests succeeded again: from which second on, and for how \
many seconds."""
    outages_left_out: Collection[int] = ()
    """The levels with an outage that the verdict leaves out, as the load did not cause it."""
    silent: int = 0
    """Load processes that never told anything."""
    tokens_a_chunk: Mapping[int, float] = field(default_factory=dict)
    """Tokens of the server's usage for each chunk that came."""
    bare: bool = False
    """Nothing is known but a table of levels that somebody wrote."""
    whole_requests: bool = False
    """Requests were counted whole, by a tool that knows neither tokens nor plans: Locust's own files."""
    own: Sequence[Check] = ()
    """What the running process checked for itself."""
    decisive: Collection[int] | None = None
    """The levels that the verdict rests on; None: all. Too few requests elsewhere are said, and doubt nothing."""


def more_requests(facts: Facts) -> Message:
    """How to have more requests at a level."""
    return message("ask for more requests (--requests)") if facts.requests else message("hold the levels longer")


def loads_of(levels: Iterable[LevelFigures]) -> str:
    """Levels by their loads, with the unit: 5, 10 and 20 users."""
    named = list(levels)
    return words.loads([each.load for each in named], named[0].unit) if named else ""


def marks(levels: Iterable[LevelFigures]) -> tuple[int, ...]:
    """The levels' indices, as a check has them."""
    return tuple(each.level for each in levels)


def above(values: Mapping[int, float], levels: Sequence[LevelFigures], limit: float) -> list[LevelFigures]:
    """The levels whose value, by their index, is above the limit."""
    return [each for each in levels if values.get(each.level, 0.0) > limit]
