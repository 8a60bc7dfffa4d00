"""One user with several protocols: a chat, a custom dialect for texts, and embeddings for a search.

    locust -f locustfiles/dialects.py --headless -u 10 -r 2 -t 2m -s 30 --host http://localhost:8000 --csv reports/dialects

`own` is a custom dialect; docs/dialects.md explains how to write one. If all users have the same dialect, no code is
needed: --llm-dialect anthropic, or --llm-dialect auto.
"""

from typing import Any

import msgspec
from locust import between, task

from llmlocust import LLMUser
from llmlocust.stream.ask import Ask
from llmlocust.stream.delta import ANSWER, END, Delta
from llmlocust.stream.dialects import Dialect
from llmlocust.stream.sse import Event


class Chunk(msgspec.Struct):
    """The relevant fields of a chunk. Other fields are ignored."""

    content: str = ""
    stop: bool = False


class Own(Dialect):
    name = "own"
    path = "/completion"
    chunk = Chunk

    def body(self, ask: Ask) -> bytes:
        return msgspec.json.encode({"prompt": ask.text(), "n_predict": ask.max_tokens, "stream": True})

    def pieces(self, deltas: list[Delta], chunk: Any, event: Event) -> None:
        if chunk.content:
            deltas.append(Delta(ANSWER, event.end, chunk.content))
        if chunk.stop:
            deltas.append(Delta(END, event.end, "stop"))


class Reader(LLMUser):
    wait_time = between(0.5, 2)
    dialect = "openai-chat"
    max_tokens = 60

    @task(3)
    def ask(self) -> None:
        self.chat()

    @task
    def ask_another_way(self) -> None:
        self.chat(name="messages", dialect="anthropic")

    @task
    def go_on(self) -> None:
        self.complete("Once upon a time", name="own", dialect=Own())

    @task
    def look_up(self) -> None:
        record = self.embed(["a café by the sea", "a queue at the door"])
        if record.ok:
            self.rerank("Where is the café?", ["by the sea", "in the city", "not far from here"])
