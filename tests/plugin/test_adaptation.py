"""Servers that refuse a field of the first request are asked again without it, and the whole run goes so."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from tests.locusts import QUICK, outcomes, rows, run, told

ANSWER = "".join(
    f'data: {{"choices": [{{"index": 0, "delta": {{"content": "{word}"}}, "finish_reason": {finish}}}]}}\n\n'
    for word, finish in (("one ", "null"), ("two", "null"), ("!", '"stop"'))
).encode()


class Picky(BaseHTTPRequestHandler):
    """Refuses some fields: unless told, stream_options, as old servers, and max_tokens, as OpenAI's newest models."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(404, "text/plain", b"not here")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        for field in self.server.refuses:
            if field in asked:
                refusal = {"error": {"message": f"Unsupported parameter: '{field}'", "type": "invalid_request_error"}}
                self._answer(400, "application/json", json.dumps(refusal).encode())
                return
        self._answer(200, "text/event-stream; charset=utf-8", ANSWER)

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def picky_server(*refuses: str) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Picky) as server:
        server.asked, server.refuses = [], refuses or ("max_tokens", "stream_options")
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_picky_server_is_asked_as_it_likes(tmp_path):
    with picky_server() as server:
        locust = run(tmp_path, f"http://127.0.0.1:{server.server_port}", *QUICK, "--llm-model", "m")

    assert locust.process.returncode == 0, locust.log
    assert "takes it so: without stream_options, and with max_completion_tokens" in locust.log
    assert set(outcomes(tmp_path)) == {"ok"}
    load = server.asked[4:]  # one as asked for, three attempts at what the server likes
    assert all(asked["max_completion_tokens"] == 20 and "stream_options" not in asked for asked in load)
    assert {row["token_source"] for row in rows(tmp_path, "llm_requests.csv")} == {"chunks"}
    assert told(tmp_path)["options"]["llm_max_tokens_field"] == "max_completion_tokens"
