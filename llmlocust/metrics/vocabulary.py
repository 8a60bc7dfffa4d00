"""Words that all layers share: the outcomes of a request, and the phases of a plan."""

from __future__ import annotations

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
"""The kinds of requests that failed before they reached the server: on the load generator or on the way."""
NO_CONNECTION = ("connect", *CLIENT_KINDS)
NOT_THE_SERVERS = (ABORTED, *CLIENT_KINDS)
"""The kinds that say nothing of the server. They are counted, and are in no rate of errors."""

BASELINE, LINEAR, SPIKE, SURGE, RECOVERY, SOAK = "baseline", "linear", "spike", "surge", "recovery", "soak"
RISE, FALL = "rise", "fall"
PHASES: dict[str, str] = {
    BASELINE: "the load at rest, before anything is asked of the server",
    LINEAR: "up in equal steps",
    SPIKE: "up at once, and down again before anything has come to rest",
    SURGE: "up at once, to stay for a while",
    RECOVERY: "back at rest, after a spike or a surge",
    SOAK: "one load, for long",
    RISE: "the first half of a wave",
    FALL: "the second half of a wave",
}
"""The phases of a plan, as levels name theirs; a level of a stepped ramp or a search has none."""
