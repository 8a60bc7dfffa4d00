"""Answers of real servers by kinds: each table has members of a kind and their expected records."""

import json

import pytest

from llmlocust.stream.ask import Ask
from llmlocust.stream.dialects import named
from llmlocust.stream.reading import has_token, read
from llmlocust.stream.record import OK, Record
from tests.stream.timelines import timeline_of

MS = 1e-3
JSON, STREAM = "application/json", "text/event-stream"


def data(value: object) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def delta(piece: dict, finish: object = None, **more) -> bytes:
    return data({"choices": [{"index": 0, "delta": piece, "finish_reason": finish}], **more})


def word(text: str, finish: object = None, **more) -> bytes:
    return delta({"content": text}, finish, **more)


def last(finish: object = "stop", **more) -> bytes:
    return delta({}, finish, **more)


DONE = data(b"[DONE]")
USAGE = {"prompt_tokens": 5, "completion_tokens": 3}
A, B = word("a "), word("b ")


def stream(*pieces: bytes, dialect: str = "openai-chat", ask: Ask | None = None, **more) -> Record:
    """Read a stream whose pieces arrive in separate reads, 1, 2, 3, … ms after sending."""
    cuts = [len(b"".join(pieces[: number + 1])) for number in range(len(pieces))]
    closed = more.pop("closed", False)
    timeline = timeline_of(b"".join(pieces), cuts, **more)
    timeline.closed = closed
    return read(timeline, named(dialect), ask=ask)


def document(body: object, dialect: str = "openai-chat", ask: Ask | None = None, status: int = 200) -> Record:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read(timeline_of(raw, content_type=JSON, status=status), named(dialect), ask=ask)


CUT = {"complete": False, "failure": "truncated", "detail": "the connection was closed in the middle of the answer"}
STALLED = {"complete": False, "failure": "timeout_stall", "detail": "nothing within 60 s"}
RESET = {"complete": False, "failure": "reset", "detail": "Connection reset by peer (ECONNRESET)"}


# ── 1: an end that was announced, but not reached ──

ENDS = {
    # a reason without a meaning
    "the word null, closed": ([word("a ", "null"), word("b ", "null")], {"closed": True}, "truncated"),
    "the word None, cut": ([word("a ", "None"), word("b ", "None")], CUT, "truncated"),
    "an empty word, stalled": ([word("a ", ""), word("b ", "")], STALLED, "timeout_stall"),
    "false, reset": ([word("a ", False), word("b ", False)], RESET, "reset"),
    "the word null, then a reason": ([word("a ", "null"), word("b ", "null"), last("length"), DONE], {}, OK),
    # a reason with every token
    "stop each time, closed": ([word("a ", "stop"), word("b ", "stop")], {"closed": True}, "truncated"),
    "stop each time, cut": ([word("a ", "stop"), word("b ", "stop")], CUT, "truncated"),
    "stop each time, stalled": ([word("a ", "stop"), word("b ", "stop")], STALLED, "timeout_stall"),
    "stop each time, reset": ([word("a ", "stop"), word("b ", "stop")], RESET, "reset"),
    "stop each time, whole by its framing": ([word("a ", "stop"), word("b ", "stop")], {}, OK),
    "stop each time, then [DONE]": ([word("a ", "stop"), word("b ", "stop"), DONE], CUT, OK),
    # a token follows the reason
    "a token behind the reason": ([A, last(), B], {}, "truncated"),
    "a token behind the reason, cut": ([A, last(), B], CUT, "truncated"),
    "a token behind [DONE]": ([A, DONE, B], {}, "truncated"),
    "a second reason behind it": ([A, last("tool_calls"), B, last("stop")], {}, OK),
    # the reason is the last information
    "no last chunk": ([A, last()], CUT, OK),
    "no last chunk, stalled": ([A, last()], STALLED, OK),
    "no last chunk, reset": ([A, word("b", "stop")], RESET, OK),
    "usage behind the reason": ([A, last(), data({"choices": [], "usage": USAGE})], CUT, OK),
    "keep-alives behind the reason": ([A, last(), b": ping\n\n", data(b": ping")], CUT, OK),
    # a reason that means a failure
    "cancelled": ([A, last("cancelled"), DONE], {}, "error_event"),
    "insufficient_system_resource": ([A, last("insufficient_system_resource"), DONE], {}, "error_event"),
    "network_error": ([A, last("network_error"), DONE], {}, "error_event"),
    # reasons in other shapes
    "an object": ([A, last({"type": "stop"})], CUT, OK),
    "a number": ([A, last(1)], CUT, OK),
}  # fmt: skip


@pytest.mark.parametrize("pieces, transport, outcome", ENDS.values(), ids=ENDS)
def test_an_answer_has_ended_if_its_end_is_the_last_information(pieces, transport, outcome):
    assert stream(*pieces, **transport).outcome == outcome


@pytest.mark.parametrize(
    "dialect, pieces",
    [
        ("ollama-chat", [b'{"message": {"content": "a"}, "done": true}\n', b'{"message": {"content": "b"}, "done": true}\n']),
        ("llamacpp", [data({"content": "a", "stop": True}), data({"content": "b", "stop": True})]),
        ("anthropic", [
            data({"type": "content_block_delta", "delta": {"text": "a"}}),
            data({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
            data({"type": "content_block_delta", "delta": {"text": "b"}}),
        ]),
    ],
)  # fmt: skip
def test_a_token_after_the_end_makes_an_answer_truncated_in_every_protocol(dialect, pieces):
    assert stream(*pieces, dialect=dialect, **CUT).outcome == "truncated"


def test_the_last_reason_is_kept():
    assert stream(word("a", "stop"), word("b", "null"), last("length"), DONE).finish == "length"
    assert stream(A, last("tool_calls"), B, last("stop"), DONE).finish == "stop"
    assert stream(A, word("b", "null"), DONE).finish == "[DONE]"


def choice(index: int, text: str, finish: str | None = None) -> dict:
    return {"index": index, "delta": {"content": text} if text else {}, "finish_reason": finish}


def test_each_of_several_answers_must_end():
    beginning = [data({"choices": [choice(0, "a"), choice(1, "b")]}), data({"choices": [choice(0, "", "stop")]})]
    assert stream(*beginning, **CUT).outcome == "truncated"
    assert stream(*beginning, data({"choices": [choice(1, "c")]}), **CUT).outcome == "truncated"
    assert stream(*beginning, data({"choices": [choice(1, "", "length")]}), **CUT).outcome == OK


# ── 2: words of the server that are no event ──

WORDS = {
    "the field error": (b'error: {"code": 500, "message": "context shift failed"}\n\n', "context shift failed"),
    "the field error, in words": (b"error: the model has crashed\n\n", "the model has crashed"),
    "the field Error": (b"Error: CUDA error\n\n", "CUDA error"),
    "bare JSON": (b'{"error": {"message": "the context is full"}}\n\n', "the context is full"),
    "bare JSON without its line's end": (b'{"error": "the context is full"}', "the context is full"),
    "bare JSON of another shape": (b'{"code": 503, "message": "busy"}\n', "busy"),
    "words of a proxy": (b"upstream connect error or disconnect/reset before headers\n", "upstream connect error or disconnect/reset before headers"),
    "a page": (b"<html><body>502 Bad Gateway</body></html>\n", "502 Bad Gateway"),
    "a stack": (b"Traceback (most recent call last):\n", "Traceback (most recent call last):"),
    "an event of words": (b"data: Error: model overloaded\n\n", "Error: model overloaded"),
    "an event of words in Chinese": ("data: 服务器繁忙，请稍后再试\n\n".encode(), "服务器繁忙，请稍后再试"),
    "an event that is a JSON text": (b'data: "internal server error"\n\n', "internal server error"),
    "an event of an error's shape": (data({"code": "Throttling", "message": "Requests rate limit exceeded"}), "Requests rate limit exceeded"),
    "success: false": (data({"success": False, "msg": "no quota"}), "no quota"),
    "an event called error": (b"event: error\ndata: gone\n\n", "gone"),
}  # fmt: skip


@pytest.mark.parametrize("behind", [b"", DONE, last() + DONE], ids=["cut", "[DONE]", "a reason"])
@pytest.mark.parametrize("piece, words", WORDS.values(), ids=WORDS)
def test_words_that_are_no_event_fail_the_request_and_are_in_the_record(piece, words, behind):
    if not piece.endswith(b"\n") and behind:
        piece += b"\n"
    record = stream(A, B, piece, behind) if behind else stream(A, B, piece, **CUT)
    assert (record.outcome, record.words, record.chunks) == ("error_event", words, 2)


@pytest.mark.parametrize(
    "dialect", ["openai-completions", "llamacpp", "tgi", "ollama-chat", "anthropic", "openai-responses"]
)
def test_words_that_are_no_event_are_in_the_record_in_every_protocol(dialect):
    record = stream(b'{"error": {"message": "the context is full"}}\n', b"\n", dialect=dialect)
    assert (record.outcome, record.words) == ("error_event", "the context is full")


@pytest.mark.parametrize("line", [b"meta: 5\n", b"X-Request-Id: 7\n", b"heartbeat\n", b"\t\n", b"data: processing\n\n"])
def test_other_lines_of_a_server_fail_no_answer_that_ends(line):
    assert stream(A, line, B, last()).outcome == OK


@pytest.mark.parametrize("line", [b"note: shutting down\n", b"data: shutting down\n\n"])
def test_the_last_words_of_an_answer_without_an_end_are_in_the_record(line):
    for behind in (b"", DONE):
        record = stream(A, line, behind)
        assert record.outcome == "truncated"
        assert record.words.endswith("its last words: " + line.decode().strip().removeprefix("data: "))


# ── 3: tokens that are reported, but not seen ──

CONTENTS = {
    "audio": ({"audio": {"id": "x", "transcript": "It is"}}, "", "It is"),
    "only sound": ({"audio": {"id": "x", "data": "UklGRg=="}}, "", ""),
    "reasoning_details": ({"content": "", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]}, "Hm.", ""),
    "reasoning that is hidden": ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "gAAA"}]}, "", ""),
    "a summary": ({"reasoning_details": [{"type": "reasoning.summary", "summary": "Hm."}]}, "Hm.", ""),
    "thinking": ({"thinking": "Hm."}, "Hm.", ""),
    "reasoning as an object": ({"reasoning": {"content": "Hm."}}, "Hm.", ""),
    "parts that think": ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]}, "Hm.", ""),
    "parts that reason": ({"content": [{"type": "reasoning", "reasoning": "Hm."}]}, "Hm.", ""),
    "parts of text": ({"content": [{"type": "text", "text": "It "}, {"type": "text", "text": "is"}]}, "", "It is"),
    "one part": ({"content": {"type": "text", "text": "It is"}}, "", "It is"),
    "a picture": ({"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]}, "", ""),
    "both at once": ({"reasoning": "Hm.", "reasoning_details": [{"text": "Hm."}]}, "Hm.", ""),
}  # fmt: skip


@pytest.mark.parametrize("piece, reasoning, text", CONTENTS.values(), ids=CONTENTS)
def test_content_in_any_known_field_is_a_token(piece, reasoning, text):
    role = delta({"role": "assistant", "content": ""})
    record = stream(role, delta(piece), last(), data({"choices": [], "usage": USAGE}), DONE)
    assert (record.outcome, record.chunks, record.reasoning, record.text) == (OK, 1, reasoning, text)
    assert record.ttft == pytest.approx(2 * MS)
    assert record.unread == ""


@pytest.mark.parametrize(
    "piece",
    [
        {"role": "assistant"}, {"content": None}, {"content": []}, {"content": [{"type": "text", "text": ""}]}, {"tool_calls": []},
        {"audio": {"id": "x", "expires_at": 5}}, {"reasoning_details": []}, {"reasoning_details": [{"type": "reasoning.text", "signature": "s"}]},
    ],
)  # fmt: skip
def test_a_piece_without_content_is_no_token(piece):
    record = stream(delta(piece), A, last())
    assert (record.chunks, record.ttft) == (1, pytest.approx(2 * MS))


def responses(name: str, **fields) -> bytes:
    return f"event: {name}\n".encode() + data({"type": name, **fields})


MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": "It is four."}]}
THOUGHT = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}
COMPLETED = responses("response.completed", response={
    "status": "completed", "output": [THOUGHT, MESSAGE], "usage": {"input_tokens": 5, "output_tokens": 9}})  # fmt: skip
RESPONSES = {
    "only at its end": ([COMPLETED], 1, 1),
    "parts that are done": ([
        responses("response.output_text.done", text="It is four."), responses("response.content_part.done", part=MESSAGE["content"][0]),
        responses("response.output_item.done", item=MESSAGE), COMPLETED], 1, 2),
    "items that are done": ([responses("response.output_item.done", item=MESSAGE), COMPLETED], 1, 2),
    "deltas": ([
        responses("response.output_text.delta", delta="It is "), responses("response.output_text.delta", delta="four."),
        responses("response.output_text.done", text="It is four."), responses("response.output_item.done", item=MESSAGE), COMPLETED], 1, 3),
    "an unknown kind of delta": ([responses("response.hologram.delta", delta="It is four."), COMPLETED], 1, 2),
}  # fmt: skip


@pytest.mark.parametrize("events, first, chunks", RESPONSES.values(), ids=RESPONSES)
def test_a_response_is_read_only_once_with_deltas_and_without(events, first, chunks):
    record = stream(*events, dialect="openai-responses")
    assert (record.outcome, record.text, record.reasoning) == (OK, "It is four.", "Hm.")
    assert (record.ttft, record.chunks, record.output_tokens) == (pytest.approx(first * MS), chunks, 9)


@pytest.mark.parametrize(
    "pieces, fields",
    [
        ([delta({"hologram": "aa"}), delta({"hologram": "bb"}), last(usage=USAGE), DONE], "choices.delta.hologram"),
        ([data({"token": {"id": 1, "value": "a"}}), data({"token": {"id": 2, "value": "b"}}), data({"choices": [], "usage": USAGE}), last()], "token.value"),
        ([last(usage=USAGE), DONE], ""),
    ],
)  # fmt: skip
def test_unread_tokens_are_reported_with_the_fields_that_may_contain_them(pieces, fields):
    record = stream(*pieces)
    assert (record.outcome, record.chunks, record.output_tokens, record.unread) == (OK, 0, 3, fields)


# ── 4: the question in the answer ──

QUESTION = "What is two and two, and why is it so?"
CHAT_ASK = Ask(messages=[{"role": "user", "content": QUESTION}])
RAIN = ["Rain ", "falls ", "on ", "the ", "roof."]


def gradio(kind: str, *outputs: object) -> bytes:
    return f"event: {kind}\n".encode() + data(list(outputs))


def chat_values(answer: object) -> dict[str, list]:
    """Return the forms in which Gradio's functions return a chat."""
    return {
        "messages": [[{"role": "user", "content": QUESTION}, {"role": "assistant", "content": answer}]],
        "pairs": [[[QUESTION, answer]]],
        "longer pairs": [[["Hi", "Hello."], [QUESTION, answer]]],
        "a cleared text box first": ["", [[QUESTION, answer]]],
        "a text box with the question first": [QUESTION, [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": answer}]],
        "parts": [[{"role": "user", "content": [{"type": "text", "text": QUESTION}]}, {"role": "assistant", "content": [{"type": "text", "text": answer}]}]],
        "an update": [{"__type__": "update", "value": [[QUESTION, answer]]}],
    }  # fmt: skip


@pytest.mark.parametrize("nothing", ["", None])
@pytest.mark.parametrize("way", chat_values(""))
def test_a_chat_that_begins_with_the_question_has_no_answer_yet(way, nothing):
    events = [
        gradio("generating", *chat_values(nothing)[way]), gradio("generating", *chat_values("It")[way]), gradio("generating", *chat_values("It is four.")[way]),
        gradio("complete", *chat_values("It is four.")[way]),
    ]  # fmt: skip
    record = stream(*events, dialect="gradio", ask=CHAT_ASK)
    assert (record.outcome, record.text, record.chunks) == (OK, "It is four.", 2)
    assert (record.ttft, record.e2e) == (pytest.approx(2 * MS), pytest.approx(3 * MS))
    assert not has_token(named("gradio"), events[0], CHAT_ASK)
    assert has_token(named("gradio"), events[0] + events[1], CHAT_ASK)


def test_a_history_that_ends_with_the_question_has_no_answer():
    only = [{"role": "assistant", "content": "Hello."}, {"role": "user", "content": QUESTION}]
    record = stream(
        gradio("generating", only),
        gradio("complete", [*only, {"role": "assistant", "content": "Four."}]),
        dialect="gradio",
    )
    assert (record.text, record.chunks, record.ttft) == ("Four.", 1, pytest.approx(2 * MS))


def test_all_messages_of_the_model_after_the_question_are_its_answer():
    chat = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "Hm. "},
        {"role": "assistant", "content": "Four."},
    ]
    assert stream(gradio("complete", chat), dialect="gradio").text == "Hm. Four."


ECHOES = {
    "a function that yields the question": ("gradio", [gradio("generating", QUESTION), gradio("generating", "It"), gradio("complete", "It is four.")], 2),
    "a function that goes on from it": ("gradio", [gradio("generating", QUESTION), gradio("generating", QUESTION + "It"), gradio("complete", QUESTION + "It is four.")], 2),
    "completions with echo": ("openai-completions", [data({"choices": [{"text": QUESTION}]}), data({"choices": [{"text": "It is four.", "finish_reason": "stop"}]})], 1),
    "completions with echo and a token": ("openai-completions", [data({"choices": [{"text": QUESTION + "It "}]}), data({"choices": [{"text": "is four.", "finish_reason": "stop"}]})], 2),
    "a chat": ("openai-chat", [word(QUESTION), word("It is four.", "stop")], 1),
}  # fmt: skip


@pytest.mark.parametrize("dialect, events, chunks", ECHOES.values(), ids=ECHOES)
def test_a_repeated_question_is_no_part_of_the_answer(dialect, events, chunks):
    for ask in (CHAT_ASK, Ask(prompt=QUESTION)):
        record = stream(*events, dialect=dialect, ask=ask)
        assert (record.outcome, record.text, record.chunks) == (OK, "It is four.", chunks)


def test_a_short_question_may_be_the_first_word_of_an_answer():
    record = stream(word("Hello"), word(" there", "stop"), ask=Ask(prompt="Hello"))
    assert (record.text, record.chunks) == ("Hello there", 2)


def whole_message(text: str, **more) -> bytes:
    message = {"role": "assistant", "content": text, **more}
    return data(
        {
            "object": "chat.completion",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": USAGE,
        }
    )


REPEATS = {
    "a whole message": [*map(word, RAIN), whole_message("".join(RAIN))],
    "a whole message, trimmed": [*map(word, [*RAIN, " "]), whole_message("".join(RAIN))],
    "a whole message behind the reason": [*map(word, RAIN), last(), whole_message("".join(RAIN)), DONE],
    "a chunk with a whole message": [*map(word, RAIN), data({"object": "chat.completion.chunk", "choices": [{"message": {"content": "".join(RAIN)}, "finish_reason": "stop"}]})],
    "a last piece that is all of it": [*map(word, RAIN), word("".join(RAIN), "stop"), DONE],
}  # fmt: skip


@pytest.mark.parametrize("pieces", REPEATS.values(), ids=REPEATS)
def test_a_message_that_repeats_the_answer_adds_no_tokens(pieces):
    record = stream(*pieces)
    assert (record.outcome, record.text.strip(), record.finish) == (OK, "Rain falls on the roof.", "stop")
    tokens = 6 if pieces[5] == word(" ") else 5
    assert (record.chunks, record.e2e) == (tokens, pytest.approx(tokens * MS))
    assert len(record.itls) == tokens - 1


def test_a_repetition_in_the_read_of_the_last_token_adds_no_tokens():
    pieces = [*map(word, RAIN[:4]), word(RAIN[4]) + word("".join(RAIN), "stop")]
    record = stream(*pieces)
    assert (record.text, record.chunks, record.coalesced) == ("Rain falls on the roof.", 5, 0)


def test_a_whole_message_that_is_longer_adds_the_rest():
    record = stream(word("Rain "), word("falls "), whole_message("Rain falls on the roof."))
    assert (record.text, record.chunks) == ("Rain falls on the roof.", 3)
    only = stream(whole_message("Rain falls."))
    assert (only.text, only.chunks, only.ttft) == ("Rain falls.", 1, pytest.approx(1 * MS))


def test_repeated_reasoning_and_tool_calls_add_no_tokens():
    call = [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]
    record = stream(
        delta({"reasoning_content": "Hm."}),
        delta({"tool_calls": call}),
        whole_message("", reasoning_content="Hm.", tool_calls=call),
    )
    assert (record.chunks, record.reasoning, record.text) == (2, "Hm.", "")


@pytest.mark.parametrize(
    "pieces",
    [
        [word("Rain"), word("Rain falls"), word("Rain falls."), last()],
        [data({"object": "chat.completion", "choices": [{"message": {"content": text}}]}) for text in ("Rain", "Rain falls", "Rain falls.")] + [last()],
    ],
)  # fmt: skip
def test_cumulative_pieces_are_read_once(pieces):
    record = stream(*pieces)
    assert (record.text, record.chunks, record.e2e) == ("Rain falls.", 3, pytest.approx(3 * MS))


def test_messages_with_a_piece_each_are_joined():
    pieces = [data({"choices": [{"message": {"content": text}}]}) for text in RAIN]
    record = stream(*pieces, last())
    assert (record.text, record.chunks) == ("Rain falls on the roof.", 5)


# ── 5: successes without content ──

TWO = Ask(inputs=["one", "two"])
VECTOR = {"embedding": [0.1, 0.2]}
EMPTY_RESULTS = {
    "no vectors": ("openai-embeddings", {"data": []}, "the answer has 0 vectors for 2 inputs"),
    "fewer vectors": ("openai-embeddings", {"data": [VECTOR]}, "the answer has 1 vectors for 2 inputs"),
    "a vector of length 0": ("openai-embeddings", {"data": [VECTOR, {"embedding": []}]}, "an empty vector"),
    "a vector that is null": ("openai-embeddings", {"data": [VECTOR, {"embedding": None}]}, "an empty vector"),
    "a vector that is an empty text": ("openai-embeddings", {"data": [VECTOR, {"embedding": ""}]}, "an empty vector"),
    "a vector of nulls": ("openai-embeddings", {"data": [VECTOR, {"embedding": [None, None]}]}, "an empty vector"),
    "no ranks": ("rerank", {"results": []}, "the answer has 0 ranks for 2 inputs"),
    "fewer ranks": ("rerank", {"results": [{"index": 0, "relevance_score": 0.9}]}, "the answer has 1 ranks for 2 inputs"),
    "no ranks of TEI's": ("tei-rerank", [], "the answer has 0 ranks for 2 inputs"),
    "fewer of TEI's": ("tei-embed", [[0.1, 0.2]], "the answer has 1 vectors for 2 inputs"),
    "an empty one of TEI's": ("tei-embed", [[0.1, 0.2], []], "an empty vector"),
    "none of Cohere's": ("cohere-embed", {"embeddings": {"float": []}}, "the answer has 0 vectors for 2 inputs"),
}  # fmt: skip
NO_TEXT = "an empty answer: no text, and no token count"
EMPTY_CHOICES = {
    "an empty choice": {"choices": [{}]},
    "an empty message": {"choices": [{"message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}]},
    "a message that is null": {"choices": [{"message": None, "finish_reason": "stop"}]},
    "content that is null": {"choices": [{"message": {"content": None}}]},
    "an empty text": {"choices": [{"text": ""}]},
}


@pytest.mark.parametrize("dialect, body, words", EMPTY_RESULTS.values(), ids=EMPTY_RESULTS)
def test_fewer_vectors_or_ranks_than_inputs_are_a_failure(dialect, body, words):
    record = document(body, dialect, TWO)
    assert (record.outcome, record.words) == ("empty_answer", words)


@pytest.mark.parametrize("body", EMPTY_CHOICES.values(), ids=EMPTY_CHOICES)
def test_a_document_with_an_empty_choice_is_a_failure(body):
    record = document(body)
    assert (record.outcome, record.words) == ("empty_answer", NO_TEXT)


@pytest.mark.parametrize(
    "dialect, body",
    [
        ("gradio-run", {"data": [""]}), ("gradio-run", {"data": []}), ("ollama-chat", {"message": {"content": ""}, "done": True}),
        ("anthropic", {"type": "message", "content": [], "stop_reason": "end_turn"}),
    ],
)  # fmt: skip
def test_an_empty_document_is_a_failure_in_every_protocol(dialect, body):
    assert document(body, dialect).outcome == "empty_answer"


def test_an_empty_answer_with_a_token_count_is_a_success():
    record = document(
        {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}], "usage": {"completion_tokens": 0}}
    )
    assert (record.outcome, record.empty) == (OK, True)


@pytest.mark.parametrize("extra", [{"top_n": 1}, {"top_k": 1}])
def test_the_number_of_ranks_is_limited_by_top_n(extra):
    result = {"results": [{"index": 0, "relevance_score": 0.9}]}
    assert document(result, "rerank", Ask(inputs=["one", "two"], extra=extra)).outcome == OK


# ── 6: tolerance of errors that do not affect timing ──

EMOJI = "🙂"
HIGH, LOW = b'"\\ud83d"', b'"\\ude42"'


def raw(content: bytes, more: bytes = b"") -> bytes:
    return b'data: {"choices": [{"index": 0, "delta": {"content": %b}, "finish_reason": null}]%b}\n\n' % (content, more)


HARMLESS = {
    "halves of a surrogate pair": ([raw(HIGH), raw(LOW)], EMOJI),
    "half a surrogate pair": ([raw(HIGH), raw(b'"!"')], "\ufffd!"),
    "bytes of one character in two chunks": ([raw(b'"\xf0\x9f"'), raw(b'"\x99\x82"')], EMOJI),
    "-Infinity in a field that is not read": ([raw(b'"a"', b', "logprob": -Infinity'), raw(b'"b"')], "ab"),
    "NaN in a field that is not read": ([raw(b'"a"', b', "score": NaN'), raw(b'"b"')], "ab"),
    "a number that is too large": ([raw(b'"a"', b', "usage": {"prompt_tokens": 1e999}'), raw(b'"b"')], "ab"),
    "a control character": ([raw(b'"a\tb"'), raw(b'"c"')], "a\tbc"),
    "keep-alives in data": ([data(b": keepalive"), raw(b'"a"'), data(b""), data(b"ping"), raw(b'"b"'), data(b"{}"), data(b"null")], "ab"),
    "an empty error object": ([raw(b'"a"', b', "error": {"message": "", "type": "", "param": null, "code": 0}'), raw(b'"b"', b', "error": ""')], "ab"),
    "more empty errors": ([raw(b'"a"', b', "error": {}'), raw(b'"b"', b', "error": false'), data({"error": None}), data({"error": []})], "ab"),
    "delta as a list": ([data({"choices": [{"index": 0, "delta": []}]}), raw(b'"a"'), raw(b'"b"')], "ab"),
    "delta as a text": ([data({"choices": [{"index": 0, "delta": ""}]}), raw(b'"a"'), raw(b'"b"')], "ab"),
    "usage as a list": ([raw(b'"a"', b', "usage": []'), raw(b'"b"', b', "usage": ""')], "ab"),
    "tool calls as an object": ([data({"choices": [{"delta": {"tool_calls": {}}}]}), raw(b'"a"'), raw(b'"b"')], "ab"),
    "numbers where texts are": ([data({"object": 5, "choices": [{"index": "0", "delta": {"content": "a"}}]}), raw(b'"b"')], "ab"),
}  # fmt: skip


@pytest.mark.parametrize("pieces, text", HARMLESS.values(), ids=HARMLESS)
def test_harmless_errors_fail_no_request(pieces, text):
    record = stream(*pieces, last(), DONE)
    assert (record.outcome, record.words, record.chunks, record.text) == (OK, "", 2, text)
    record.text.encode()


@pytest.mark.parametrize(
    "count, tokens",
    [(5.0, 5), ("5", 5), ("5.0", 5), (5, 5), (5.5, None), ("many", None), ([5], None), (True, None), (-1, None)],
)
def test_a_count_is_read_in_any_notation_or_is_not_known(count, tokens):
    record = stream(A, last(), data({"choices": [], "usage": {"prompt_tokens": count, "completion_tokens": count}}))
    assert (record.outcome, record.input_tokens) == (OK, tokens)
    assert (record.output_tokens, record.token_source) == ((1, "chunks") if tokens is None else (tokens, "usage"))


@pytest.mark.parametrize(
    "dialect, body, tokens",
    [
        ("anthropic", {"type": "message", "content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn", "usage": {"output_tokens": "3"}}, 3),
        ("ollama-chat", {"message": {"content": "a"}, "done": True, "eval_count": 3.0}, 3),
        ("llamacpp", {"content": "a", "stop": True, "tokens_predicted": "3"}, 3),
        ("tgi", {"generated_text": "a", "details": {"generated_tokens": 3.0, "finish_reason": "length"}}, 3),
    ],
)  # fmt: skip
def test_counts_are_read_in_any_notation_in_every_protocol(dialect, body, tokens):
    record = document(body, dialect)
    assert (record.outcome, record.output_tokens) == (OK, tokens)


@pytest.mark.parametrize(
    "body",
    [b'{"choices": [{"message": {"content": "a\\ud83d"}}], "x": -Infinity}', b'\xef\xbb\xbf{"choices": [{"message": {"content": "a"}}]}',
     b'{"choices": [{"message": {"content": "a", "tool_calls": {}}, "logprobs": NaN}], "usage": []}'],
)  # fmt: skip
def test_documents_are_read_as_tolerantly_as_streams(body):
    record = document(body)
    assert (record.outcome, record.text[:1]) == (OK, "a")


# ── 7: valid HTTP ──


@pytest.mark.parametrize("status", [200, 201, 202, 203, 206, 299])
def test_any_status_of_success_may_have_an_answer(status):
    record = stream(A, B, last(), status=status)
    assert (record.outcome, record.status, record.chunks, record.text) == (OK, status, 2, "a b ")
    assert document({"choices": [{"message": {"content": "a"}}]}, status=status).outcome == OK


@pytest.mark.parametrize(
    "content_type", ["", JSON, "text/plain", "text/html", "application/x-ndjson", "application/octet-stream"]
)
@pytest.mark.parametrize("before", [b"", b"\n\n", b"\xef\xbb\xbf", b": ping\n\n"])
def test_a_stream_of_events_is_read_with_any_content_type(content_type, before):
    record = stream(before + A, B, last(), content_type=content_type)
    assert (record.outcome, record.chunks, record.ttft) == (OK, 2, pytest.approx(1 * MS))


@pytest.mark.parametrize(
    "dialect, pieces",
    [
        ("openai-chat", [A[6:-1], B[6:-1], last()[6:-1]]),  # lines of JSON without `data:`
        ("ollama-chat", [data({"message": {"content": "a "}}), data({"message": {"content": "b "}}), data({"done": True})]),
        ("openai-chat", [A[:-1], B[:-1], last()[:-1], DONE[:-1]]),  # one newline between events
        ("openai-chat", [A.replace(b"\n", b"\r\n"), B.replace(b"\n", b"\r\n"), last().replace(b"\n", b"\r\n")]),
        ("openai-chat", [A.replace(b"\n\n", b"\r\n\n"), B.replace(b"\n\n", b"\r\n\n"), last()]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("content_type", [STREAM, "application/x-ndjson"])
def test_chunks_are_read_in_other_frames_too(dialect, pieces, content_type):
    record = stream(*pieces, dialect=dialect, content_type=content_type)
    assert (record.outcome, record.text, record.chunks) == (OK, "a b ", 2)
    assert (record.ttft, record.e2e) == (pytest.approx(1 * MS), pytest.approx(2 * MS))


# ── 8: usage in other places ──

PLACES = {
    "in the choice": [A, data({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]}), DONE],
    "in a field of a gateway": [A, last(x_gateway={"id": "1", "usage": USAGE}), DONE],
    "in an event of its own": [A, last(), data({"type": "usage", "data": {"promptTokens": 5, "completionTokens": 3}}), DONE],
    "in other words": [A, last(usage_metadata={"prompt_token_count": 5, "candidates_token_count": 0, "output_tokens": 3}), DONE],
    "in several events": [A, last(usage={"prompt_tokens": 5}), data({"choices": [], "usage": {"completion_tokens": 3}}), DONE],
    "zeros first": [A, last(usage={"prompt_tokens": 0, "completion_tokens": 3}), data({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 0}}), DONE],
    "in a message": [A, data({"object": "chat.completion", "choices": [{"message": {"content": "a ", "usage": USAGE}, "finish_reason": "stop"}]})],
}  # fmt: skip


@pytest.mark.parametrize("pieces", PLACES.values(), ids=PLACES)
def test_usage_is_found_in_all_known_places(pieces):
    record = stream(*pieces)
    assert (record.outcome, record.input_tokens, record.output_tokens) == (OK, 5, 3)


def test_usage_of_a_document_may_be_in_another_field():
    record = document({"choices": [{"message": {"content": "a"}}], "meta": {"usage": USAGE}})
    assert (record.input_tokens, record.output_tokens, record.token_source) == (5, 3, "usage")


def claude(start: dict, end: dict) -> Record:
    return stream(
        data({"type": "message_start", "message": {"usage": start}}),
        data({"type": "content_block_delta", "delta": {"text": "a"}}),
        data({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end}),
        dialect="anthropic",
    )


@pytest.mark.parametrize(
    "start, end",
    [
        ({"input_tokens": 100, "output_tokens": 1}, {"output_tokens": 3, "cache_read_input_tokens": 900}),
        ({"input_tokens": 100, "cache_read_input_tokens": 900}, {"output_tokens": 3}),
        ({"input_tokens": 0}, {"input_tokens": 100, "cache_creation_input_tokens": 900, "output_tokens": 3}),
        ({"input_tokens": 100, "cache_read_input_tokens": 900}, {"input_tokens": 100, "output_tokens": 3}),
        (
            {"input_tokens": 100, "cache_read_input_tokens": 400},
            {"input_tokens": 0, "cache_creation_input_tokens": 500, "output_tokens": 3},
        ),
    ],
)
def test_usage_of_several_events_is_merged_before_it_is_summed(start, end):
    record = claude(start, end)
    assert (record.input_tokens, record.output_tokens) == (1000, 3)


# ── 12: shapes of embeddings and rankings ──

SHAPES = {
    "OpenAI's": ("openai-embeddings", {"data": [VECTOR, VECTOR], "usage": {"prompt_tokens": 7}}, 7),
    "in base 64": ("openai-embeddings", {"data": [{"embedding": "AACAPw=="}, {"embedding": "AACAPw=="}]}, None),
    "TEI's": ("tei-embed", [[0.1, 0.2], [0.3, 0.4]], None),
    "Cohere's": ("cohere-embed", {"embeddings": {"float": [[0.1], [0.2]]}, "meta": {"billed_units": {"input_tokens": 7}}}, 7),
    "Cohere's old form": ("cohere-embed", {"embeddings": [[0.1], [0.2]], "texts": ["one", "two"]}, None),
    "Ollama's": ("openai-embeddings", {"embeddings": [[0.1], [0.2]], "prompt_eval_count": 7}, None),
    "llama.cpp's": ("openai-embeddings", [{"index": 0, "embedding": [[0.1]]}, {"index": 1, "embedding": [[0.2]]}], None),
    "ranks of Cohere's": ("rerank", {"results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}], "meta": {"tokens": {"input_tokens": 7}}}, 7),
    "ranks of Together's": ("rerank", {"object": "rerank", "results": [{"index": 1, "relevance_score": 0.9, "document": {"text": "two"}}, {"index": 0, "relevance_score": 0}], "usage": {"prompt_tokens": 7, "total_tokens": 7}}, 7),
    "ranks of Voyage's": ("rerank", {"object": "list", "data": [{"index": 0, "relevance_score": 0.4}, {"index": 1, "relevance_score": 0.3}], "usage": {"total_tokens": 7}}, 7),
    "ranks of TEI's": ("tei-rerank", [{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}], None),
    "ranks of NIM's": ("rerank", {"rankings": [{"index": 0, "logit": 4.1}, {"index": 1, "logit": -2.0}]}, None),
}  # fmt: skip


@pytest.mark.parametrize("dialect, body, tokens", SHAPES.values(), ids=SHAPES)
def test_vectors_and_ranks_are_read_in_their_shapes(dialect, body, tokens):
    record = document(body, dialect, TWO)
    assert (record.outcome, record.words, record.input_tokens) == (OK, "", tokens)


@pytest.mark.parametrize("dialect", ["openai-embeddings", "cohere-embed", "tei-embed", "rerank", "tei-rerank"])
@pytest.mark.parametrize(
    "body", [{"error": "full"}, {"message": "full"}, {"detail": "full"}, {"error": {"message": "full"}}]
)
def test_an_error_with_status_200_is_a_failure(dialect, body):
    record = document(body, dialect, TWO)
    assert (record.outcome, record.words) == ("error_event", "full")
