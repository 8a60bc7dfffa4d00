"""The files of a run: their names, their columns, the version of their format.

Written by the plugin, read by the report, years later too; so this page is a contract. All are CSV with a header,
times in epoch seconds, durations in milliseconds, shares from 0 to 1; an empty cell is "not known". The dataclasses
of llmlocust.metrics hold seconds: `metrics.level_rows` is the only border between the two.

PREFIX_llm_run.json says what was run:

    format, llmlocust, locust, python    versions
    started, ended                       epoch seconds; ended is null while the run goes on, or when it was cut off
    stopped                              true where somebody ended the run before its plan was through; null without one
    target                               {"host", "model", "dialect"}
    plan                                 {"unit", "levels", "warmup", "hold"}, or null where no ramp of ours was run.
                                         A plan of several phases (load.plans) names its "shape" and them in "phases":
                                         [{"name", "levels" (how many), "warmup", "hold"}], in their order; its own
                                         warmup and hold are null then
                                         Where the unit is "rate", "arrivals" says how requests arrive, and
                                         "max_in_flight" how many of them a process lets be in flight
                                         A search (load.search) has no warm-up and hold, finds its levels as it goes, and
                                         tells of itself in "search": {"limits", "start", "max_load", "precision",
                                         "shortest", "longest" (seconds that a level is held), "done", "answer" (the
                                         highest load that keeps the limits; null where the lowest breaks them, or
                                         while not done), "path"}. The path has an entry for each level, oldest first:
                                         {"level", "load", "confirms" (the hold that confirms the answer), "held"
                                         (seconds), "verdict" ("keeps", "breaks"; "open" where it was not decided),
                                         "sure", "what" (the limit that was nearest to breaking, or broke), "bracket"
                                         ([highest load that keeps, lowest that breaks], null where there is none yet)}
    options                              what was asked for, without secrets
    user_classes                         {"ChatUser": "wait 1 to 3 s"}: who was simulated, and their think time
    clock                                "kernel" or "user": the clock of the arrival times; "kernel and user": both
    clocks                               {"kernel": 4211, "user": 3}: number of measured requests by clock
    processes                            how many generated the load
    counts                               {"sent", "ended", "preflight"}: requests of the whole run, levels or not
    rows                                 {"seen", "kept"}: kept < seen where rows of the requests file are sampled
    checks                               [{"name", "ok", "value", "limit", "says", "levels" (that it spoils; without any,
                                         the whole run)}]: what only the running process knew

Format history
  1  the first; histograms have 128 buckets a power of two, of seconds (metrics.histogram)
     in the histograms file, beside the metrics that are counted, what ranges rest on: itl_guess (those of `itl` that stand for gaps not
     known one by one), itl_sum_N (sums of N such gaps), itl_limit_N (what their sum is not above), ttft_guess (those of
     `ttft` that are not known), ttft_lower, ttft_upper (between what they lie)
    later: `delay` of a request and a level, `ttft_due`, `e2e_due`, `due` and `dropped` of a level, all of open load
    later: `phase` of a level, and `shape` and `phases` of a plan; `inputs` of a request
    later: the outcomes CLIENT_KINDS, which were `connect` before; `requests` of a level does not count them
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmlocust.metrics.level_rows import LEVEL_COLUMNS
from llmlocust.metrics.rows import (
    HISTOGRAM_COLUMNS,
    REQUEST_COLUMNS,
    TELEMETRY_COLUMNS,
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
LOCK = "llm.lock"
"""Exists while a process writes files with the prefix."""
LOCUST_FILES = ("stats.csv", "stats_history.csv", "failures.csv", "exceptions.csv")
"""The files of Locust's --csv."""
REPORTS = ("report.html", "report.md", "report.json")

MOST = 1e15
"""No number in the files is larger; a larger one is damage."""


@dataclass(frozen=True)
class Table:
    """A CSV file of a run. The reader accepts its columns in any order and ignores columns that it does not know."""

    name: str
    content: str
    """What a row is: the table of files in the README has this text."""
    columns: Sequence[str]
    text: frozenset[str] = frozenset()
    """Columns that are read as text. All others are read as numbers."""
    required: Sequence[str] = ()
    """Columns without which the file is not read."""
    grows: bool = False
    """Rows are appended during the run. Other tables are rewritten as a whole."""
    optional: bool = False
    """Not every run writes the file."""


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
            # not `id`: it is for searching the server's log, and no figure rests on it
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
