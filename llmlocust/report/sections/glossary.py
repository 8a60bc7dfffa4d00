"""The glossary of the report."""

GLOSSARY = [
    ("SLO limit", "The highest load at which every limit holds. Like each of the four, with its 95 % interval."),
    (
        "Knee",
        (
            "Where more load stops buying throughput: from here on, 10 % more load gives less than 5 % more requests a "
            "second, so throughput over the root of the load is at its best."
        ),
    ),
    (
        "Saturation",
        (
            "Where queueing begins. Two witnesses are asked for: throughput that stays flat, and waiting (or errors) that "
            "grows as Little's law, N = X·(R + Z), says it must in a queue."
        ),
    ),
    ("Collapse", "Where throughput falls below its best by more than noise, or more than 1 % of the requests fail."),
    ("Cliff", "A jump between two neighbouring levels that neither noise nor the growth of the load explains."),
    ("Time to first token (TTFT)", "From just before a request is sent to its first token, reasoning included."),
    ("End to end", "From just before a request is sent to its last token."),
    (
        "From due",
        (
            "The same from when the request was due to be sent, where requests come at a rate: what the load generator "
            "was late is in it."
        ),
    ),
    (
        "Inter-token latency (ITL)",
        "Time between tokens as they arrived, of all requests together: the stutter that a reader sees.",
    ),
    ("Time per output token (TPOT)", "(end to end − TTFT) / tokens after the first; one value a request."),
    (
        "p50, p95, p99",
        "Half, 95 % and 99 % of the values are at most this. Failed requests have no part in the table's.",
    ),
    ("Throughput", "Successful requests that ended in the level's measured window, a second."),
    ("Goodput", "Those of them that met every latency limit, a second."),
    (
        "Limits and failures",
        (
            "A percentile limit on TTFT or end to end is judged with failed requests counted as infinitely slow, so that "
            "failing fast cannot make a server look good."
        ),
    ),
]
