"""The files of a run: their names, their columns, the version of their format.

Written by the plugin, read by the report, years later too; so this page is a contract. All are CSV with a header,
times in epoch seconds, durations in milliseconds, shares from 0 to 1; an empty cell is "not known". The dataclasses
of this package hold seconds: `LevelFigures.row` and `LevelFigures.of_row` are the only border between the two.

PREFIX_llm_run.json says what was run:

    format, llmlocust, locust, python    versions
    started, ended                       epoch seconds; ended is null while the run goes on, or when it was cut off
    stopped                              true where somebody ended the run before its plan was through; null without one
    target                               {"host", "model", "dialect"}
    plan                                 {"unit", "levels", "settle", "hold"}, or null where no ramp of ours was run.
                                         A plan of several parts (load.plans) names its "shape" and them in "parts":
                                         [{"name", "levels" (how many), "settle", "hold"}], in their order; its own
                                         settle and hold are null then
                                         Where the unit is "rate", "arrivals" says how requests arrive, and
                                         "most_in_flight" how many of them a process lets be in flight
                                         A search (load.search) has no settle and hold, finds its levels as it goes, and
                                         tells of itself in "search": {"limits", "start", "most", "precision",
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
  1  the first; histograms have 128 buckets a power of two, of seconds (numbers.histogram)
     in the histograms file, beside the metrics that are counted, what ranges rest on: gap_guess (those of `gap` that stand for gaps not
     known one by one), gap_sum_N (sums of N such gaps), gap_limit_N (what their sum is not above), ttft_guess (those of
     `ttft` that are not known), ttft_least, ttft_most (between what they lie)
    later: `delay` of a request and a level, `ttft_due`, `e2e_due`, `due` and `held_back` of a level, all of open load
    later: `part` of a level, and `shape` and `parts` of a plan; `inputs` of a request
    later: the outcomes CLIENT_KINDS, which were `connect` before; `requests` of a level does not count them
"""

from __future__ import annotations

from llmlocust.metrics.metric import METRICS

FORMAT = 1

REQUESTS = "llm_requests.csv"
LEVELS = "llm_levels.csv"
HISTOGRAMS = "llm_histograms.csv"
TIMELINE = "llm_timeline.csv"
WORKERS = "llm_workers.csv"
TELEMETRY = "llm_telemetry.csv"
RUN = "llm_run.json"
FILES = (RUN, LEVELS, REQUESTS, HISTOGRAMS, TIMELINE, WORKERS, TELEMETRY)
"""All files of a run, without their prefix."""

QUANTILES: dict[str, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}

OK = "ok"
ABORTED = "aborted"
ERROR_KINDS: dict[str, str] = {
    "http_429": "HTTP 429, too many requests",
    "http_4xx": "HTTP 4xx, refused as wrong",
    "http_503": "HTTP 503, overloaded",
    "http_504": "HTTP 504, gateway timed out",
    "http_5xx": "HTTP 5xx, server error",
    "out_of_memory": "out of memory",
    "connect": "no connection",
    "client_limit": "out of ports, files or memory on the load generator",
    "network": "no route to the server",
    "name_lookup": "the server's name was not found",
    "proxy": "no connection through the proxy",
    "tls": "no TLS session",
    "not_sent": "not sent, its address or headers are not valid",
    "timeout_first_token": "no token in time",
    "timeout_stall": "stream stalled",
    "timeout_total": "took too long in all",
    "reset": "connection reset",
    "truncated": "cut off before its end",
    "bad_stream": "not a stream of tokens",
    "too_large": "too large to be read",
    "error_event": "error inside a 200",
    "empty_answer": "an answer with nothing in it",
    ABORTED: "cut off by the end of the run",
}
"""What can become of a request that did not succeed."""
CLIENT_KINDS = ("client_limit", "network", "name_lookup", "proxy", "tls", "not_sent")
"""The kinds of requests that failed before the server had a part in them: on the load generator or on the way."""
NO_CONNECTION = ("connect", *CLIENT_KINDS)
NOT_THE_SERVERS = (ABORTED, *CLIENT_KINDS)
"""The kinds that say nothing of the server. They are counted, and are in no rate of errors."""

BASELINE, LINEAR, SPIKE, SURGE, RECOVERY, SOAK = "baseline", "linear", "spike", "surge", "recovery", "soak"
RISE, FALL = "rise", "fall"
PARTS: dict[str, str] = {
    BASELINE: "the load at rest, before anything is asked of the server",
    LINEAR: "up in equal steps",
    SPIKE: "up at once, and down again before anything has come to rest",
    SURGE: "up at once, to stay for a while",
    RECOVERY: "back at rest, after a spike or a surge",
    SOAK: "one load, for long",
    RISE: "the first half of a wave",
    FALL: "the second half of a wave",
}
"""The parts of a plan, as levels name theirs; a level of a stepped ramp or a search has none."""

REQUEST_COLUMNS = [
    "level",  # the level during which it was sent; empty outside every level
    "measured",  # 1: sent after the level settled and before it ended, so it counts in the level's figures
    "sent",
    "name",
    "outcome",  # "ok" or one of ERROR_KINDS
    "error",  # the server's words, without ids and numbers
    "status",  # HTTP status, 0 where none came
    *(key for key, metric in METRICS.items() if metric.on_record),  # in open load, delay: sent - when it was due
    "gap_p50",
    "gap_max",
    "stalls",
    "duration",  # until the response was read to its end, or failed
    "lag_max",  # the longest that a read had waited for the generator
    "input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "token_source",  # usage | chunk_usage | chunks
    "chunks",  # token-bearing deltas
    "coalesced",  # of those, how many came in the same read as an earlier one
    "blurred",  # gaps of which only the sum is known: the generator read late
    "finish",  # the server's finish_reason
    "weight",  # how many requests this row stands for, where rows are sampled
    "worker",
    "id",  # what was sent as X-Request-Id, to find the request in the server's log
    "right",  # 1 or 0 where the answer was judged
    "inputs",  # texts embedded or documents ranked; empty where text comes out
    "unread",  # of an answer whose tokens the server counted and of which none was seen: the fields that are not read
]

TIMELINE_COLUMNS = [
    "time",
    "level",
    "users",
    "in_flight",
    "backing_off",  # users that are pausing after a failed request
    "sent",
    "ended",
    "failed",  # of those, without the ones that the run itself cut off
    "tokens",
    "client_cpu",  # share of one core, of the busiest process
    "loop_lag",  # how late the busiest process's event loop woke, ms
    "client_lag",  # the longest that a read had waited for its process, ms
    "turn_wait",  # the longest time that a request or an answer waited for its turn in a process, ms
    "throttled",  # share of the second in which a CPU limit (cgroup) kept a process from running; the worst process
    "core_wait",  # share of the second in which a process was ready to run and had no core; the worst process
    "coalesced",  # share of the token-bearing deltas that came in the same read as an earlier one
]

WORKER_COLUMNS = [
    "time",
    "level",
    "worker",
    "users",
    "in_flight",
    "backing_off",
    "client_cpu",  # share of one core
    "loop_lag",
    "client_lag",
    "turn_wait",
    "throttled",  # share of the second
    "core_wait",
]
"""How each process that runs users did, by the second; of more than 100 of them, in every so manieth second."""

HISTOGRAM_COLUMNS = ["level", "name", "metric", "bucket", "count"]

TELEMETRY_COLUMNS = ["time", "source", "metric", "labels", "value"]
