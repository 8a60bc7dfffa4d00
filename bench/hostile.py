"""The longest time for which one answer of a hostile server blocks the event loop.

    python bench/hostile.py

Each body is as large as the limits of one answer allow (`llmlocust/stream/limits.py`), or larger, and its content is
slow to parse. It arrives in reads of 64 KB and is parsed in slices, as in a run. The figure is the longest step in CPU ms,
as the median of ROUNDS rounds. For that time the tokens of other users wait.
"""

from statistics import median
from time import process_time

from llmlocust.plugin.generator.collector import _keep_the_loop_free
from llmlocust.stream.dialects.openai import OpenAIChat
from llmlocust.stream.reading import Reading
from llmlocust.stream.timeline import Poll, Timeline

MB = 1 << 20
READ = 65536
ROUNDS = 5
TOKEN = b'{"choices":[{"text":"a"}]}'
SSE, JSON = "text/event-stream", "application/json"


def data(value: bytes) -> bytes:
    return b"data: " + value + b"\n\n"


def content(inside: bytes) -> bytes:
    return b'{"choices":[{"delta":{"content":' + inside + b"}}]}"


def message(inside: bytes) -> bytes:
    return b'{"choices":[{"message":{"content":' + inside + b"}}]}"


BODIES = {
    "a million small events": (data(TOKEN) * MB, SSE),
    "an event of 3.9 MB of text": (data(content(b'"' + b"x" * (39 * MB // 10) + b'"')), SSE),
    "an event of 49,000 lists": (data(content(b"[" + b"[]," * 49_000 + b"0]")), SSE),
    "the same, but invalid JSON": (data(content(b"[" + b"[]," * 49_000 + b"NaN]")), SSE),
    "an event of 49,000 choices": (data(b'{"choices":[' + b'{"text":"a"},' * 49_000 + b"{}]}"), SSE),
    "an event of 999,000 numbers": (data(content(b"[" + b"0," * 999_000 + b"0]")), SSE),
    "an event of 19,000 lines": (b"data: x\n" * 19_000 + b"\n", SSE),
    "an event of a list in a list, 4 MB deep": (data(b"[" * (4 * MB - 100)), SSE),
    "a line without an end": (b"data: " + b"x" * 8 * MB, SSE),
    "a document of 15.9 MB of text": (message(b'"' + b"x" * (159 * MB // 10) + b'"'), JSON),
    "a document of 49,000 lists": (message(b"[" + b"[]," * 49_000 + b"0]"), JSON),
    "a document of 1,999,000 numbers": (message(b"[" + b"0," * 1_999_000 + b"0]"), JSON),
}


def main() -> None:
    _keep_the_loop_free()  # garbage collection is as rare as in a run
    print("| body | MB | longest step, CPU ms | outcome |")
    print("|---|---:|---:|---|")
    for name, (body, content_type) in BODIES.items():
        rounds = [longest(body, content_type) for _ in range(ROUNDS)]
        print(
            f"| {name} | {len(body) / MB:.1f} | {median(seconds for seconds, _ in rounds) * 1e3:.1f} | {rounds[0][1]} |",
            flush=True,
        )


def longest(body: bytes, content_type: str) -> tuple[float, str]:
    """Return the CPU seconds of the longest step, and the outcome of the request."""
    timeline = Timeline(sent_ns=1, status=200, content_type=content_type)
    reading, steps = Reading(OpenAIChat()), [0.0]
    for begin in range(0, len(body), READ):
        timeline.body += body[begin : begin + READ]
        timeline.ends.append(len(timeline.body))
        timeline.times.append(begin + 1000)
        timeline.lags.append(1)
        timeline.polls.append(Poll(0, 0))
        more = True
        while more:
            began = process_time()
            more = reading.take(timeline)
            steps.append(process_time() - began)
        if timeline.failure:  # the transport stops reading
            break
    timeline.complete, timeline.ended_ns = not timeline.failure, 10**12
    more = True
    while more:
        began = process_time()
        more = reading.take(timeline)
        steps.append(process_time() - began)
    began = process_time()
    outcome = reading.finish(timeline).outcome
    return max(*steps, process_time() - began), outcome


if __name__ == "__main__":
    main()
