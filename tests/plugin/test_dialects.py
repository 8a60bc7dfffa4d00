"""Every dialect against the simulator, over the wire: what was said is what was read, and each fault is one failure."""

from functools import partial

import pytest

from llmlocust.plugin.http.client import Client, Endpoint
from llmlocust.plugin.http.connection import Listener, Timeouts
from llmlocust.stream.ask import Ask
from llmlocust.stream.dialects import DIALECTS, Dialect, named
from llmlocust.stream.reading import Reading, has_token
from llmlocust.stream.record import Record
from llmlocust.stream.timeline import Timeline
from tests.simulators import running_simulator

NAMES = [dialect.name for dialect in DIALECTS]
STREAMED = [dialect.name for dialect in DIALECTS if dialect.streams]
VECTORS = ["openai-embeddings", "rerank", "cohere-embed", "tei-embed", "tei-rerank"]
TEXTS = [name for name in NAMES if name not in VECTORS]
PATIENT = Timeouts(connect=20, first_token=20, stall=20, total=20)

every_dialect = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def server():
    with running_simulator(step_ms=1, step_ms_per_seq=0, reasoning_share=0.25) as running:
        yield running


def asks(server, dialect: Dialect, *, fault: str = "", timeouts: Timeouts = PATIENT, **fields) -> Record:
    """As a user does (LLMUser)."""
    defaults = {"prompt": "Hello", "model": "simulated-llm", "max_tokens": 12, "stream": dialect.streams, "extra": {}}
    ask = Ask(**(defaults | fields))
    timeline, reading = Timeline(), Reading(dialect, ask=ask, name="test")
    client = Client(Endpoint(server.url), timeouts)
    more = {"X-Simulator-Fault": fault} if fault else {}
    listener = Listener(partial(has_token, dialect) if ask.stream else None, reading.take)
    try:
        client.ask(timeline, dialect, ask, dialect.body(ask), dialect.headers("") | more, listener)
    finally:
        client.close()
    return reading.finish(timeline)


@pytest.mark.parametrize("name", STREAMED)
def test_a_stream_is_read_as_it_was_written(server, name):
    server.clear()
    record = asks(server, named(name))

    (truth,) = server.ended(1)
    tokens = truth["output_tokens"]
    assert (record.outcome, record.error, record.chunks, record.output_tokens) == ("ok", "", tokens, tokens)
    assert record.input_tokens == (None if name == "gradio" else truth["prompt_tokens"])
    assert record.token_source == ("chunks" if name == "gradio" else "usage")
    assert len((record.reasoning + record.text).split()) == tokens
    # the simulator reasons where a protocol has a place for it
    assert bool(record.reasoning) == (name in ("openai-chat", "openai-responses", "anthropic", "ollama-chat"))
    assert record.reasoning or record.ttfo == record.ttft
    assert record.arrivals == sorted(record.arrivals)


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "gradio"])
def test_an_answer_in_one_piece_says_the_same(server, name):
    dialect = named(name)
    whole = asks(server, dialect, stream=False)

    assert (whole.outcome, whole.error, whole.ttft) == ("ok", "", None)
    assert whole.e2e > 0
    if dialect.streams:
        streamed = asks(server, dialect)
        for field in ("text", "reasoning", "output_tokens", "input_tokens", "finish"):
            assert getattr(whole, field) == getattr(streamed, field)


@pytest.mark.parametrize("name", VECTORS)
def test_where_no_text_comes_out_the_tokens_that_went_in_are_known(server, name):
    record = asks(server, named(name), inputs=["one", "two"])

    assert (record.outcome, record.error, record.text, record.output_tokens) == ("ok", "", "", None)
    assert (record.input_tokens is None) if name.startswith("tei") else (record.input_tokens > 0)


HASTY = {
    "stall@2:30": Timeouts(connect=20, first_token=20, stall=0.3, total=20),
    "slow_headers:30": Timeouts(connect=20, first_token=0.3, stall=20, total=20),
}
FAULTS = {
    "drop@2": {"truncated"},
    "reset@2": {"reset"},
    "truncate@2": {"truncated"},
    "error_event@2": {"error_event"},
    "bad_json@2": {"bad_stream"},
    "stall@2:30": {"timeout_stall"},
    "slow_headers:30": {"timeout_first_token"},
    "http:400": {"http_4xx"},
    "http:401": {"http_4xx"},
    "http:404": {"http_4xx"},
    "http:422": {"http_4xx"},
    "http:429": {"http_429"},
    "http:500": {"http_5xx"},
    "http:503": {"http_503"},
    "http:504": {"http_504"},
    "oom": {"out_of_memory"},
    "html": {"bad_stream"},
    "crlf": {"ok"},
    "cut:7": {"ok"},
    "coalesce:5": {"ok"},
    "close_delimited": {"ok"},
    "no_usage": {"ok"},
    "close_delimited,truncate@3": {"truncated"},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", STREAMED)
def test_a_fault_is_one_classified_failure_in_every_dialect(server, name, fault):
    record = asks(server, named(name), fault=fault, timeouts=HASTY.get(fault, PATIENT))

    assert {record.outcome} == FAULTS[fault], record.error
    assert bool(record.error) == (record.outcome != "ok")
    assert record.error.count("simulated") <= 1


@pytest.mark.parametrize("fault", ["http:429", "http:500", "oom", "html", "slow_headers:30", "truncate@0", "reset@0"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in STREAMED])
def test_so_it_is_where_answers_come_in_one_piece(server, name, fault):
    limits = Timeouts(connect=20, total=0.3) if ":30" in fault else PATIENT
    record = asks(server, named(name), fault=fault, timeouts=limits)

    expected = FAULTS.get(fault.replace("@0", "@2"), set())
    assert {record.outcome} == ({"timeout_total"} if ":30" in fault else expected), record.error


@pytest.mark.parametrize("name", STREAMED)
def test_without_its_end_a_stream_is_cut_off(server, name):
    """Some servers' last tokens tell the reason to finish, and nothing is missing then."""
    record = asks(server, named(name), fault="no_done,no_usage")

    assert record.outcome == ("ok" if name.startswith(("openai-chat", "openai-comp")) else "truncated")
