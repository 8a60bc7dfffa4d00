"""Terms that all layers share: the outcomes of a request and the phases of a plan."""

from __future__ import annotations

QUANTILES: dict[str, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}

OK = "ok"
ABORTED = "aborted"
ERROR_KINDS: dict[str, str] = {
    "http_429": "HTTP 429, too many requests",
    "http_4xx": "HTTP 4xx, rejected as invalid",
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
    "timeout_total": "the whole request took too long",
    "reset": "connection reset",
    "truncated": "cut off before its end",
    "bad_stream": "not a stream of tokens",
    "too_large": "too large to be read",
    "error_event": "error inside a 200",
    "empty_answer": "empty answer",
    ABORTED: "cut off by the end of the run",
}
"""Outcomes of requests that did not succeed, with their descriptions."""
CLIENT_KINDS = ("client_limit", "network", "name_lookup", "proxy", "tls", "not_sent")
"""Kinds of failures before a request reached the server: on the load generator or in the network."""
NO_CONNECTION = ("connect", *CLIENT_KINDS)
NOT_THE_SERVERS = (ABORTED, *CLIENT_KINDS)
"""Kinds that say nothing about the server. They are counted, but not in the error rate."""

BASELINE, LINEAR, SPIKE, SURGE, RECOVERY, SOAK = "baseline", "linear", "spike", "surge", "recovery", "soak"
RISE, FALL = "rise", "fall"
FAULTS, HEALING = "faults", "healing"
PHASES: dict[str, str] = {
    BASELINE: "the normal load, before it is increased",
    LINEAR: "a rise in equal steps",
    SPIKE: "a sudden rise, and a fall before the server is steady",
    SURGE: "a sudden rise that is held for a while",
    RECOVERY: "the baseline load again, after a spike or a surge",
    SOAK: "one load for a long time",
    FAULTS: "a constant load, during which faults are injected",
    HEALING: "lower loads after a fault from which the service has not recovered",
    RISE: "the first half of a wave",
    FALL: "the second half of a wave",
}
"""The phases of a plan, with their descriptions. Levels of a stepped ramp or a search have no phase."""
