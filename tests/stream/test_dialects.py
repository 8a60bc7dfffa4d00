"""Requests of each dialect, and answers that it does not expect. Most tests apply to all dialects."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.metrics.vocabulary import ERROR_KINDS
from llmlocust.stream import ndjson, sse
from llmlocust.stream.ask import Ask
from llmlocust.stream.delta import ANSWER, Delta
from llmlocust.stream.dialects import DIALECTS, Dialect, named
from llmlocust.stream.reading import read
from llmlocust.stream.sse import Event
from tests.simulators import ROOT
from tests.stream.timelines import timeline_of

NAMES = [dialect.name for dialect in DIALECTS]
GOLDEN = Path(__file__).parent / "golden"
PIXEL = "data:image/png;base64,aGVsbG8="
PICTURE = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL}}],
    },
]
TEXT_ONLY = (
    "openai-completions",
    "ollama-generate",
    "llamacpp",
    "tgi",
    "gradio",
    "gradio-run",
    "rerank",
    "openai-embeddings",
    "cohere-embed",
    "tei-embed",
    "tei-rerank",
)

every_dialect = pytest.mark.parametrize("name", NAMES)


def body_of(name: str, **fields) -> dict:
    return json.loads(named(name).body(Ask(**fields)))


# ── requests ──

BODIES = {
    "openai-chat": {
        "model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9, "temperature": 0.5,
        "stream": True, "stream_options": {"include_usage": True},
    },
    "openai-completions": {
        "model": "m", "prompt": "Hi", "max_tokens": 9, "temperature": 0.5, "stream": True,
        "stream_options": {"include_usage": True},
    },
    "openai-responses": {
        "model": "m", "input": [{"role": "user", "content": "Hi"}], "max_output_tokens": 9, "temperature": 0.5,
        "stream": True,
    },
    "anthropic": {
        "model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9, "temperature": 0.5, "stream": True,
    },
    "ollama-chat": {
        "model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True,
        "options": {"num_predict": 9, "temperature": 0.5},
    },
    "ollama-generate": {
        "model": "m", "prompt": "Hi", "stream": True, "options": {"num_predict": 9, "temperature": 0.5},
    },
    "llamacpp": {"prompt": "Hi", "n_predict": 9, "temperature": 0.5, "stream": True},
    "tgi": {"inputs": "Hi", "parameters": {"details": True, "max_new_tokens": 9, "temperature": 0.5}},
    "gradio": {"data": ["Hi"]},
    "gradio-run": {"data": ["Hi"]},
    "openai-embeddings": {"model": "m", "input": ["Hi"]},
    "rerank": {"model": "m", "query": "Hi", "documents": ["Hi"]},
    "cohere-embed": {"model": "m", "texts": ["Hi"], "input_type": "search_document", "embedding_types": ["float"]},
    "tei-embed": {"model": "m", "inputs": ["Hi"]},
    "tei-rerank": {"model": "m", "query": "Hi", "texts": ["Hi"]},
}  # fmt: skip


@every_dialect
def test_the_body_of_a_request(name):
    assert body_of(name, prompt="Hi", model="m", max_tokens=9, temperature=0.5) == BODIES[name]


@every_dialect
def test_a_conversation_has_the_body_of_a_prompt_with_its_extra_fields(name):
    body = body_of(
        name, messages=[{"role": "user", "content": "Hi"}], model="m", max_tokens=9, temperature=0.5, extra={"x": 1}
    )
    assert body == BODIES[name] | {"x": 1}


def test_nested_fields_are_merged():
    options = body_of("ollama-chat", prompt="Hi", max_tokens=9, extra={"options": {"top_k": 1}})["options"]
    assert options == {"num_predict": 9, "top_k": 1}
    assert body_of("gradio", prompt="Hi", extra={"data": [0.7, "{prompt}", None]}) == {"data": [0.7, "Hi", None]}


def test_an_image_has_the_form_of_each_dialect():
    text = {"type": "text", "text": "What is it?"}
    assert body_of("openai-chat", messages=PICTURE)["messages"] == PICTURE
    claude = body_of("anthropic", messages=PICTURE)
    source = {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}
    assert claude["system"] == "Be brief."
    assert claude["messages"] == [{"role": "user", "content": [text, {"type": "image", "source": source}]}]
    (_, question) = body_of("openai-responses", messages=PICTURE)["input"]
    parts = [{"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": PIXEL}]
    assert question["content"] == parts
    (_, question) = body_of("ollama-chat", messages=PICTURE)["messages"]
    assert question == {"role": "user", "content": "What is it?", "images": ["aGVsbG8="]}


@pytest.mark.parametrize("name", TEXT_ONLY)
def test_an_image_in_a_dialect_of_text_only_is_an_error(name):
    with pytest.raises(ValueError, match="takes text only"):
        named(name).body(Ask(messages=PICTURE))


def test_the_address_of_an_image_is_sent_if_servers_download_images():
    part = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    messages = [{"role": "user", "content": [part]}]
    (block,) = body_of("anthropic", messages=messages)["messages"][0]["content"]
    assert block == {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    with pytest.raises(ValueError, match="does not download images"):
        named("ollama-chat").body(Ask(messages=messages))


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[1]", b'{"event_id": "../../etc"}', b'{"event_id": ""}', b'{"event_id": 5}']
)
def test_an_invalid_event_id_is_not_fetched(body):
    assert named("gradio").events_path(Ask(), body) is None


# ── unexpected answers ──

HTTP_ERRORS = {
    "openai-chat": b'{"error": {"message": "Over the limit", "type": "rate_limit", "param": null, "code": null}}',
    "anthropic": b'{"type": "error", "error": {"type": "overloaded_error", "message": "Over the limit"}}',
    "ollama-chat": b'{"error": "Over the limit"}',
    "tgi": b'{"error": "Over the limit", "error_type": "overloaded"}',
    "llamacpp": b'{"error": {"code": 503, "message": "Over the limit", "type": "unavailable_error"}}',
    "gradio": b'{"detail": "Over the limit"}',
    "rerank": b'{"message": "Over the limit"}',
}
STATUSES = {
    400: "http_4xx",
    413: "http_4xx",
    429: "http_429",
    500: "http_5xx",
    503: "http_503",
    504: "http_504",
    529: "http_5xx",
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", HTTP_ERRORS)
def test_an_http_error_of_each_dialect_is_a_failure_with_its_message(name, status):
    timeline = timeline_of(HTTP_ERRORS[name], status=status, content_type="application/json")
    record = read(timeline, named(name))

    assert (record.outcome, record.error) == (STATUSES[status], f"HTTP {status}: Over the limit")


@pytest.mark.parametrize("content_type", ["", "text/html", "text/plain", "application/json", "application/octet-stream",
                                          "text/event-stream", "application/x-ndjson"])  # fmt: skip
@pytest.mark.parametrize(
    "body", [b"", b"<h1>Welcome</h1>", b"{}", b"[]", b"null", b"data: {}\n\n", b'{"a": 1}\n{"b": 2}\n', b"\xff\n\n"]
)
@every_dialect
def test_a_body_that_is_no_answer_is_a_failure_with_any_content_type(name, body, content_type):
    record = read(timeline_of(body, content_type=content_type), named(name))

    assert record.outcome in ("bad_stream", "truncated", "empty_answer")
    assert record.error
    assert record.chunks == 0


@pytest.mark.parametrize(
    "golden", [*GOLDEN.glob("*.sse"), *GOLDEN.glob("*.ndjson"), *GOLDEN.glob("*.json")], ids=lambda file: file.name
)
@every_dialect
def test_an_answer_of_another_protocol_has_a_known_outcome(name, golden):
    for content_type in ("text/event-stream", "application/json"):
        record = read(timeline_of(golden.read_bytes(), content_type=content_type), named(name))
        assert record.outcome == "ok" or record.outcome in ERROR_KINDS
        assert bool(record.error) == (record.outcome != "ok")


class Faulty(Dialect):
    name = "faulty"
    path = "/x"

    def body(self, ask):
        return b"{}"

    def pieces(self, deltas, chunk, event):
        deltas.append(Delta(ANSWER, event.end, chunk["text"]))


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json"])
def test_an_error_in_a_users_dialect_loses_no_request(content_type):
    body = b'data: {"text": "a"}\n\ndata: {}\n\n' if "stream" in content_type else b"{}"
    record = read(timeline_of(body, content_type=content_type), Faulty())

    assert (record.outcome, record.error) == ("bad_stream", "faulty cannot read a chunk: KeyError('text')")
    assert record.text == ("a" if "stream" in content_type else "")


def test_the_dialect_in_the_docs_is_that_of_the_example():
    page, example = ((ROOT / file).read_text() for file in ("docs/dialects.md", "locustfiles/dialects.py"))
    dialect_in_docs = page[page.index("class Own(") :].partition("```")[0].strip()
    assert dialect_in_docs in example
    assert all(f"`{name}`" in page for name in NAMES)


# ── frames ──

LINE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=9)


@given(st.lists(st.tuples(LINE.map(str.strip).filter(bool), LINE), max_size=5), st.sampled_from(["data: ", "data:"]))
def test_named_frames_are_read_by_the_fast_path(frames, prefix):
    body = "".join(f"event: {name}\n{prefix}{data}\n\n" for name, data in frames).encode()
    events = sse._plain(body)

    expected = [(name, data.removeprefix(" ") if prefix == "data:" else data) for name, data in frames]
    assert events is not None
    assert [(event.kind, event.data.decode()) for event in events] == expected
    assert all(body[: event.end].endswith(b"\n\n") for event in events)


@given(st.lists(LINE.map(str.strip).filter(bool), max_size=6), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_lines_are_events_and_a_cut_line_is_not_complete(lines, ending):
    body = "".join(line + ending for line in lines).encode()
    all_events = ndjson.events(body)

    assert [event.data.decode().strip() for event in all_events] == lines
    for cut in range(len(body)):
        assert ndjson.events(body[:cut], complete=False) == [event for event in all_events if event.end <= cut]


@given(st.binary(max_size=40), st.booleans())
def test_lines_of_any_bytes_raise_no_error(body, complete):
    events = ndjson.events(body, complete=complete)
    assert all(isinstance(event, Event) and event.data in body for event in events)
