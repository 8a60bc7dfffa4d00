"""The cost of parsing an answer after its bytes have arrived, and the cost of counting it.

    python bench/parsing.py               OpenAI's chat: streams of several kinds and lengths
    python bench/parsing.py --dialects    every dialect that streams, compared with OpenAI's chat, with the same tokens

The figures are CPU µs per token from a Timeline to a Record (`Reading`), and CPU µs per request of the Ledger that counts
the Record. The streams are the simulator's, which have the format of vLLM's: one read per event, 10 ms ± 20 % apart. Long
streams are parsed in slices while they arrive, as the transport does. Each figure is the median of ROUNDS rounds.
"""

import random
import sys
from collections.abc import Iterator
from itertools import accumulate
from statistics import median
from time import process_time

from llmlocust.metrics.ledger import Ledger
from llmlocust.plugin.generator.collector import _keep_the_loop_free
from llmlocust.simulator.dialects import DIALECTS as SIMULATED
from llmlocust.simulator.openai import CHAT, Frames, Labels, Plan, Request
from llmlocust.stream.dialects import DIALECTS, Dialect
from llmlocust.stream.dialects.openai import OpenAIChat
from llmlocust.stream.reading import SLICE, Reading
from llmlocust.stream.record import Record
from llmlocust.stream.timeline import Timeline

LENGTHS = (100, 4000)
KINDS = ("usage at the end", "usage in every chunk", "reasoning first")
TOKENS_PER_ROUND = 40_000
ROUNDS = 9
NS = 1_000_000_000
RATE = 100
"""Requests per second in the ledger's run; above a higher rate, it samples rows."""


def main() -> None:
    _keep_the_loop_free()  # garbage collection is as rare as in a run
    if "--dialects" in sys.argv:
        compare_dialects()
        return
    print("| stream | tokens | bytes/token | parse: CPU µs/token | count: CPU µs/request | both: CPU µs/token |")
    print("|---|---:|---:|---:|---:|---:|")
    for length in LENGTHS:
        for kind in KINDS:
            events = stream(length, kind)
            rounds = [measure(events, length) for _ in range(ROUNDS)]
            parse, count = (median(seconds) * 1e6 for seconds in zip(*rounds, strict=True))
            size = sum(map(len, events)) / length
            both = (parse + count) / length
            print(f"| {kind} | {length:,} | {size:.0f} | {parse / length:.2f} | {count:.0f} | {both:.2f} |", flush=True)


def compare_dialects() -> None:
    """Print the table of dialects. A round measures each dialect, so that other work on the machine affects all equally."""
    streamed = [dialect() for dialect in DIALECTS if dialect.streams]
    length = LENGTHS[0]
    streams = {dialect.name: simulated_events(dialect, length) for dialect in streamed}
    rounds = [
        {dialect.name: measure(streams[dialect.name], length, dialect)[0] for dialect in streamed}
        for _ in range(ROUNDS)
    ]
    print("| dialect | bytes/token | parse: CPU µs/token | relative to openai-chat (lowest – highest round) |")
    print("|---|---:|---:|---:|")
    for name, events in streams.items():
        cost = median(seconds[name] for seconds in rounds) * 1e6 / length
        ratios = sorted(seconds[name] / seconds["openai-chat"] for seconds in rounds)
        size = sum(map(len, events)) / length
        print(f"| {name} | {size:.0f} | {cost:.2f} | {median(ratios):.2f} ({ratios[0]:.2f} – {ratios[-1]:.2f}) |")


def simulated_events(dialect: Dialect, tokens: int) -> list[bytes]:
    """Return the simulator's writes for one answer in a dialect."""
    request = Request(CHAT, 30, b"", tokens, stream=True, include_usage=True)
    plan = Plan(tokens, 0, "length", 7)
    labels = Labels("chatcmpl-9f2c41d07be64a0f", 1763600000, "some-model", "reasoning_content")
    answer = SIMULATED[dialect.path](request, plan, labels)
    events = (answer.tokens(token, token + 1) for token in range(tokens))
    return [event for event in (answer.role(), *events, answer.last(usage=True, done=True)) if event]


def stream(tokens: int, kind: str) -> list[bytes]:
    """Return the events of one answer in OpenAI's chat."""
    continuous_usage = kind == "usage in every chunk"
    request = Request(CHAT, 30, b"", tokens, stream=True, include_usage=True, continuous_usage=continuous_usage)
    reasoning = tokens // 2 if kind == "reasoning first" else 0
    plan = Plan(tokens, reasoning, "length", 7)
    frames = Frames(request, plan, Labels("chatcmpl-9f2c41d07be64a0f", 1763600000, "some-model", "reasoning_content"))
    events = (frames.tokens(token, token + 1) for token in range(tokens))
    return [frames.role(), *events, frames.usage(), b"data: [DONE]\n\n"]


def measure(events: list[bytes], length: int, dialect: Dialect | None = None) -> tuple[float, float]:
    """Return the CPU seconds per request for parsing and for counting."""
    requests = TOKENS_PER_ROUND // length
    ledger = Ledger("host:1")
    ledger.begin_level(0.0, 10)
    ledger.end_warmup(0.0)
    parse = 0.0
    records = []
    for seed in range(requests):
        seconds, record = parse_answer(events, random.Random(seed), dialect or OpenAIChat())
        assert record.ok, record.error
        assert record.chunks == record.output_tokens == length
        parse += seconds
        records.append(record)
    begun = process_time()
    for number, record in enumerate(records):
        ledger.add(record, number / RATE)
    return parse / requests, (process_time() - begun) / requests


def parse_answer(events: list[bytes], dice: random.Random, dialect: Dialect) -> tuple[float, Record]:
    """Parse the answer's bytes read by read. Return the CPU seconds of parsing alone, and the record."""
    reading = Reading(dialect, name="chat")
    timeline = Timeline(
        requested_ns=NS,
        sent_ns=NS,
        client_queue=0.0,
        clock="kernel",
        status=200,
        content_type=SIMULATED[dialect.path].content_type,
    )
    spent = 0.0
    for data, arrived in zip(events, arrivals(len(events), dice), strict=True):
        timeline.body += data
        timeline.ends.append(len(timeline.body))
        timeline.times.append(arrived)
        timeline.lags.append(dice.randrange(20_000, 400_000))
        if len(timeline.body) > SLICE:
            begun = process_time()
            reading.take(timeline)
            spent += process_time() - begun
    timeline.complete, timeline.ended_ns = True, arrived
    begun = process_time()
    record = reading.finish(timeline)
    return spent + process_time() - begun, record


def arrivals(count: int, dice: random.Random) -> Iterator[int]:
    itls = (round(dice.uniform(0.008, 0.012) * NS) for _ in range(count - 1))
    return accumulate(itls, initial=NS + round(0.05 * NS))


if __name__ == "__main__":
    main()
