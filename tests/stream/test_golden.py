"""Answers of servers (golden/): complete, in pieces, and cut off after every byte."""

from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlocust.stream import reading
from llmlocust.stream.dialects import DIALECTS, Dialect, named
from llmlocust.stream.reading import has_token, read
from llmlocust.stream.record import Record
from llmlocust.stream.timeline import Poll
from tests.stream.timelines import SENT, timeline_of

GOLDEN = Path(__file__).parent / "golden"
MS = 1e-3
_TIMES = {
    "sent",
    "duration",
    "e2e",
    "ttft",
    "ttfo",
    "tpot",
    "arrivals",
    "itls",
    "stalls",
    "coalesced",
    "coalesced_at",
    "lags",
    "lag_max",
}


@dataclass(frozen=True)
class Golden:
    """A recorded stream and the expected record. Events are numbered by the blank lines that end them, from 0."""

    file: str
    chunks: tuple[int, ...]
    """The events with tokens."""
    end: int
    """The first event after which the answer is known to have ended, successfully or not."""
    text: str
    tokens: int | None
    source: str
    finish: str = "stop"
    reasoning: str = ""
    reasoning_tokens: int | None = None
    answer: int | None = None
    """The first event with a part of the answer itself, if it is not the first of `chunks`."""
    outcome: str = "ok"
    error: str = ""
    dialect_name: str = "openai-chat"
    choices: str = ""
    """The choice of each of `chunks`, if the answer has several."""

    @property
    def body(self) -> bytes:
        return (GOLDEN / f"{self.file}.{'ndjson' if self.lines else 'sse'}").read_bytes()

    @property
    def itls(self) -> list[float]:
        """The ITLs inside each choice; the time between chunks of different choices is no ITL."""
        choices = self.choices or "0" * len(self.chunks)
        by_choice = [
            [chunk for choice, chunk in zip(choices, self.chunks, strict=True) if choice == wanted]
            for wanted in sorted(set(choices))
        ]
        return [(later - earlier) * MS for chunks in by_choice for earlier, later in pairwise(chunks)]

    @property
    def lines(self) -> bool:
        """Whether the stream is lines of JSON instead of events with blank lines between them."""
        return self.dialect_name.startswith("ollama")

    @property
    def dialect(self) -> Dialect:
        return named(self.dialect_name)

    @property
    def ends(self) -> list[int]:
        return list(accumulate(map(len, self.body.splitlines(keepends=True)))) if self.lines else ends_of(self.body)

    def read(self, timeline) -> Record:
        return read(timeline, self.dialect, name="golden")


OF_VLLM = "EngineCore encountered an issue"
GOLDENS = [
    Golden("openai_chat", (1, 2, 3), 4, "Hello wörld!", 3, "usage", reasoning_tokens=0),
    Golden("vllm_chat", (1, 2, 3, 4), 4, "In the beginning.", 4, "usage", "length"),
    Golden("vllm_continuous_usage", (1, 2, 3), 3, "One two three four five six", 6, "chunk_usage"),
    Golden("several_tokens_a_chunk", (1, 2, 3), 4, "One two three four five six seven", 7, "usage"),
    Golden("reasoning_content", (1, 2, 3, 4), 4, "42.", 5, "usage", "stop", "Let me think.", 3, answer=3),
    Golden("reasoning_field", (0, 1, 2), 3, "Yes", 4, "usage", "stop", "Hmm…", answer=2),
    Golden("reasoning_and_answer_in_one_chunk", (1, 2, 3), 3, "Yes!", 4, "usage", "stop", "So be it.", 2, answer=2),
    Golden("tool_calls", (0, 1, 2), 3, "", 9, "usage", "tool_calls"),
    Golden("refusal", (1, 2), 3, "I can't do that.", 6, "usage"),
    Golden("completions", (0, 1, 2), 2, "Once upon a time", 3, "usage", "length", dialect_name="openai-completions"),
    Golden("llamacpp", (1, 2, 3), 4, "Bonjour 🙂", 3, "usage"),
    Golden("ollama", (0, 1), 2, "Hi there", 3, "usage"),
    Golden("tgi", (0, 1), 2, "Deep learning", 2, "usage", "length"),
    Golden("sglang", (1, 2, 3), 4, "AB", 4, "usage", "stop", "Hm.", 1, answer=2),
    Golden("crlf", (1, 2, 3), 3, "a b é", 3, "usage"),
    Golden("comments", (4, 6), 9, "ab", 2, "chunks"),
    Golden("event_names_and_ids", (0, 1), 2, "ab", 2, "chunks", "[DONE]"),
    Golden("several_data_lines", (0, 1), 1, "ab", 2, "chunks"),
    Golden("no_done", (1, 2), 3, "ab", 2, "usage"),
    Golden("only_done", (0, 1), 2, "ab", 2, "chunks", "[DONE]"),
    Golden("finish_in_last_token_chunk", (0, 1), 1, "ab", 2, "chunks"),
    Golden("usage_with_finish", (0, 1), 2, "ab", 3, "usage"),
    Golden("empty_answer", (), 1, "", 0, "usage"),
    Golden("done_without_blank_line", (1, 2), 3, "ab", 2, "chunks", "[DONE]"),
    Golden("two_choices", (2, 3, 4), 6, "a", 3, "usage", choices="011"),
    Golden("parts", (1, 2), 2, "abc", 3, "usage"),
    Golden("azure_filter", (2, 3), 4, "ab", 2, "usage"),
    Golden(
        "simulator_comments_crlf", (3, 5, 7, 9), 9, " 你好 to", 4, "usage", "length", " machine said", 2, answer=7
    ),
    Golden("simulator_reasoning", (1, 2, 3, 4), 4, " 你好 to", 4, "chunk_usage", "length", " machine said", 2, answer=3),
    Golden(
        "simulator_error", (1, 2), 3, "", 2, "chunks", "[DONE]", " machine said", outcome="error_event",
        error="the engine died in the middle of this answer (simulated)",
    ),
    Golden(
        "error_in_stream", (1, 2), 3, "ab", 2, "chunks", "[DONE]", outcome="error_event",
        error="The server had an error processing request …",
    ),
    Golden("error_vllm", (1,), 2, "a", 1, "chunks", "[DONE]", outcome="error_event", error=OF_VLLM),
    Golden("error_event_name", (1,), 2, "a", 1, "chunks", "", outcome="error_event", error="upstream went away"),
    Golden("error_event_plain", (0,), 1, "a", 1, "chunks", "", outcome="error_event", error="worker … died"),
    Golden(
        "error_tgi", (0,), 1, "a", 1, "chunks", "", outcome="out_of_memory",
        error="Request failed during generation: CUDA out of memory. Tried to allocate … GiB",
    ),
    Golden("think_tags", (1, 2, 3, 4, 5, 6), 7, "\n\nYes.", 7, "usage", reasoning="Hmm.", answer=5),
    Golden("think_end_only", (0, 1, 2), 2, "Yes.", 3, "chunks", reasoning="Hm.", answer=2),
    Golden("think_cut", (0, 1), 1, "", 2, "chunks", "length", reasoning="Hmm"),
    Golden("logprobs", (1, 2), 3, "Hi", 7, "usage"),
    Golden("json_schema", (0, 1), 2, '{"age": 22}', 7, "usage"),
    Golden("function_call", (0, 1), 2, "", 7, "usage", "function_call"),
    Golden("anthropic", (3, 4), 6, "Hello wörld", 15, "usage", "end_turn", dialect_name="anthropic"),
    Golden(
        "anthropic_thinking_and_tool", (2, 3, 7, 9, 11, 12), 14, "I ask.", 89, "usage", "tool_use", "Let me see.",
        answer=7, dialect_name="anthropic",
    ),
    Golden(
        "anthropic_error", (2,), 3, "a", 1, "chunks", "", outcome="error_event", error="Overloaded", dialect_name="anthropic"
    ),
    Golden("anthropic_litellm", (2, 3, 4, 5), 7, " machine said 你好 to", 4, "usage", "max_tokens", dialect_name="anthropic"),
    Golden(
        "responses", (3, 6, 7), 10, "Hi there!", 11, "usage", "completed", "Greet.", 4, answer=6,
        dialect_name="openai-responses",
    ),
    Golden(
        "responses_tool", (1, 2, 3), 5, "", 11, "usage", "max_output_tokens", reasoning_tokens=4,
        dialect_name="openai-responses",
    ),
    Golden(
        "responses_failed", (1,), 2, "a", 1, "chunks", "", outcome="error_event",
        error="The model failed to generate a response.", dialect_name="openai-responses",
    ),
    Golden(
        "responses_error", (1,), 2, "a", 1, "chunks", "", outcome="error_event", error="Something went wrong",
        dialect_name="openai-responses",
    ),
    Golden(
        "responses_litellm", (4, 5, 6, 7), 11, " machine said 你好 to", 4, "usage", "max_output_tokens",
        reasoning_tokens=0, dialect_name="openai-responses",
    ),
    Golden("ollama_chat", (0, 1, 2), 3, "Grüß dich", 6, "usage", reasoning="Hm", answer=1, dialect_name="ollama-chat"),
    Golden("ollama_chat_tool", (0,), 1, "", 6, "usage", dialect_name="ollama-chat"),
    Golden("ollama_generate", (0, 1), 2, "The sky", 6, "usage", "length", dialect_name="ollama-generate"),
    Golden(
        "ollama_error", (0,), 1, "a", 1, "chunks", "", outcome="out_of_memory", dialect_name="ollama-generate",
        error="an error was encountered while running the model: CUDA error: out of memory",
    ),
    Golden("tgi_generate", (0, 1), 2, " Deep lear", 3, "usage", "eos_token", dialect_name="tgi"),
    Golden(
        "tgi_generate_error", (0,), 1, " Deep", 1, "chunks", "", outcome="out_of_memory", dialect_name="tgi",
        error="Request failed during generation: Server error: CUDA out of memory",
    ),
    Golden("llamacpp_completion", (0, 1), 2, "Once upon", 2, "usage", "limit", dialect_name="llamacpp"),
    Golden(
        "llamacpp_completion_error", (0,), 1, "Once", 1, "chunks", "", outcome="error_event",
        error="context shift is disabled", dialect_name="llamacpp",
    ),
    Golden("gradio", (0, 1, 3), 4, "Once upon a time", 3, "chunks", "complete", dialect_name="gradio"),
    Golden("gradio_whole", (0,), 0, "Echo: hi", 1, "chunks", "complete", dialect_name="gradio"),
    Golden("gradio_chatbot", (0, 1), 1, "Hey", 2, "chunks", "complete", dialect_name="gradio"),
    Golden(
        "gradio_error", (0,), 1, "Once", 1, "chunks", "", outcome="out_of_memory", error="out of memory on purpose",
        dialect_name="gradio",
    ),
    Golden(
        "gradio_silent_error", (), 0, "", None, "", "", outcome="error_event", error="the app failed without a message",
        dialect_name="gradio",
    ),
]  # fmt: skip

every_golden = pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.file)


def ends_of(body: bytes) -> list[int]:
    """Return the end of each event: after its blank line. Slow and plain, without the code under test."""
    ends, offset = [], 0
    for line in body.splitlines(keepends=True):
        offset += len(line)
        if line in (b"\n", b"\r\n"):
            ends.append(offset)
    return ends if ends[-1] == len(body) else [*ends, len(body)]


def expected_arrival(end: int, reads: list[int]) -> float:
    """Return the arrival of the bytes up to `end`, if the first read came after 1 ms, the second after 2, …"""
    return next(number for number, read_end in enumerate(reads, 1) if read_end >= end) * MS


def without_times(record: Record) -> dict[str, object]:
    return {name: value for name, value in msgspec.structs.asdict(record).items() if name not in _TIMES}


def test_every_golden_stream_is_in_the_table():
    files = [*GOLDEN.glob("*.sse"), *GOLDEN.glob("*.ndjson")]
    assert {file.stem for file in files} == {golden.file for golden in GOLDENS}


def test_every_dialect_that_streams_has_a_golden_stream():
    assert {dialect.name for dialect in DIALECTS if dialect.streams} == {golden.dialect_name for golden in GOLDENS}


@every_golden
def test_a_golden_stream_gives_the_record_of_the_table(golden):
    ends = golden.ends
    record = golden.read(timeline_of(golden.body, ends))
    arrivals = [(chunk + 1) * MS for chunk in golden.chunks]
    answer = golden.answer if golden.answer is not None else (golden.chunks or (None,))[0]
    has_answer = answer is not None and (golden.text or not golden.reasoning)
    assert record == Record(
        name="golden",
        outcome=golden.outcome,
        error=golden.error,
        words=record.words,
        status=200,
        sent=5.0,
        duration=pytest.approx((len(ends) + 1) * MS),
        e2e=pytest.approx(arrivals[-1]) if arrivals else None,
        ttft=pytest.approx(arrivals[0]) if arrivals else None,
        ttfo=pytest.approx((answer + 1) * MS) if has_answer else None,
        tpot=record.tpot,
        arrivals=pytest.approx(arrivals),
        itls=pytest.approx(golden.itls),
        input_tokens=record.input_tokens,
        output_tokens=golden.tokens,
        reasoning_tokens=golden.reasoning_tokens,
        token_source=golden.source,
        finish=golden.finish,
        size=len(golden.body),
        lags=[0.0] * len(ends),
        lag_max=0.0,
        lag_max_at=pytest.approx(MS),
        clock="user",
        text=golden.text,
        reasoning=golden.reasoning,
    )


@every_golden
def test_a_cut_between_two_reads_changes_nothing_but_times(golden):
    body, ends = golden.body, golden.ends
    expected = without_times(golden.read(timeline_of(body)))
    for cut in range(1, len(body)):
        record = golden.read(timeline_of(body, [cut]))
        assert without_times(record) == expected
        arrivals = [expected_arrival(ends[chunk], [cut, len(body)]) for chunk in golden.chunks]
        assert record.arrivals == pytest.approx(arrivals)
        assert record.coalesced == len(arrivals) - len(set(arrivals))


@every_golden
def test_read_byte_by_byte_each_chunk_arrives_with_its_last_byte(golden):
    body, ends = golden.body, golden.ends
    record = golden.read(timeline_of(body, range(1, len(body))))
    assert record.arrivals == pytest.approx([ends[chunk] * MS for chunk in golden.chunks])
    assert record.coalesced == 0


@every_golden
def test_a_stream_cut_off_after_any_byte_is_truncated_until_its_end_is_known(golden):
    body, ends = golden.body, golden.ends
    end_known = ends[golden.end] if body.endswith((b"\n\n", b"\r\n\r\n")) or golden.lines else len(body) + 1
    for cut in range(len(body)):
        record = golden.read(timeline_of(body[:cut], complete=False, failure="truncated", detail="cut"))
        assert (record.outcome, record.chunks) == (
            golden.outcome if cut >= end_known else "truncated",
            sum(ends[chunk] <= cut for chunk in golden.chunks),
        )


@every_golden
def test_a_stream_closed_properly_after_any_byte_is_never_a_bad_stream(golden):
    body, ends = golden.body, golden.ends
    for cut in range(len(body)):
        record = golden.read(timeline_of(body[:cut]))
        outcomes = {golden.outcome} if cut >= ends[golden.end] else {"truncated", golden.outcome}
        if golden.outcome == "out_of_memory":
            outcomes.add("error_event")  # its message was cut
        assert record.outcome in outcomes
        assert record.chunks >= sum(ends[chunk] <= cut for chunk in golden.chunks)


@every_golden
def test_the_first_token_is_found_with_its_last_byte(golden):
    body, ends = golden.body, golden.ends
    first = ends[golden.chunks[0]] if golden.chunks else len(body) + 1
    for cut in range(len(body) + 1):
        assert has_token(golden.dialect, body[:cut]) == (cut >= first)


DOCUMENTS = {
    # text, reasoning, finish, output tokens, reasoning tokens, outcome, error; and the dialect, if it is another
    "openai_chat": ("Hello wörld", "", "stop", 2, 0, "ok", ""),
    "reasoning": ("42", "Let me think.", "stop", 6, 4, "ok", ""),
    "completions": (" upon a time", "", "length", 3, None, "ok", ""),
    "no_usage": ("Hi", "", "[DONE]", None, None, "ok", ""),
    "error": ("", "", "", None, None, "error_event", "Rate limited, try again in …"),
    "fastapi": ("", "", "", None, None, "error_event", "Model not loaded"),
    "anthropic": ("Hi! My name is Claude.", "Hm.", "end_turn", 503, None, "ok", "", "anthropic"),
    "anthropic_error": ("", "", "", None, None, "error_event", "max_tokens: Field required", "anthropic"),
    "responses": ("Hi there!", "Greet.", "completed", 11, 4, "ok", "", "openai-responses"),
    "ollama_chat": ("Hello!", "", "stop", 6, None, "ok", "", "ollama-chat"),
    "ollama_error": ("", "", "", None, None, "error_event", "model '…' not found", "ollama-generate"),
    "tgi_generate": (" Deep learning", "", "length", 2, None, "ok", "", "tgi"),
    "llamacpp_completion": ("Once upon", "", "eos", 2, None, "ok", "", "llamacpp"),
    "gradio_run": ("Echo: hi", "", "[DONE]", None, None, "ok", "", "gradio-run"),
    "gradio_run_error": ("", "", "", None, None, "out_of_memory", "out of memory on purpose", "gradio-run"),
    "embeddings": ("", "", "stop", None, None, "ok", "", "openai-embeddings"),
    "rerank_vllm": ("", "", "stop", None, None, "ok", "", "rerank"),
    "rerank_cohere": ("", "", "stop", None, None, "ok", "", "rerank"),
    "rerank_error": ("", "", "", None, None, "error_event", "invalid api token", "rerank"),
}


def dialect_of(name: str) -> Dialect:
    return named((*DOCUMENTS[name], "openai-chat")[7])


def document(name: str) -> bytes:
    return (GOLDEN / f"{name}.json").read_bytes()


def test_every_golden_document_is_in_the_table():
    assert {file.stem for file in GOLDEN.glob("*.json")} == set(DOCUMENTS)


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "", "text/event-stream"]
)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_gives_the_record_of_the_table_with_any_content_type(name, content_type):
    record = read(timeline_of(document(name), [5], content_type=content_type), dialect_of(name))
    values = (record.text, record.reasoning, record.finish, record.output_tokens, record.reasoning_tokens)
    assert (*values, record.outcome, record.error) == DOCUMENTS[name][:7]


@pytest.mark.parametrize(
    "name, tokens", [("embeddings", 8), ("rerank_vllm", 56), ("rerank_cohere", 31), ("anthropic", 2095)]
)
def test_a_document_has_its_number_of_input_tokens(name, tokens):
    assert read(timeline_of(document(name), content_type="application/json"), dialect_of(name)).input_tokens == tokens


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_has_an_end_but_no_first_token(name):
    record = read(timeline_of(document(name), [5], content_type="application/json"), dialect_of(name))
    assert (record.e2e, record.ttft, record.ttfo, record.tpot, record.arrivals) == (
        pytest.approx(2 * MS), None, None, None, [],
    )  # fmt: skip


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_cut_after_any_byte_is_truncated(name, complete):
    body = document(name)
    for cut in range(len(body)):
        timeline = timeline_of(body[:cut], content_type="application/json", complete=complete)
        timeline.failure = "" if complete else "truncated"
        assert read(timeline, dialect_of(name)).outcome == "truncated"


@every_golden
def test_a_stream_read_in_slices_gives_the_same_record(golden, monkeypatch):
    """The bytes come in single reads, and small slices are taken in between."""
    monkeypatch.setattr(reading, "SLICE", 200)
    full = timeline_of(golden.body, golden.ends)
    expected = golden.read(timeline_of(golden.body, golden.ends))

    growing = timeline_of(b"")
    growing.ended_ns = full.ended_ns
    reader = reading.Reading(golden.dialect, name="golden")
    begin = 0
    for end, moment in zip(full.ends, full.times, strict=True):
        growing.body += golden.body[begin:end]
        growing.ends.append(len(growing.body))
        growing.times.append(moment)
        growing.lags.append(0)
        growing.polls.append(Poll(moment, moment, moment))
        begin = end
        while reader.take(growing):
            pass

    assert reader.finish(growing) == expected
    assert len(growing.body) < len(golden.body) or len(golden.body) <= 400


MILLISECONDS = st.floats(0.0, 200.0)


@settings(max_examples=300, deadline=None)
@given(golden=st.sampled_from(GOLDENS), data=st.data())
def test_the_times_of_a_record_are_consistent_for_any_times_of_reads(golden, data):
    ends = golden.ends
    after = sorted(data.draw(st.lists(MILLISECONDS, min_size=len(ends) + 1, max_size=len(ends) + 1)))
    windows = data.draw(st.lists(MILLISECONDS, min_size=len(ends), max_size=len(ends)))
    count = len(timeline_of(golden.body, ends).times)
    record = golden.read(timeline_of(golden.body, ends, after=after[:count], windows=windows[:count]))

    assert record.contradicts == ""
    assert_is_consistent(record)


@settings(max_examples=300, deadline=None)
@given(golden=st.sampled_from(GOLDENS), data=st.data())
def test_a_record_is_consistent_if_the_clock_jumps(golden, data):
    """The time stamps of reads are before the request, after its end, or out of order."""
    ends = golden.ends
    count = len(timeline_of(golden.body, ends).times)
    timeline = timeline_of(golden.body, ends)
    timeline.times[:] = [
        SENT + round(ms * 1e6) for ms in data.draw(st.lists(st.floats(-3e6, 3e6), min_size=count, max_size=count))
    ]
    assert_is_consistent(golden.read(timeline))


def assert_is_consistent(record):
    times = [t for t in (record.ttft, record.ttfo, record.e2e) if t is not None]
    slack = 0.0 if record.contradicts else 0.01
    for earlier, later in pairwise([0.0, *times, record.duration]):
        assert earlier <= later + slack
    assert min(record.itls, default=0.0) >= -slack
    assert record.chunks == len(record.arrivals)
    assert record.output_tokens is None or record.output_tokens >= 0
