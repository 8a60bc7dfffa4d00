"""What every check is made of: its result, what is known of the run, and how it names levels."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from llmlocust.analysis.phases.trend import Course
from llmlocust.metrics.levels import LevelFigures
from llmlocust.text import figures as words

LEAST = {"p95": 20, "p99": 100}
"""Fewer successful requests than this, and the percentile is but the slowest request."""
BOUNDED = {"p95": 73, "p99": 381}
"""So many, and its 95 % interval has an upper end: n q + 1.96 √(n q (1−q)) ≤ n."""


NAMES = (
    "any requests",
    "any success",
    "requests for p95",
    "requests for p99",
    "client CPU",
    "CPU throttling",
    "CPU wait",
    "client queue time",
    "event loop lag",
    "turn wait",
    "back-off",
    "token times",
    "clock",
    "client limits",
    "network",
    "name look-up",
    "proxy",
    "TLS",
    "requests not sent",
    "cap in flight",
    "schedule delay",
    "Little's law",
    "think time",
    "warm-up",
    "drift",
    "outage",
    "answer length",
    "empty answers",
    "unread tokens",
    "token counts",
    "tokens together",
    "usage",
    "prefix cache",
    "request consistency",
    "request rows",
    "lost requests",
    "lost workers",
    "frozen workers",
    "aborted requests",
    "levels reached",
    "level length",
    "run completed",
    "run ended",
)
"""The names of all checks."""


def accepted_names(names: Iterable[str]) -> list[str]:
    """The names of checks that may fail. ValueError in one line for one that no check has."""
    accepted = list(names)
    for name in accepted:
        if name not in NAMES:
            likely = get_close_matches(name, NAMES, n=1)
            hint = f"is it {likely[0]!r}?" if likely else f"they are {', '.join(NAMES)}"
            raise ValueError(f"no check is called {name[:60]!r}: {hint}")
    return accepted


@dataclass(frozen=True)
class Check:
    """One doubt, looked into. `value` and `limit` are shares, seconds or counts, as `says` says; None: no number."""

    name: str
    ok: bool
    value: float | None
    limit: float | None
    says: str
    levels: tuple[int, ...] = ()
    """The levels that it marks, by their index."""
    unit: str = ""
    """"s" where value and limit are durations."""


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
    settle: float | None = None
    """Seconds that each level was let settle."""
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


def more_requests(facts: Facts) -> str:
    """How to have more requests at a level."""
    return "Ask for more requests (--requests)" if facts.requests else "Hold the levels longer"


def loads_of(levels: Iterable[LevelFigures]) -> str:
    """Levels by their loads, with the unit: 5, 10 and 20 users."""
    named = list(levels)
    text = words.series([words.load(each.load) for each in named])
    return f"{text} {words.unit_of(named[0].unit, named[0].load if len(named) == 1 else 2)}" if named else text


def marks(levels: Iterable[LevelFigures]) -> tuple[int, ...]:
    """The levels' indices, as a check has them."""
    return tuple(each.level for each in levels)


def above(values: Mapping[int, float], levels: Sequence[LevelFigures], limit: float) -> list[LevelFigures]:
    """The levels whose value, by their index, is above the limit."""
    return [each for each in levels if values.get(each.level, 0.0) > limit]
