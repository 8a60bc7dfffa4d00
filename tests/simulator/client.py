"""A simple client: a connection for each request, which is read until the server closes it."""

import json
import socket
from dataclasses import dataclass, field
from typing import Any

from tests.simulators import PATIENCE

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


@dataclass
class Reply:
    """An HTTP response, parsed."""

    raw: bytes
    was_reset: bool
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False  # whether the body ended according to its framing

    def __post_init__(self) -> None:
        head, separator, rest = self.raw.partition(b"\r\n\r\n")
        if not separator:
            return
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        if "transfer-encoding" in self.headers:
            self.body, self.complete = dechunk(rest)
        else:
            self.body = rest
            self.complete = len(rest) == int(self.headers.get("content-length", len(rest))) and not self.was_reset

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> list[str]:
        """The data of every event, with any line ends."""
        lines = self.body.decode().replace("\r\n", "\n").split("\n")
        return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        return [json.loads(data) for data in self.data if data != "[DONE]"]

    @property
    def choices(self) -> list[dict[str, Any]]:
        """The choices with tokens."""
        choices = [choice for chunk in self.chunks for choice in chunk.get("choices", ())]
        return [choice for choice in choices if "role" not in choice.get("delta", ())]

    @property
    def text(self) -> str:
        return "".join(choice.get("text") or choice["delta"].get("content", "") for choice in self.choices)


def dechunk(rest: bytes) -> tuple[bytes, bool]:
    """Return the body of the received chunks, and whether the last chunk was received."""
    body = b""
    while True:
        size, separator, rest = rest.partition(b"\r\n")
        if not separator or len(rest) < int(size, 16) + 2:
            return body, False
        if int(size, 16) == 0:
            return body, rest == b"\r\n"
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]


def request_bytes(path: str, body: Any = None, method: str = "POST", version: str = "1.1", **headers: str) -> bytes:
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    all_headers = {"Host": "test", "Connection": "close", "Content-Length": str(len(raw)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in all_headers.items() if value)
    return f"{method} {path} HTTP/{version}\r\n{lines}\r\n".encode() + raw


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def read_to_end(connection: socket.socket) -> Reply:
    raw = b""
    try:
        while data := connection.recv(65536):
            raw += data
    except ConnectionResetError:
        return Reply(raw, was_reset=True)
    return Reply(raw, was_reset=False)


def ask(port: int, path: str, body: Any = None, method: str = "POST", version: str = "1.1", **headers: str) -> Reply:
    with connect(port) as connection:
        connection.sendall(request_bytes(path, body, method, version, **headers))
        return read_to_end(connection)


def chat(port: int, *, fault: str = "", headers: dict[str, str] | None = None, **more: Any) -> Reply:
    """Send a streamed chat of exactly eight tokens, with `more` fields in its body."""
    body = {
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 8,
        "ignore_eos": True,
        "stream": True,
        **more,
    }
    return ask(port, CHAT, body, X_Simulator_Fault=fault, **(headers or {}))
