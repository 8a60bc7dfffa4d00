"""The glossary of the report."""

from llmlocust.text.message import term

GLOSSARY = [
    (
        term("SLO limit"),
        term("The highest load that meets every threshold. Like all four numbers, it has a 95 % interval."),
    ),
    (
        term("Knee"),
        term(
            "The load above which more load adds little throughput: 10 % more load gives less than 5 % more "
            "requests per second. There, throughput over the square root of the load is at its maximum."
        ),
    ),
    (
        term("Saturation"),
        term(
            "The load at which queueing begins. Two signs are required: throughput stays flat, and waiting "
            "(or errors) grows as Little's law, N = X·(R + Z), requires in a queue."
        ),
    ),
    (
        term("Collapse"),
        term(
            "The load at which throughput falls below its maximum by more than noise, or more than 1 % of the requests "
            "fail."
        ),
    ),
    (
        term("Cliff"),
        term("A jump between two neighbouring levels that neither noise nor the growth of the load explains."),
    ),
    (
        term("Time to first token (TTFT)"),
        term("From just before a request is sent to its first token, reasoning included."),
    ),
    (term("End to end"), term("From just before a request is sent to its last token.")),
    (
        term("From due"),
        term("In open load, the same time from when the request was due. It includes delays of the load generator."),
    ),
    (
        term("Inter-token latency (ITL)"),
        term("Time between two chunks of tokens as they arrive, over all requests: the stutter that a reader sees."),
    ),
    (
        term("Time per output token (TPOT)"),
        term("(end to end − TTFT) / tokens after the first; one value per request."),
    ),
    (
        "p50, p95, p99",
        term("50 %, 95 % and 99 % of the values are at most this. The table counts successful requests only."),
    ),
    (term("Throughput"), term("Successful requests per second that ended in the level's measured window.")),
    (term("Goodput"), term("Successful requests per second that met every latency threshold.")),
    (
        term("Thresholds and failures"),
        term(
            "A percentile threshold on TTFT or end to end counts failed requests as infinitely slow, so "
            "that failing fast cannot make a server look good."
        ),
    ),
]
