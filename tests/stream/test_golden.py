"""Answers as servers send them (golden/), whole, in pieces, and cut off after every byte."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from llmlocust.stream import reading
from llmlocust.stream.dialects.openai import OpenAIChat, OpenAICompletions
from llmlocust.stream.reading import has_token, read
from llmlocust.stream.record import Record
from llmlocust.stream.timeline import Look
from tests.stream.timelines import timeline_of

GOLDEN = Path(__file__).parent / "golden"
MS = 1e-3
_TIMES = {
    "sent",
    "duration",
    "e2e",
    "ttft",
    "answer",
    "tpot",
    "arrivals",
    "gaps",
    "stalls",
    "coalesced",
    "coalesced_at",
    "lags",
    "lag_max",
}


@dataclass(frozen=True)
class Golden:
    """A recorded stream and what it must be read as. Events are numbered by the blank lines that end them, from 0."""

    file: str
    chunks: tuple[int, ...]
    """The events that bring tokens."""
    end: int
    """The first event after which the answer is known to have ended, well or not."""
    text: str
    tokens: int | None
    source: str
    finish: str = "stop"
    reasoning: str = ""
    reasoning_tokens: int | None = None
    answer: int | None = None
    """The first event that brings some of the answer itself, where it is not the first of `chunks`."""
    outcome: str = "ok"
    error: str = ""
    completions: bool = False

    @property
    def body(self) -> bytes:
        return (GOLDEN / f"{self.file}.sse").read_bytes()

    @property
    def dialect(self) -> OpenAIChat | OpenAICompletions:
        return OpenAICompletions() if self.completions else OpenAIChat()

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
    Golden("completions", (0, 1, 2), 2, "Once upon a time", 3, "usage", "length", completions=True),
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
    Golden("two_choices", (2, 3, 4), 5, "aAB", 3, "usage"),
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
]  # fmt: skip

every_golden = pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.file)


def ends_of(body: bytes) -> list[int]:
    """Where each event ends: behind its blank line. Slow, plain, and none of the code under test."""
    ends, offset = [], 0
    for line in body.splitlines(keepends=True):
        offset += len(line)
        if line in (b"\n", b"\r\n"):
            ends.append(offset)
    return ends if ends[-1] == len(body) else [*ends, len(body)]


def arrival_by_hand(end: int, reads: list[int]) -> float:
    """When what ends there was known, if the first read came after 1 ms, the second after 2, …"""
    return next(number for number, read_end in enumerate(reads, 1) if read_end >= end) * MS


def without_times(record: Record) -> dict[str, object]:
    return {name: value for name, value in msgspec.structs.asdict(record).items() if name not in _TIMES}


def test_every_golden_stream_is_in_the_table():
    assert {file.stem for file in GOLDEN.glob("*.sse")} == {golden.file for golden in GOLDENS}


@every_golden
def test_a_golden_stream_is_read_as_the_table_says(golden):
    ends = ends_of(golden.body)
    record = golden.read(timeline_of(golden.body, ends))
    arrivals = [(chunk + 1) * MS for chunk in golden.chunks]
    answer = golden.answer if golden.answer is not None else (golden.chunks or (None,))[0]
    has_answer = answer is not None and (golden.text or golden.finish == "tool_calls")
    assert record == Record(
        name="golden",
        outcome=golden.outcome,
        error=golden.error,
        status=200,
        sent=5.0,
        duration=pytest.approx((len(ends) + 1) * MS),
        e2e=pytest.approx(arrivals[-1]) if arrivals else None,
        ttft=pytest.approx(arrivals[0]) if arrivals else None,
        answer=pytest.approx((answer + 1) * MS) if has_answer else None,
        tpot=record.tpot,
        arrivals=pytest.approx(arrivals),
        gaps=pytest.approx([later - earlier for earlier, later in pairwise(arrivals)]),
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
    body, ends = golden.body, ends_of(golden.body)
    whole = without_times(golden.read(timeline_of(body)))
    for cut in range(1, len(body)):
        record = golden.read(timeline_of(body, [cut]))
        assert without_times(record) == whole
        by_hand = [arrival_by_hand(ends[chunk], [cut, len(body)]) for chunk in golden.chunks]
        assert record.arrivals == pytest.approx(by_hand)
        assert record.coalesced == len(by_hand) - len(set(by_hand))


@every_golden
def test_byte_by_byte_each_chunk_arrives_with_its_last_byte(golden):
    body, ends = golden.body, ends_of(golden.body)
    record = golden.read(timeline_of(body, range(1, len(body))))
    assert record.arrivals == pytest.approx([ends[chunk] * MS for chunk in golden.chunks])
    assert record.coalesced == 0


@every_golden
def test_cut_off_after_any_byte_it_is_truncated_until_its_end_is_known(golden):
    body, ends = golden.body, ends_of(golden.body)
    known = ends[golden.end] if body.endswith((b"\n\n", b"\r\n\r\n")) else len(body) + 1
    for cut in range(len(body)):
        record = golden.read(timeline_of(body[:cut], complete=False, failure="truncated", detail="cut"))
        assert (record.outcome, record.chunks) == (
            golden.outcome if cut >= known else "truncated",
            sum(ends[chunk] <= cut for chunk in golden.chunks),
        )


@every_golden
def test_closed_properly_after_any_byte_it_is_never_a_bad_stream(golden):
    body, ends = golden.body, ends_of(golden.body)
    for cut in range(len(body)):
        record = golden.read(timeline_of(body[:cut]))
        outcomes = {golden.outcome} if cut >= ends[golden.end] else {"truncated", golden.outcome}
        assert record.outcome in outcomes
        assert record.chunks >= sum(ends[chunk] <= cut for chunk in golden.chunks)


@every_golden
def test_the_first_token_is_seen_with_its_last_byte(golden):
    body, ends = golden.body, ends_of(golden.body)
    first = ends[golden.chunks[0]] if golden.chunks else len(body) + 1
    for cut in range(len(body) + 1):
        assert has_token(golden.dialect, body[:cut]) == (cut >= first)


DOCUMENTS = {
    # text, reasoning, finish, output tokens, reasoning tokens, outcome, error
    "openai_chat": ("Hello wörld", "", "stop", 2, 0, "ok", ""),
    "reasoning": ("42", "Let me think.", "stop", 6, 4, "ok", ""),
    "completions": (" upon a time", "", "length", 3, None, "ok", ""),
    "no_usage": ("Hi", "", "[DONE]", None, None, "ok", ""),
    "error": ("", "", "", None, None, "error_event", "Rate limited, try again in …"),
    "fastapi": ("", "", "", None, None, "error_event", "Model not loaded"),
}


def document(name: str) -> bytes:
    return (GOLDEN / f"{name}.json").read_bytes()


def test_every_golden_document_is_in_the_table():
    assert {file.stem for file in GOLDEN.glob("*.json")} == set(DOCUMENTS)


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "", "text/event-stream"]
)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_read_as_the_table_says_whatever_it_calls_itself(name, content_type):
    record = read(timeline_of(document(name), [5], content_type=content_type), OpenAIChat())
    said = (record.text, record.reasoning, record.finish, record.output_tokens, record.reasoning_tokens)
    assert (*said, record.outcome, record.error) == DOCUMENTS[name]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_has_an_end_but_no_first_token(name):
    record = read(timeline_of(document(name), [5], content_type="application/json"), OpenAIChat())
    assert (record.e2e, record.ttft, record.answer, record.tpot, record.arrivals) == (
        pytest.approx(2 * MS), None, None, None, [],
    )  # fmt: skip


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_cut_after_any_byte_is_truncated(name, complete):
    body = document(name)
    for cut in range(len(body)):
        timeline = timeline_of(body[:cut], content_type="application/json", complete=complete)
        timeline.failure = "" if complete else "truncated"
        assert read(timeline, OpenAIChat()).outcome == "truncated"


@every_golden
def test_a_stream_that_is_read_in_slices_comes_to_the_same(golden, monkeypatch):
    """Its bytes come read by read, and slices are taken meanwhile; small ones, so that there are many."""
    monkeypatch.setattr(reading, "SLICE", 200)
    full = timeline_of(golden.body, ends_of(golden.body))
    whole = golden.read(timeline_of(golden.body, ends_of(golden.body)))

    growing = timeline_of(b"")
    growing.ended_ns = full.ended_ns
    made = reading.Reading(golden.dialect, name="golden")
    begin = 0
    for end, moment in zip(full.ends, full.times, strict=True):
        growing.body += golden.body[begin:end]
        growing.ends.append(len(growing.body))
        growing.times.append(moment)
        growing.lags.append(0)
        growing.looks.append(Look(moment, moment, moment))
        begin = end
        while made.take(growing):
            pass

    assert made.finish(growing) == whole
    assert len(growing.body) < len(golden.body) or len(golden.body) <= 400
