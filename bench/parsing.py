"""What reading an answer costs once its bytes are there, and what counting it costs.

    python bench/parsing.py               OpenAI's chat, in its kinds and lengths
    python bench/parsing.py --dialects    every dialect that streams beside OpenAI's chat, the same tokens in each

CPU µs a token from a Timeline to a Record (`Reading`), and CPU µs a request of the Ledger that counts the Record. The
streams are the simulator's, which are worded as vLLM's are: a read for each event, 10 ms ± 20 % apart. Long streams are
read in slices while they come, as the transport does. Each figure is the median of ROUNDS rounds.
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
TOKENS_A_ROUND = 40_000
ROUNDS = 9
NS = 1_000_000_000
SECOND = 100
"""Requests a second in the ledger's run: below what makes it sample rows."""


def main() -> None:
    _keep_the_loop_free()  # garbage is collected as rarely as in a run
    if "--dialects" in sys.argv:
        compare_dialects()
        return
    print("| stream | tokens | bytes/token | parse: CPU µs/token | count: CPU µs/request | both: CPU µs/token |")
    print("|---|---:|---:|---:|---:|---:|")
    for length in LENGTHS:
        for kind in KINDS:
            events = stream(length, kind)
            rounds = [measured(events, length) for _ in range(ROUNDS)]
            parse, count = (median(each) * 1e6 for each in zip(*rounds, strict=True))
            size = sum(map(len, events)) / length
            both = (parse + count) / length
            print(f"| {kind} | {length:,} | {size:.0f} | {parse / length:.2f} | {count:.0f} | {both:.2f} |", flush=True)


def compare_dialects() -> None:
    """Rounds go through all dialects in turn, so that what else the machine does meets all alike."""
    streamed = [dialect() for dialect in DIALECTS if dialect.streams]
    length = LENGTHS[0]
    told = {dialect.name: said_in(dialect, length) for dialect in streamed}
    rounds = [{each.name: measured(told[each.name], length, each)[0] for each in streamed} for _ in range(ROUNDS)]
    print("| dialect | bytes/token | parse: CPU µs/token | beside openai-chat, lowest – highest of the rounds |")
    print("|---|---:|---:|---:|")
    for name, events in told.items():
        cost = median(each[name] for each in rounds) * 1e6 / length
        beside = sorted(each[name] / each["openai-chat"] for each in rounds)
        size = sum(map(len, events)) / length
        print(f"| {name} | {size:.0f} | {cost:.2f} | {median(beside):.2f} ({beside[0]:.2f} – {beside[-1]:.2f}) |")


def said_in(dialect: Dialect, tokens: int) -> list[bytes]:
    """The writes of one answer, as the simulator words it."""
    request = Request(CHAT, 30, b"", tokens, stream=True, include_usage=True)
    plan = Plan(tokens, 0, "length", 7)
    labels = Labels("chatcmpl-9f2c41d07be64a0f", 1763600000, "some-model", "reasoning_content")
    answer = SIMULATED[dialect.path](request, plan, labels)
    events = (answer.tokens(token, token + 1) for token in range(tokens))
    return [event for event in (answer.role(), *events, answer.last(usage=True, done=True)) if event]


def stream(tokens: int, kind: str) -> list[bytes]:
    """The events of one answer."""
    counts_along = kind == "usage in every chunk"
    request = Request(CHAT, 30, b"", tokens, stream=True, include_usage=True, continuous_usage=counts_along)
    thought = tokens // 2 if kind == "reasoning first" else 0
    plan = Plan(tokens, thought, "length", 7)
    frames = Frames(request, plan, Labels("chatcmpl-9f2c41d07be64a0f", 1763600000, "some-model", "reasoning_content"))
    each = (frames.tokens(token, token + 1) for token in range(tokens))
    return [frames.role(), *each, frames.usage(), b"data: [DONE]\n\n"]


def measured(events: list[bytes], length: int, dialect: Dialect | None = None) -> tuple[float, float]:
    """CPU seconds of one request: to parse it, to count it."""
    requests = TOKENS_A_ROUND // length
    ledger = Ledger("host:1")
    ledger.begin_level(0.0, 10)
    ledger.end_warmup(0.0)
    parse = 0.0
    records = []
    for seed in range(requests):
        seconds, record = parsed(events, random.Random(seed), dialect or OpenAIChat())
        assert record.ok, record.error
        assert record.chunks == record.output_tokens == length
        parse += seconds
        records.append(record)
    begun = process_time()
    for number, record in enumerate(records):
        ledger.add(record, number / SECOND)
    return parse / requests, (process_time() - begun) / requests


def parsed(events: list[bytes], dice: random.Random, dialect: Dialect) -> tuple[float, Record]:
    """The answer's bytes come read by read; only what reads them is timed."""
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
    gaps = (round(dice.uniform(0.008, 0.012) * NS) for _ in range(count - 1))
    return accumulate(gaps, initial=NS + round(0.05 * NS))


if __name__ == "__main__":
    main()
