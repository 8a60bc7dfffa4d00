"""A new dialect is one class and one registration: all that the plugin needs to know of it is in the class."""

import pytest

from tests.locusts import outcomes, rows, run, run_info
from tests.plugin.routed import NOT_FOUND, Answer, reply, routed_server

LOCUSTFILE = """
from types import SimpleNamespace
from typing import Any

import msgspec
from locust import events

from llmlocust.stream import dialects
from llmlocust.stream.delta import ANSWER, END, Delta
from llmlocust.stream.dialects.base import Adaptation, Dialect


class Chunk(msgspec.Struct):
    word: str = ""
    over: bool = False


class Toy(Dialect):
    name = "toy"
    path = "/toy"
    chunk = Chunk
    operation = "toy_operation"
    models_path = "/toy/models"
    discovers = True

    def discover(self, get):
        self.path = get("/toy/where").decode()

    def adaptations(self, ask, limit):
        return [Adaptation({"max_tokens_field": "max_words"}, "with the limit as max_words")]

    def body(self, ask):
        return msgspec.json.encode({"model": ask.model, "say": ask.text(), ask.max_tokens_field: ask.max_tokens})

    def pieces(self, deltas: list[Delta], chunk: Any, event):
        deltas.append(Delta(END, event.end, "over") if chunk.over else Delta(ANSWER, event.end, chunk.word))


dialects.DIALECTS = (*dialects.DIALECTS, Toy)

from llmlocust import ChatUser, SteppedRamp


class Chat(ChatUser):
    pass


class Ramp(SteppedRamp):
    pass


@events.test_start.add_listener
def note_operations(environment, **kwargs):
    environment.llmlocust.otel = SimpleNamespace(record=lambda record, operation, model, endpoint: print(operation, model))
"""
FEW_SECONDS = ["--llm-levels", "1", "--llm-warmup", "0", "--llm-hold", "1"]
ANSWER = Answer(body=b'data: {"word": "hello"}\n\ndata: {"word": " you"}\n\ndata: {"over": true}\n\n')


def toy_server(request):
    if request.target == "/toy/where":
        return Answer(body=b"/toy/speak")
    if request.target == "/toy/models":
        return reply(200, {"models": ["little"]})
    if request.target == "/toy/speak":
        return ANSWER if "max_words" in request.body else reply(400, "max_words is missing")
    return NOT_FOUND


@pytest.mark.parametrize("named", ["toy", "auto"])
def test_a_new_dialect_is_one_class_and_one_registration(tmp_path, named):
    model = [] if named == "toy" else ["--llm-model", "little"]  # auto asks for models before it knows the dialect
    with routed_server(toy_server) as server:
        locust = run(tmp_path, server.url, *FEW_SECONDS, "--llm-dialect", named, *model, locustfile=LOCUSTFILE)

    assert locust.process.returncode == 0, locust.log
    assert "but accepts it with the limit as max_words." in locust.log
    assert "The run uses the dialect toy, at /toy/speak." in locust.log
    assert run_info(tmp_path)["target"]["dialect"] == "toy"
    assert run_info(tmp_path)["preflight"]["model"] == "little"
    assert set(outcomes(tmp_path)) == {"ok"}
    assert {row["output_tokens"] for row in rows(tmp_path, "llm_requests.csv")} == {"2"}
    assert "toy_operation little" in locust.log
