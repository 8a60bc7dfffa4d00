import gzip
import json
import math
import time
from copy import deepcopy
from itertools import accumulate, pairwise

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmlocust.metrics.ledger import Ledger
from llmlocust.metrics.vocabulary import CLIENT_KINDS, ERROR_KINDS
from llmlocust.stream.delta import USAGE, Delta, Usage
from llmlocust.stream.dialects.openai import OpenAIChat, OpenAICompletions
from llmlocust.stream.outcomes import without_ids
from llmlocust.stream.reading import read
from llmlocust.stream.record import OK, Record, after_retries, bounded
from llmlocust.stream.sse import is_stream
from llmlocust.stream.timeline import Poll, Timeline
from llmlocust.stream.words import server_words
from tests.stream.timelines import MS, SENT, timeline_of

JSON = "application/json"
HTML = b"<!doctype html><html><head><title>x</title><style>a{}</style></head><body><h1>502</h1> Bad\n gateway</body></html>"
OOM = "CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 23.99 GiB total)"


def event(chunk: object) -> bytes:
    return b"data: " + (chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode()) + b"\n\n"


def token(text: str, tokens: int | None = None, finish: str | None = None) -> bytes:
    usage = {} if tokens is None else {"usage": {"prompt_tokens": 5, "completion_tokens": tokens}}
    return event({"choices": [{"delta": {"content": text}, "finish_reason": finish}], **usage})


def usage(tokens: int) -> bytes:
    return event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": tokens}})


DONE = event(b"[DONE]")
A, B, STOP = token("a"), token("b"), token("c", finish="stop")


def read_stream(*pieces: bytes, after: list[float] | None = None, stall: float = 0.2, **more) -> Record:
    """Read a stream whose pieces arrive in separate reads, 1, 2, 3, … ms after sending or at the times `after`."""
    cuts = [len(b"".join(pieces[: number + 1])) for number in range(len(pieces))]
    return read(timeline_of(b"".join(pieces), cuts, after=after or (), **more), OpenAIChat(), stall=stall)


def answer(status: int, body: object = b"", content_type: str = JSON, **more) -> Timeline:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return timeline_of(raw, status=status, content_type=content_type, **more)


def failure(kind: str, detail: str = "words", **more) -> Timeline:
    return timeline_of(more.pop("body", b""), complete=False, failure=kind, detail=detail, **more)


OUTCOMES = {
    # HTTP errors
    "429": (answer(429, {"error": {"message": "Rate limit reached for org-8Fd2 in 20s"}}), "http_429", "HTTP 429: Rate limit reached for … in …"),
    "400": (answer(400, {"object": "error", "message": "max_tokens is too large", "code": 400}), "http_4xx", "HTTP 400: max_tokens is too large"),
    "401": (answer(401, {"error": "Unauthorized"}), "http_4xx", "HTTP 401: Unauthorized"),
    "404": (answer(404, {"detail": "Not Found"}), "http_4xx", "HTTP 404: Not Found"),
    "422": (answer(422, {"detail": [{"msg": "field required"}]}), "http_4xx", "HTTP 422: [{'msg': 'field required'}]"),
    "499": (answer(499), "http_4xx", "HTTP 499: an empty body"),
    "500": (answer(500, b"Internal Server Error", "text/plain"), "http_5xx", "HTTP 500: Internal Server Error"),
    "502 html": (answer(502, HTML, "text/html"), "http_5xx", "HTTP 502: … Bad gateway"),
    "503": (answer(503, {"error": {}}), "http_503", 'HTTP 503: {"error": {}}'),
    "504": (answer(504), "http_504", "HTTP 504: an empty body"),
    "599": (answer(599), "http_5xx", "HTTP 599: an empty body"),
    "error that is null": (answer(500, {"error": None, "message": ""}), "http_5xx", 'HTTP 500: {"error": null, "message": ""}'),
    "error that is a list": (answer(500, ["a"]), "http_5xx", 'HTTP 500: ["a"]'),
    "error cut short": (answer(500, b'{"error": {"mess', complete=False, failure="reset"), "http_5xx", 'HTTP 500: {"error": {"mess'),
    "error not UTF-8": (answer(500, b"\xff\xfe"), "http_5xx", "HTTP 500: bytes that are not text"),
    "oom in 500": (answer(500, {"error": {"message": OOM}}), "out_of_memory", "HTTP 500: CUDA out of memory. Tried to allocate … GiB (GPU …; … GiB total)"),
    "oom in 400": (answer(400, {"detail": "torch.OutOfMemoryError"}), "out_of_memory", "HTTP 400: torch.OutOfMemoryError"),
    "oom in 503": (answer(503, b"Out Of Memory", "text/plain"), "out_of_memory", "HTTP 503: Out Of Memory"),
    "oom in 200": (answer(200, A + event({"error": {"message": OOM}}), "text/event-stream"), "out_of_memory", "CUDA out of memory. Tried to allocate … GiB (GPU …; … GiB total)"),
    "oom in a document": (answer(200, {"error": OOM}), "out_of_memory", "CUDA out of memory. Tried to allocate … GiB (GPU …; … GiB total)"),
    # no answer
    "301": (answer(301, HTML, "text/html"), "bad_stream", "HTTP 301: neither an answer nor an error"),
    "307": (answer(307), "bad_stream", "HTTP 307: neither an answer nor an error"),
    "204": (answer(204), "truncated", "the stream ended without an end after no tokens"),
    "html": (answer(200, HTML, "text/html"), "bad_stream", "HTTP 200 with text/html: … Bad gateway"),
    "html called a stream": (answer(200, HTML, "text/event-stream"), "bad_stream", "HTTP 200 with text/event-stream: … Bad gateway"),
    "text": (answer(200, b"hello there, my friend", ""), "bad_stream", "HTTP 200 with no content type: hello there, my friend"),
    "empty": (answer(200, b"", ""), "bad_stream", "HTTP 200 with no content type: an empty body"),
    "empty stream": (answer(200, b"", "text/event-stream"), "truncated", "the stream ended without an end after no tokens"),
    "empty document": (answer(200), "truncated", "the stream ended without an end after no tokens"),
    "no choices": (answer(200, {"id": "x"}), "bad_stream", 'a JSON document, but not an answer of openai-chat: {"id": "x"}'),
    "empty choices": (answer(200, {"choices": []}), "bad_stream", 'a JSON document, but not an answer of openai-chat: {"choices": []}'),
    "list": (answer(200, [1]), "bad_stream", "not JSON of this protocol: Expected `object`, got `array`"),
    "gzip called a stream": (answer(200, gzip.compress(A + STOP), "text/event-stream"), "bad_stream", "HTTP 200 with text/event-stream: bytes that are not text"),
    "bytes": (answer(200, A + b"data: \xff\n\n", "text/event-stream"), "truncated", "the stream ended without an end after some tokens; its last words: bytes that are not text"),
    "bytes outside an event": (answer(200, A + b"\xff\xfe\n", "text/event-stream"), "bad_stream", "not a stream: bytes that are not text"),
    "not JSON": (answer(200, A + event(b"{nonsense}"), "text/event-stream"), "bad_stream", "not a chunk of this protocol: {nonsense}"),
    # answers
    "document": (answer(200, {"choices": [{"message": {"content": "a"}}]}), OK, ""),
    "document without a type": (answer(200, {"choices": [{"message": {"content": "a"}}]}, ""), OK, ""),
    "document cut short": (answer(200, b'{"choices": [{"mess'), "truncated", "the stream ended without an end after no tokens"),
    "stream": (answer(200, A + STOP + DONE, "text/event-stream"), OK, ""),
    "stream without a type": (answer(200, A + STOP, ""), OK, ""),
    "stream without a type, id first": (answer(200, b"id: 1\n" + STOP, "text/plain"), OK, ""),
    "stream cut short": (answer(200, A + b"data: {", "text/event-stream"), "truncated", "the stream ended without an end after some tokens"),
    "spaces about [DONE]": (answer(200, A + b"data: [DONE] \n\n", "text/event-stream"), OK, ""),
    # failures of the connection
    "connect": (failure("connect", "Connection refused (ECONNREFUSED)", status=0), "connect", "Connection refused (ECONNREFUSED)"),
    **{kind: (failure(kind, status=0), kind, "words") for kind in CLIENT_KINDS},
    "reset before an answer": (failure("reset", status=0), "reset", "words"),
    "reset in a stream": (failure("reset", body=A), "reset", "words"),
    "no first token": (failure("timeout_first_token", "nothing within 120 s"), "timeout_first_token", "nothing within … s"),
    "no first token, no type": (failure("timeout_first_token", content_type=""), "timeout_first_token", "words"),
    "first bytes, no type": (failure("reset", content_type="", body=b"dat"), "reset", "words"),
    "stalled": (failure("timeout_stall", body=A), "timeout_stall", "words"),
    "too long": (failure("timeout_total", body=A), "timeout_total", "words"),
    "redirect cut off": (failure("truncated", status=301), "truncated", "words"),
    "document cut off": (failure("truncated", body=b'{"choices": [', content_type=JSON), "truncated", "words"),
    "aborted": (failure("aborted", body=A), "aborted", "words"),
    "aborted unsent": (failure("aborted", status=0), "aborted", "words"),
    "aborted after its end": (failure("aborted", body=A + STOP), OK, ""),
    "reset after its end": (failure("reset", body=A + STOP), OK, ""),
    "error, then reset": (failure("reset", body=A + event({"error": "broke"})), "error_event", "broke"),
    "refused, then reset": (failure("reset", status=503, body=b"busy", content_type="text/plain"), "http_503", "HTTP 503: busy"),
    # errors inside a 200
    "error event": (answer(200, A + event({"error": {"message": "broke"}}), "text/event-stream"), "error_event", "broke"),
    "error event without words": (answer(200, b"event: error\ndata: {}\n\n", "text/event-stream"), "error_event", "an error event without a message"),
    "error event, no JSON": (answer(200, b"event: error\ndata: broke\n\n", "text/event-stream"), "error_event", "broke"),
    "error, then [DONE]": (answer(200, A + event({"error": "broke"}) + DONE, "text/event-stream"), "error_event", "broke"),
    "two errors": (answer(200, event({"error": "first"}) + event({"error": "second"}), "text/event-stream"), "error_event", "first"),
    "error called a stream": (answer(200, {"error": "broke"}, "text/event-stream"), "error_event", "broke"),
    "an answer with nothing in it": (answer(200, {"choices": [{"message": {"content": ""}}]}), "empty_answer", "an empty answer: no text, and no token count"),
    "too large": (failure("too_large", "the answer was longer than 16 MB", status=0), "too_large", "the answer was longer than … MB"),
    "FastAPI's detail": (answer(200, {"detail": "broke"}), "error_event", "broke"),
}  # fmt: skip


@pytest.mark.parametrize("timeline, outcome, error", OUTCOMES.values(), ids=OUTCOMES)
def test_the_outcome_and_error_of_a_request(timeline, outcome, error):
    record = read(timeline, OpenAIChat())
    assert (record.outcome, record.error) == (outcome, error)


def test_every_kind_of_failure_is_in_the_table():
    assert {outcome for _, outcome, _ in OUTCOMES.values()} == {*ERROR_KINDS, OK}


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_failures_of_the_transport_pass_through(kind):
    assert read(failure(kind, status=0), OpenAIChat()).outcome == kind


def test_a_request_that_was_never_sent_begins_at_its_requested_time():
    timeline = Timeline(requested_ns=3 * MS, ended_ns=5 * MS, client_queue=0.1, failure="connect", detail="no")
    record = read(timeline, OpenAIChat(), name="chat")
    assert record == Record("chat", "connect", "no", "no", sent=0.003, duration=pytest.approx(0.002), client_queue=0.1)


@pytest.mark.parametrize(
    "content_type, body, streamed",
    [
        ("text/event-stream", b"", True),
        ("text/event-stream; charset=utf-8", b"anything", True),
        ("application/json", b"data: {}", True),
        ("application/json", b"\xef\xbb\xbfdata: {}", True),
        ("application/problem+json", b"event: error", True),
        ("application/json", b'{"data": 1}', False),
        ("text/html", b" " * 1000 + b"data: {}", True),
        ("text/event-stream", b"<!doctype html><html>", False),
        ("text/event-stream", b"Error: out of memory", True),
        ("text/event-stream", b"Internal Server Error", False),
        ("application/x-ndjson", b"", False),
        ("", b"data: {}", True),
        ("text/plain", b"\n\n  event: x", True),
        ("text/plain", b": comment", True),
        ("text/plain", b"retry: 1000", True),
        ("text/plain", b"datum", False),
        ("text/html", b"<html>", False),
        ("text/event-stream", b' {"error": 1}', False),
    ],
)
def test_streams_are_recognised_by_type_or_beginning(content_type, body, streamed):
    assert is_stream(content_type, body) == streamed


# ── times ──


@pytest.mark.parametrize(
    "pieces, after, tpot",
    [
        ([A, B, STOP, usage(3)], [10, 20, 30, 31], 0.010),
        ([A, B, STOP, usage(5)], [10, 20, 30, 31], 0.005),  # four tokens in 20 ms after the first
        ([A, B, STOP], [10, 20, 30], 0.010),  # chunks, as there is no usage
        ([token("a b", 2), token("c d e", 5), token("f", 6, "stop")], [10, 20, 30], 0.005),  # the first has two
        ([token("a b c", 3), token("d", 4, "stop")], [10, 20], 0.010),
        ([token("", 0), token("a b", 2), token("c", 3, "stop")], [5, 10, 20], 0.010),  # the role has none
        ([STOP, usage(5)], [10, 11], None),  # a single chunk has no duration
        ([token("a", 5), token("b", 5, "stop")], [10, 20], None),  # all tokens are in the first, by usage
        ([A, STOP, usage(0)], [10, 20, 21], None),
        ([A, STOP, usage(1)], [10, 20, 21], None),
        ([DONE], [10], None),
    ],
)
def test_tpot_is_the_time_after_the_first_chunk_by_the_tokens_after_it(pieces, after, tpot):
    assert read_stream(*pieces, after=after).tpot == (None if tpot is None else pytest.approx(tpot))


def test_times_are_only_those_of_events_with_tokens():
    role = event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
    record = read_stream(role, b": comment\n\n", A, B, event({"choices": [{"finish_reason": "stop"}]}), usage(2), DONE)
    assert (record.ttft, record.ttfo, record.e2e, record.arrivals) == tuple(
        map(pytest.approx, (0.003, 0.003, 0.004, [0.003, 0.004]))
    )


def test_one_event_with_reasoning_and_answer_arrives_once():
    record = read_stream(event({"choices": [{"delta": {"reasoning": "a", "content": "b"}}]}), STOP)
    assert (record.chunks, record.output_tokens, record.coalesced) == (2, 2, 0)


@pytest.mark.parametrize(
    "pieces, coalesced, chunks",
    [
        ([A, B, STOP], 0, 3),
        ([A + B, STOP], 1, 3),
        ([A + B + STOP + DONE], 2, 3),
        ([A + B, A + B + STOP], 3, 5),
        ([A[:10], A[10:] + B[:10], B[10:] + STOP], 1, 3),
        ([A[:10], A[10:] + B[:10], B[10:], STOP], 0, 3),
    ],
)
def test_chunks_in_the_read_of_an_earlier_one_are_coalesced(pieces, coalesced, chunks):
    record = read_stream(*pieces)
    assert (record.coalesced, record.chunks) == (coalesced, chunks)


@pytest.mark.parametrize(
    "pieces, after, windows, arrivals, merged, ttft_bounds",
    [
        # they arrived together, as far as is known
        ([A, B + STOP], [10, 30], [9, 1], [10, 30, 30], [], None),
        ([A + B, STOP], [10, 30], [1, 9], [10, 10, 30], [], None),
        # they waited for the load generator: the socket was empty 6 ms before the last of them arrived
        ([A, B + STOP], [10, 30], [9, 6], [10, 27, 30], [(20, [17, 3], True)], None),
        ([A, A + B + STOP], [10, 30], [0, 6], [10, 26, 28, 30], [(20, [16, 2, 2], True)], None),
        # the first chunks waited too
        ([A + B, STOP], [10, 30], [8, 0], [6, 10, 30], [(8, [4], False)], (2, 10)),
        ([A + B, A + STOP], [10, 30], [4, 4], [8, 10, 28, 30], [(4, [2], False), (20, [18, 2], True)], (6, 10)),
        # a single chunk has the time of its read, however long the window is
        ([A, B, STOP], [10, 20, 30], [9, 9, 9], [10, 20, 30], [], None),
        # a window never begins before the previous read
        ([A, B + STOP], [10, 30], [0, 99], [10, 20, 30], [(20, [10, 10], True)], None),
        ([A + B], [10], [99], [5, 10], [(10, [5], False)], (0, 10)),
    ],
)
def test_chunks_that_waited_for_the_load_generator_are_spread_over_their_window(
    pieces, after, windows, arrivals, merged, ttft_bounds
):
    timeline = timeline_of(b"".join(pieces), list(accumulate(map(len, pieces))), after=after, windows=windows)
    record = read(timeline, OpenAIChat())
    assert [round(arrival * 1e3, 6) for arrival in record.arrivals] == arrivals
    assert [
        (round(merge.total * 1e3, 6), [round(itl * 1e3, 6) for itl in merge.estimates], merge.exact)
        for merge in record.merged
    ] == merged
    assert record.ttft_bounds == (ttft_bounds and pytest.approx(tuple(ms / 1e3 for ms in ttft_bounds)))
    assert record.uncertain == sum(len(estimates) for _, estimates, _ in merged)
    assert record.itls == [later - earlier for earlier, later in pairwise(record.arrivals)]
    assert record.ttft == record.ttfo == record.arrivals[0]


@pytest.mark.parametrize(
    "windows, tpot",
    [([0, 0], 0.010), ([8, 0], 0.024 / 4)],  # tokens at TTFT: three that arrived together, or only those of the first
)
def test_tpot_excludes_the_tokens_that_arrived_at_ttft(windows, tpot):
    pieces = [token("a", 1) + token("b c", 3), token("d e", 5, "stop")]
    record = read(timeline_of(b"".join(pieces), [len(pieces[0])], after=[10, 30], windows=windows), OpenAIChat())
    assert record.tpot == pytest.approx(tpot)


@pytest.mark.parametrize(
    "after, stall, stalls",
    [
        ([10, 20, 30], 0.2, 0),
        ([500, 510, 520], 0.2, 0),  # waiting for the first token is no stall
        ([10, 210, 410.1], 0.2, 1),
        ([10, 20, 30], 0.005, 2),
    ],
)
def test_stalls_are_itls_above_the_limit(after, stall, stalls):
    assert read_stream(A, B, STOP, after=after, stall=stall).stalls == stalls


@given(
    st.lists(st.sampled_from([A, B, STOP, DONE, usage(7), b": x\n\n"]), min_size=1, max_size=20),
    st.lists(st.integers(0, 10**12), min_size=20, max_size=20).map(sorted),
    st.data(),
)
def test_itls_add_up_and_no_duration_is_negative(pieces, after, data):
    body = b"".join(pieces)
    cuts = data.draw(st.lists(st.integers(1, len(body)), max_size=19))
    reads = len({cut for cut in cuts if cut < len(body)}) + 1
    windows = data.draw(st.lists(st.integers(0, 10**6), min_size=reads, max_size=reads))
    record = read(timeline_of(body, cuts, after=[ns / MS for ns in after[:reads]], windows=windows), OpenAIChat())
    durations = [record.duration, record.ttft, record.ttfo, record.e2e, record.tpot, *record.itls, *record.arrivals]
    assert all(duration is None or duration >= 0 for duration in durations)
    assert sum(record.itls) == pytest.approx((record.e2e or 0) - (record.ttft or 0), abs=1e-9)
    assert len(record.itls) == max(0, record.chunks - 1)
    assert 0 <= record.coalesced <= max(0, record.chunks - 1)
    assert record.arrivals == sorted(record.arrivals)
    for merged in record.merged:
        if merged.exact:
            assert sum(merged.estimates) == pytest.approx(merged.total, abs=1e-9)
        else:
            assert sum(merged.estimates) <= merged.total + 1e-9
    if record.ttft_bounds:
        assert record.ttft_bounds[0] <= record.ttft <= record.ttft_bounds[1]


# ── tokens ──


@pytest.mark.parametrize(
    "pieces, tokens, source",
    [
        ([A, STOP, usage(7)], 7, "usage"),
        ([A, STOP], 2, "chunks"),
        ([token("a", 2), token("b", 3, "stop"), usage(3)], 3, "chunk_usage"),
        ([token("a", 2), token("b", 4)], 4, "chunk_usage"),  # cut off, but the last reported count is used
        ([DONE], None, ""),
        ([A, STOP, event({"choices": [], "usage": {"prompt_tokens": 5}})], 2, "chunks"),
        ([A, STOP, usage(-5)], 2, "chunks"),
        ([A, STOP, usage(10**300)], 2, "chunks"),
    ],
)
def test_the_source_of_the_token_count(pieces, tokens, source):
    record = read_stream(*pieces)
    assert (record.output_tokens, record.token_source) == (tokens, source)


def choice(index: int, text: str, finish: str | None = None) -> bytes:
    return event({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]})


BOTH = event({"choices": [{"index": 0, "delta": {"content": "c"}}, {"index": 1, "delta": {"content": "d"}}]})


def test_tokens_are_those_of_all_choices_and_text_is_that_of_the_first():
    record = read_stream(choice(0, "a"), choice(1, "b"), BOTH, choice(0, "", "stop"), choice(1, "", "length"), usage(4))
    assert (record.ok, record.chunks, record.text, record.finish, record.output_tokens) == (True, 3, "ac", "stop", 4)


def test_a_single_choice_with_index_one_is_the_first():
    record = read_stream(choice(1, "a"), choice(1, "b"), choice(1, "c", "stop"), after=[1, 2, 4])
    assert (record.text, record.finish, record.token_source) == ("abc", "stop", "chunks")
    assert record.itls == pytest.approx([0.001, 0.002])


def test_itls_are_inside_a_choice_and_the_first_token_is_of_any_choice():
    record = read_stream(
        choice(1, "b"), choice(0, "a"), BOTH, choice(0, "e"), choice(0, "", "stop"), after=[10, 12, 20, 50, 60]
    )
    assert sorted(record.itls) == pytest.approx([0.008, 0.010, 0.030])
    assert record.ttft == pytest.approx(0.010)
    assert record.arrivals == pytest.approx([0.010, 0.012, 0.020, 0.050])
    assert record.stalls == 0


def test_tpot_is_that_of_one_choice():
    pieces = [choice(index, "x") for _ in range(5) for index in (0, 1)]
    after = [10.0 * step + index for step in range(1, 6) for index in (0, 1)]
    record = read_stream(*pieces, choice(0, "", "stop"), usage(10), after=[*after, 60, 61])
    assert record.tpot == pytest.approx((0.051 - 0.010) / 4)
    assert record.itls == pytest.approx([0.010] * 8)


def test_only_sums_are_known_of_choices_that_waited_for_the_load_generator_together():
    body = choice(0, "a"), choice(1, "b"), choice(0, "c") + choice(1, "d") + choice(0, "e", "stop")
    record = read_stream(*body, after=[10, 20, 60], windows=[0, 0, 30])
    first, second = record.merged
    assert (first.exact, second.exact) == (False, False)
    assert (first.total, second.total) == (pytest.approx(0.050), pytest.approx(0.040))
    assert sorted([*first.estimates, *second.estimates]) == pytest.approx(sorted(record.itls))
    assert record.itls == pytest.approx([0.030, 0.030, 0.020])  # at 40, 50 and 60 ms
    assert record.uncertain == 3


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50)), min_size=1, max_size=40), st.integers(100, 4000))
def test_itls_are_inside_choices_for_any_slices_of_the_stream(chunks, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmlocust.stream.reading.SLICE", size)
        after = list(accumulate(interval for _, interval in chunks))
        record = read_stream(*(choice(index, "x") for index, _ in chunks), after=after)
    moments_by_choice = {
        index: [moment for (choice_, _), moment in zip(chunks, after, strict=True) if choice_ == index]
        for index in range(3)
    }
    itls = [(later - earlier) / 1000 for moments in moments_by_choice.values() for earlier, later in pairwise(moments)]
    assert sorted(record.itls) == pytest.approx(sorted(itls), abs=1e-9)
    assert record.text == "x" * len(moments_by_choice[0] or moments_by_choice[chunks[0][0]])


# ── words ──


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", ""),
        ("Engine core failed", "Engine core failed"),
        ("request 8f31-aa failed", "request … failed"),
        ("HTTP 503: request 8f31-aa failed", "HTTP 503: request … failed"),
        ("HTTP 503", "HTTP 503"),
        ("HTTP 5031 is no status", "HTTP … is no status"),
        ("was HTTP 503", "was HTTP …"),
        ("  many \n\t spaces ", "many spaces"),
        ("at ('10.0.0.1', 8000), id=\"a1\"", "at ('…', …), id=\"…\""),
        ("x" * 300, "x" * 200),
    ],
)
def test_words_without_ids(text, expected):
    assert without_ids(text) == expected


@given(st.text() | st.text(alphabet="ab1 HTP503:\n'\"", max_size=300) | st.from_regex(r"HTTP \d{2,4}.*"))
@example("a " * 99 + "aa b")
@example("1" * 1999 + "23 abc")
def test_words_without_ids_have_no_digits_except_the_status_and_are_not_changed_again(text):
    once = without_ids(text)
    after_status = once[8:] if once.startswith("HTTP ") and once[5:8].isdecimal() else once
    assert not any(letter.isdecimal() for letter in after_status)
    assert without_ids(once) == once
    assert len(once) <= 200
    assert "\n" not in once


# ── invalid answers ──

GARBAGE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(10**320), 10**320) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
USAGE_FIELDS = ("prompt_tokens", "completion_tokens", "completion_tokens_details", "reasoning_tokens")
PIECE_FIELDS = ("content", "reasoning_content", "reasoning", "tool_calls", "refusal", "role")
PIECES = st.dictionaries(st.sampled_from(PIECE_FIELDS), GARBAGE | st.just("x"), max_size=3)
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "delta": PIECES | GARBAGE,
        "message": PIECES | GARBAGE,
        "text": GARBAGE,
        "finish_reason": GARBAGE,
        "index": GARBAGE,
    },
)
CHUNKS = st.fixed_dictionaries(
    {},
    optional={
        "choices": st.lists(CHOICES, max_size=2) | GARBAGE,
        "usage": st.dictionaries(st.sampled_from(USAGE_FIELDS), GARBAGE) | GARBAGE,
        "error": GARBAGE,
        "object": GARBAGE | st.just("error"),
        "message": GARBAGE,
        "detail": GARBAGE,
    },
)
RAW = (CHUNKS | GARBAGE).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=8).map(
    lambda raw: raw.replace(b"\n", b"").replace(b"\r", b"")
)


def assert_is_sound(record: Record) -> None:
    """Check that a record has a known outcome, valid counts, a short error, and can be serialised."""
    assert record.outcome in (OK, *ERROR_KINDS)
    tokens = (record.input_tokens, record.output_tokens, record.reasoning_tokens)
    assert all(count is None or 0 <= count < 1 << 50 for count in tokens)
    assert len(record.error) <= 200
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=Record) == record


@given(st.lists(RAW, max_size=4), st.booleans(), st.sampled_from([OpenAIChat(), OpenAICompletions()]))
def test_no_stream_raises_an_error(chunks, complete, dialect):
    body = b"".join(map(event, chunks))
    assert_is_sound(read(timeline_of(body, [len(body) // 2], complete=complete), dialect))


@given(RAW, st.sampled_from([200, 201, 302, 400, 500]), st.sampled_from([JSON, "", "text/html", "text/event-stream"]))
def test_no_document_raises_an_error(body, status, content_type):
    assert_is_sound(read(answer(status, body, content_type), OpenAIChat()))


@given(
    st.binary(max_size=60), st.sampled_from([200, 500]), st.sampled_from([JSON, "", "text/event-stream"]), st.booleans()
)
def test_no_bytes_raise_an_error(body, status, content_type, complete):
    assert_is_sound(read(answer(status, body, content_type, complete=complete), OpenAIChat()))


def of_one_answer(chunk: dict) -> dict:
    """Return the chunk without whole messages, which repeat earlier text, and without other choices."""
    choices = chunk.get("choices")
    if isinstance(choices, list):
        single = {"message": None, "index": 0}
        chunk = chunk | {
            "choices": [choice_ | single if isinstance(choice_, dict) else choice_ for choice_ in choices[:1]]
        }
    return chunk


@given(st.lists(CHUNKS.map(of_one_answer).map(lambda chunk: json.dumps(chunk).encode()), max_size=4), st.integers(0, 3))
def test_events_are_read_together_as_they_are_separately(chunks, place):
    good, bad = [STOP, *map(event, chunks)], b"data: no JSON\n\n"
    records = [read_stream(piece) for piece in good]
    together, with_bad = read_stream(*good), read_stream(*good[: place + 1], bad, *good[place + 1 :])
    assert together.text == with_bad.text == "".join(record.text for record in records)


@pytest.mark.parametrize(
    "chunk",
    [
        b'{"choices": null}',
        b'{"choices": [{"delta": null}]}',
        b'{"choices": [{"delta": {"content": []}}]}',
        b'{"choices": [{}]}',
        b'{"usage": null}',
        b'{"usage": {}}',
        b'{"error": null}',
        b"{}",
        b" ",
        b"[]",
        b"1",
        b"null",
        b"true",
        b'""',
        b'{"choices": [[]]}',
        b'{"choices": {"delta": 1}}',
        b'{"choices": [{"delta": []}]}',
    ],
)
def test_chunks_without_content_are_no_error(chunk):
    record = read_stream(A, event(chunk), STOP)
    assert (record.outcome, record.text, record.chunks) == (OK, "ac", 2)


@pytest.mark.parametrize("chunk", [b'{"choices": []', b'{"choices": [{"delta": {"content": "b}}]}', b"[1, 2", b"{]}"])
def test_broken_json_makes_a_bad_stream(chunk):
    record = read_stream(A, event(chunk), STOP)
    assert (record.outcome, record.text) == ("bad_stream", "ac")
    assert record.words == f"not a chunk of this protocol: {chunk.decode()}"


def test_the_last_of_duplicate_keys_counts():
    assert read_stream(event(b'{"choices": null, "choices": [{"text": "a", "text": "b"}]}')).text == "b"


@pytest.mark.parametrize("field", ["error", "message", "detail", "choices", "unknown", "usage"])
@pytest.mark.parametrize("depth", [*range(50, 1100, 25), 100_000])
@pytest.mark.parametrize("opening, closing", [(b"[", b"]"), (b'{"message":', b"}")])
def test_deep_nesting_raises_no_error(field, depth, opening, closing):
    body = b'{"%b":%b1%b}' % (field.encode(), opening * depth, closing * depth)
    for timeline in (answer(200, event(body), "text/event-stream"), answer(200, body), answer(500, body)):
        assert_is_sound(read(timeline, OpenAIChat()))


# ── time of reading ──

LARGE = 1_000_000
"""Approximate size in bytes. The time is compared with that of a sixteenth of it."""
TIMES = 16


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "body_of",
    [
        lambda size: b"\n" * size,
        lambda size: b":" + b"x" * size + b"\n\n",
        lambda size: b": x\n" * (size // 4),
        lambda size: event(b"{}") * (size // 10),
        lambda size: A * (size // 50),
        lambda size: A.replace(b"\n", b"\r\n") * (size // 50),
        lambda size: event({"error": "x" * 2 * size}),
        lambda size: event({"error": "1" * 2 * size}),
        lambda size: event({"error": "1 " * size}),
        lambda size: event(b"x" * size),
        lambda size: b"<" * size,
        lambda size: b"<head" * (size // 5),
        lambda size: b"x" * size,
        lambda size: b"1" * size,
        lambda size: b"\xff" * size,
        lambda size: b'{"error": "' + b"(x," * size + b'"}',
        lambda size: b'"' * size,
        lambda size: b"data: " * (size // 6),
    ],
    ids=lambda body_of: body_of(100)[:12].decode(errors="replace"),
)
def test_the_time_to_read_grows_linearly_with_the_size(body_of):
    assert time_to_read(body_of(LARGE)) < 6 * TIMES * max(time_to_read(body_of(LARGE // TIMES)), 0.001)


def time_to_read(body: bytes) -> float:
    """Return the processor time in seconds: the minimum of two measurements, as other work can only add time."""
    times = []
    for _ in range(2):
        began = time.process_time()
        for status, content_type in ((200, "text/event-stream"), (200, "text/html"), (200, JSON), (500, "text/html")):
            assert_is_sound(read(answer(status, body, content_type), OpenAIChat()))
        times.append(time.process_time() - began)
    return min(times)


def test_messages_of_a_server_are_found_in_all_known_fields():
    bodies = [
        {"error": {"message": "w"}},
        {"error": "w"},
        {"message": "w"},
        {"detail": "w"},
        {"error": "", "detail": "w"},
    ]
    assert {server_words(json.dumps(body).encode()) for body in bodies} == {"w"}


def test_a_clock_that_went_back_gives_no_negative_duration():
    assert (
        read(Timeline(requested_ns=1, sent_ns=SENT, ended_ns=SENT - 1, failure="reset"), OpenAIChat()).duration == 0.0
    )


@pytest.mark.parametrize("reason", ["error", "abort"])
def test_a_finish_reason_of_an_engine_failure_is_a_failure(reason):
    record = read_stream(A, token("b", finish=reason), DONE)

    assert (record.outcome, record.error) == ("error_event", f"finish_reason: {reason}")


# ── lateness of reads ──

BEFORE, BEGAN = 100 * MS, 110 * MS


@pytest.mark.parametrize(
    "first_read, first, empty",
    [
        # the poll did not sleep: bytes arrived while the process was busy
        (BEGAN + MS // 20, BEGAN + MS // 30, BEFORE),
        (BEGAN + MS, BEGAN - 5 * MS, BEFORE),  # the poll did not sleep, though the first read took longer
        # the poll slept, and the first byte woke it
        (BEGAN + 8 * MS, BEGAN + 8 * MS - MS // 10, BEGAN + 8 * MS - MS // 10),
        (BEGAN + 8 * MS, BEGAN + 3 * MS, BEGAN),  # the poll woke late, for an unknown reason
    ],
)
def test_the_time_at_which_a_socket_was_empty(first_read, first, empty):
    assert Poll(BEFORE, BEGAN, first_read, first).empty() == empty


@pytest.mark.parametrize(
    "first_bytes, window",
    [
        (9, 40),  # the previous read left nothing
        (65_000, 100),  # the previous read may have left bytes, so the poll before it counts
    ],
)
def test_a_window_begins_at_the_last_read_that_emptied_the_socket(first_bytes, window):
    polls = [Poll(0, 100, 100), Poll(100, 200, 200)]
    timeline = Timeline(ends=[first_bytes, first_bytes + 9], times=[150, 200], lags=[10, 0], polls=polls)
    assert timeline.window(1) == window


def test_a_finish_reason_is_limited_to_100_characters():
    record = read_stream(A, token("b", finish="x" * 70_000), DONE)

    assert (record.outcome, record.finish) == ("ok", "x" * 100)


# ── flaws of answers ──


@pytest.mark.parametrize(
    "record, flaws",
    [
        (Record(text="fine", ttfo=0.1, finish="stop"), []),
        (Record(text=" \n"), ["empty"]),
        (Record(text="", ttfo=0.1), []),  # a call of a tool
        (Record(text="more to come", ttfo=0.1, finish="length"), ["cut"]),
        (Record(text="more to come", ttfo=0.1, finish="MAX_TOKENS"), ["cut"]),
        (Record(text="It begins well. " + "and so on, " * 60, ttfo=0.1), ["repeated"]),
        (Record(text="x" * 399, ttfo=0.1), []),
        (Record(text="x" * 400, ttfo=0.1), ["repeated"]),
        (Record(text=" ".join(map(str, range(500))), ttfo=0.1), []),
    ],
)
def test_flaws_of_an_answer(record, flaws):
    assert [name for name in ("empty", "cut", "repeated") if getattr(record, name)] == flaws


# ── contradictions ──


def in_order(record):
    """Return whether times are in order and no count is negative."""
    times = [0.0, *(t for t in (record.ttft, record.ttfo, record.e2e) if t is not None), record.duration]
    counts = [record.input_tokens, record.output_tokens, record.reasoning_tokens, record.stalls, record.coalesced]
    return times == sorted(times) and all(count is None or count >= 0 for count in counts)


def timed(**wrong):
    """Return a record with consistent times, except those given."""
    arrivals = wrong.pop("arrivals", [0.1, 0.3, 0.4])
    right = {"duration": 0.5, "ttft": 0.1, "ttfo": 0.3, "e2e": 0.4, "output_tokens": 3, "tpot": 0.15}
    itls = wrong.pop("itls", [later - earlier for earlier, later in pairwise(arrivals)])
    return Record(**(right | wrong), arrivals=arrivals, itls=itls)


WRONG = {
    "TTFT after the end": {"ttft": 0.9},
    "the first token before the request": {"ttft": -0.2, "arrivals": [-0.2, 0.3, 0.4]},
    "an answer before the first token": {"ttfo": 0.05},
    "an answer after the last token": {"ttfo": 0.45},
    "a last token after the response": {"e2e": 0.7},
    "no number": {"e2e": math.nan},
    "a duration below zero": {"duration": -1.0, "ttft": None, "ttfo": None, "e2e": None, "arrivals": []},
    "a negative ITL": {"arrivals": [0.1, 0.45, 0.4]},
    "ITLs of other chunks": {"itls": [0.2, 0.3]},
    "one ITL too many": {"itls": [0.1, 0.1, 0.1]},
    "output tokens below zero": {"output_tokens": -1},
    "prompt tokens below zero": {"input_tokens": -7},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_record_that_contradicts_itself_is_marked_and_corrected(wrong):
    record = bounded(timed(**wrong))

    assert record.contradicts
    assert in_order(record)
    assert record.itls == [later - earlier for earlier, later in pairwise(record.arrivals)]
    assert min(record.itls, default=0.0) >= 0.0


ABSURD = [10**30, -1, -(10**30), float("nan"), float("inf"), 1e300, 0.5, "many", "1e400", [5], {"a": 1}, True]


class Unchecked(OpenAIChat):
    """A dialect that returns every count of the server without a check."""

    def pieces(self, deltas, chunk, event):
        super().pieces(deltas, chunk, event)
        usage = Usage(*(self.count,) * 5)
        for delta in deltas:
            delta.usage = usage
        deltas.append(Delta(USAGE, event.end, "", usage))


@pytest.mark.parametrize("count", ABSURD, ids=repr)
def test_absurd_counts_of_a_server_are_ignored(count):
    dialect = Unchecked()
    dialect.count = count
    record = read(answer(200, A + B + STOP, "text/event-stream"), dialect)

    assert record.ok
    assert (record.input_tokens, record.reasoning_tokens) == (None, None)
    assert (record.output_tokens, record.token_source) == (record.chunks, "chunks")
    assert record.tpot is None or 0 <= record.tpot <= record.duration
    ledger = Ledger()
    ledger.add(record, 0.0)
    msgspec.msgpack.encode(ledger.take())


@pytest.mark.parametrize("count", [10**30, -1, math.nan, math.inf, 1e300], ids=repr)
@pytest.mark.parametrize("name", ["input_tokens", "output_tokens", "reasoning_tokens"])
def test_absurd_counts_of_a_record_are_removed(name, count):
    record = bounded(Record(**{name: count}))
    assert (getattr(record, name), record.contradicts) == (None, "a count out of range")


@pytest.mark.parametrize(
    "changes",
    [{}, {"e2e": 0.505}, {"ttft": -0.004}, {"ttfo": 0.095}, {"ttft": None, "ttfo": None, "arrivals": []}],
    ids=str,
)
def test_the_possible_difference_of_two_clocks_is_no_contradiction(changes):
    record = timed(**changes)
    before = deepcopy(record)

    assert bounded(record) == before


def test_several_answers_have_separate_itls():
    assert not bounded(timed(itls=[0.3]), one_answer=False).contradicts
    assert bounded(timed(itls=[-0.3]), one_answer=False).itls == [0.0]


def test_a_retried_request_counts_from_its_first_attempt():
    first = Record(outcome="http_503", sent=100.0, delay=0.01, client_queue=0.002, connect=0.003)
    second = Record(outcome="connect", sent=101.0, duration=0.5, retry_after=1.0)
    last = Record(
        sent=103.0, duration=2.0, e2e=1.5, ttft=0.5, ttfo=0.75, tpot=0.5, arrivals=[0.5, 0.75, 1.5], itls=[0.25, 0.75],
        ttft_bounds=(0.25, 0.5), coalesced_at=[(0.75, 1)], lag_max=0.25, lag_max_at=0.5, status=200, client_queue=0.5,
    )  # fmt: skip
    assert bounded(after_retries(last, [first, second])) == Record(
        sent=100.0, duration=5.0, e2e=4.5, ttft=3.5, ttfo=3.75, tpot=0.5, arrivals=[3.5, 3.75, 4.5], itls=[0.25, 0.75],
        ttft_bounds=(3.25, 3.5), coalesced_at=[(3.75, 1)], lag_max=0.25, lag_max_at=3.5, status=200, client_queue=0.002,
        delay=0.01, connect=0.003, retried=("http_503", "connect"),
    )  # fmt: skip


def test_a_retried_request_without_an_answer_has_no_times_of_one():
    last = after_retries(Record(outcome="reset", sent=3.0, duration=1.0), [Record(outcome="reset", sent=1.0)])
    assert (last.attempts, last.duration, last.ttft, last.e2e, last.delay) == (2, 3.0, None, None, None)
