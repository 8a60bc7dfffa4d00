"""The files of a run: their names, their columns, and the version of their format.

The plugin writes the files, and the report reads them, possibly years later: this page is a contract. Tables are CSV with
a header. Times are in epoch seconds, durations in milliseconds, shares from 0 to 1; an empty cell means "not known". The
dataclasses of llmlocust.metrics use seconds; `metrics.level_rows` converts.

PREFIX_llm_run.json describes the run:

    format, llmlocust, locust, python    versions
    started, ended                       epoch seconds; ended is null during the run, and if the run was cut off
    ended_by                             the gate that ended the run early, as text; null if none did
    stopped                              true if the run was stopped before the end of its plan; null without a plan
    target                               {"host", "model", "dialect"}
    plan                                 {"unit", "levels", "warmup", "hold"}, or null without a load shape of llmlocust.
                                         A plan of several phases (load.plans) also has its "shape" and "phases":
                                         [{"name", "levels" (their number), "warmup", "hold"}] in order; "warmup" and
                                         "hold" of the plan itself are then null
                                         If the unit is "rate", "arrivals" is the arrival process, and "max_in_flight"
                                         the maximum number of requests in flight per process
                                         A search (load.search) has no warm-up and hold, because it chooses its levels
                                         during the run. It has "search": {"limits", "start", "max_load", "precision",
                                         "shortest", "longest" (bounds of the hold of a level, in seconds), "done",
                                         "answer" (the highest load that meets the thresholds; null if the lowest load
                                         fails, or before the end), "path"}. The path has an entry per level, oldest
                                         first: {"level", "load", "confirms" (true for the hold that confirms the
                                         answer), "held" (seconds), "verdict" ("meets" or "violates" the thresholds; "open"
                                         if undecided), "sure", "limited_by" (the threshold that failed, or was
                                         nearest to failing), "bracket" ([highest load that passes, lowest that fails], each null if
                                         not yet known)}
    options                              options of the run, without secrets
    user_classes                         {"ChatUser": "think time 1 to 3 s"}: user classes and their think time as text
    think_times                          {"ChatUser": 2.0}: mean think time of each user class in seconds; null if not known
    clock                                "kernel" or "user": the clock of the arrival times; "kernel and user": both
    clocks                               {"kernel": 4211, "user": 3}: number of measured requests by clock
    readers                              {"native": 4214}: the same by the reader of their answers, "native" or "loop"
    processes                            number of processes that generated the load
    counts                               {"sent", "ended", "preflight"}: requests of the whole run, inside and outside levels;
                                         "attempts": those of "sent", and the retries of clients
    preflight                            {"model", "ttft_ms", "finish", "models_listed", "owned_by" (the owner of the first
                                         listed model, by which servers name themselves), "path", "requests"}
    rows                                 {"seen", "kept"}: kept < seen if rows of the requests file are sampled
    telemetry                            {"sources": [{"name", "url", "engine", "state", "says", "settings", "exposes"}],
                                         "events": [{"time", "kind", "source", "seconds", "says"}], "cpu_seconds" (of the
                                         observing process, without its start)}: see metrics.telemetry; missing if nothing was observed
    faults                               [{"id", "name", "kind", "action", "began", "lifted", "confirmed_began",
                                         "confirmed_lifted" (epoch seconds, or null), "evidence", "problem"}]: the faults that
                                         the run injected (metrics.fault_window); missing without a plan of faults
    checks                               [{"name", "ok", "value", "limit", "says", "levels" (affected levels; empty: the
                                         whole run)}]: validity checks that need the running process
    Sentences ("says", "evidence", "problem", "ended_by", the texts of "user_classes") are strings, or {"text", "template", "values"}: the text,
    and the template and values that it was made of (text.message.to_json), for pages in other languages

Format history
  1  the first; histograms are of seconds, with 128 buckets per power of two (metrics.histogram)
     in addition to metrics, the histograms file has the values from which ranges are computed: itl_guess (values of `itl`
     that are not known individually), itl_sum_N (sums of N such ITLs), itl_limit_N (upper bounds of such sums),
     ttft_guess (values of `ttft` that are not known exactly), ttft_lower, ttft_upper (their bounds)
    later: `delay` of a request and a level, `ttft_due`, `e2e_due`, `due` and `dropped` of a level, all of open load
    later: `phase` of a level, and `shape` and `phases` of a plan; `inputs` of a request
    later: the outcomes CLIENT_KINDS, which were `connect` before; `requests` of a level does not count them
    later: `think_times`; sentences with their template and values
    later: `attempts` of a request and of "counts", `retries` and `retried_…` of a level, `retries` of a second
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmlocust.metrics.level_rows import LEVEL_COLUMNS
from llmlocust.metrics.rows import (
    HISTOGRAM_COLUMNS,
    REQUEST_COLUMNS,
    TELEMETRY_COLUMNS,
    TELEMETRY_LEVEL_COLUMNS,
    TIMELINE_COLUMNS,
    WORKER_COLUMNS,
)

FORMAT = 1

# File names, without the prefix of the run.
RUN = "llm_run.json"
LEVELS = "llm_levels.csv"
REQUESTS = "llm_requests.csv"
HISTOGRAMS = "llm_histograms.csv"
TIMELINE = "llm_timeline.csv"
WORKERS = "llm_workers.csv"
TELEMETRY = "llm_telemetry.csv"
TELEMETRY_LEVELS = "llm_telemetry_levels.csv"
LOCK = "llm.lock"
"""Lock file: it exists while a process writes files with the prefix."""
LOCUST_FILES = ("stats.csv", "stats_history.csv", "failures.csv", "exceptions.csv")
"""The files of Locust's --csv."""
REPORTS = ("report.html", "report.md", "report.json")

MAX_NUMBER = 1e15
"""Maximum of numbers in the files. A larger number means a damaged file."""


@dataclass(frozen=True)
class Table:
    """A CSV file of a run. The reader accepts its columns in any order and ignores columns that it does not know."""

    name: str
    content: str
    """Description of a row. The table of files in the README has this text."""
    columns: Sequence[str]
    text: frozenset[str] = frozenset()
    """Columns that are read as text. Other columns are read as numbers."""
    required: Sequence[str] = ()
    """Columns without which the file is not read."""
    grows: bool = False
    """Rows are appended during the run. Other tables are rewritten as a whole."""
    optional: bool = False
    """Whether some runs do not write the file."""


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            LEVELS,
            "a level: counts, throughput, percentiles with 95 % intervals",
            LEVEL_COLUMNS,
            text=frozenset(LEVEL_COLUMNS),  # `level_of_row` converts them
            required=("level", "load", "requests"),
        ),
        Table(
            REQUESTS,
            "a request",
            REQUEST_COLUMNS,
            # without `id`, which is only for searching the server's log: no figure depends on it
            text=frozenset({"name", "outcome", "error", "token_source", "finish", "worker", "unread"}),
            required=("sent", "outcome", "duration"),
            grows=True,
        ),
        Table(
            HISTOGRAMS,
            "a bucket of a metric of a level: counts add up over workers and runs",
            HISTOGRAM_COLUMNS,
            text=frozenset({"name", "metric"}),
            required=HISTOGRAM_COLUMNS,
        ),
        Table(
            TIMELINE,
            "a second: users, in flight, sent, ended, failed, tokens, the generator's CPU and lag",
            TIMELINE_COLUMNS,
            required=("time", "users"),
        ),
        Table(
            WORKERS,
            "a second of each process that runs users: its users, CPU and lag",
            WORKER_COLUMNS,
            text=frozenset({"worker"}),
            required=("time", "worker"),
            grows=True,
        ),
        Table(
            TELEMETRY,
            "a value of a metric that the system under test reports",
            TELEMETRY_COLUMNS,
            text=frozenset({"source", "metric", "labels"}),
            required=TELEMETRY_COLUMNS,
            grows=True,
            optional=True,
        ),
        Table(
            TELEMETRY_LEVELS,
            "a metric of the system under test at a level: mean, extremes, percentiles, increase",
            TELEMETRY_LEVEL_COLUMNS,
            text=frozenset({"source", "metric", "labels", "kind"}),
            required=("level", "metric", "mean"),
            optional=True,
        ),
    )
}
"""The tables of a run by file name. The writer, the reader, the downloads of the web UI and the renaming of an earlier
run's files are loops over them. A new table needs an entry here and code that fills it.
"""


def files() -> list[str]:
    """Return the names of all files that a run can have."""
    return [RUN, *TABLES]


def expected_files() -> list[str]:
    """Return the names of the files that every run has."""
    return [RUN, *(name for name, table in TABLES.items() if not table.optional)]
