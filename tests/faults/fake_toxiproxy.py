"""A server with the part of toxiproxy's HTTP API that faults use, and one proxy with the name llm. Toxiproxy's own server is
not a package of any registry that the tests use. Written after toxiproxy's api.go: paths, methods, statuses, field names.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

ATTRIBUTES = {
    "latency": {"latency", "jitter"},
    "bandwidth": {"rate"},
    "slow_close": {"delay"},
    "timeout": {"timeout"},
    "reset_peer": {"timeout"},
    "slicer": {"average_size", "size_variation", "delay"},
    "limit_data": {"bytes"},
}


class FakeToxiproxy:
    def __init__(self) -> None:
        self.proxy = {"name": "llm", "listen": "127.0.0.1:1", "upstream": "127.0.0.1:2", "enabled": True}
        self.toxics: list[dict[str, Any]] = []
        self.log: list[tuple[str, str]] = []
        self.url = ""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        self.log.append((method, path))
        match [method, *path.strip("/").split("/")]:
            case ["GET", "proxies", "llm"]:
                return 200, {**self.proxy, "toxics": self.toxics}
            case ["POST" | "PATCH", "proxies", "llm"]:
                self.proxy |= json.loads(body)
                return 200, {**self.proxy, "toxics": self.toxics}
            case ["POST", "proxies", "llm", "toxics"]:
                return self._add(json.loads(body))
            case ["DELETE", "proxies", "llm", "toxics", name]:
                kept = [toxic for toxic in self.toxics if toxic["name"] != name]
                if kept == self.toxics:
                    return 404, {"error": "toxic not found", "status": 404}
                self.toxics = kept
                return 204, None
        return 404, {"error": "proxy not found", "status": 404}

    def _add(self, toxic: dict[str, Any]) -> tuple[int, Any]:
        assert toxic.keys() == {"name", "type", "stream", "toxicity", "attributes"}
        assert toxic["stream"] in ("upstream", "downstream")
        assert 0.0 < toxic["toxicity"] <= 1.0
        if ATTRIBUTES.get(toxic["type"]) != toxic["attributes"].keys():
            return 400, {"error": "invalid toxic type", "status": 400}
        assert all(isinstance(value, int) for value in toxic["attributes"].values())
        if any(one["name"] == toxic["name"] for one in self.toxics):
            return 409, {"error": "toxic already exists", "status": 409}
        self.toxics.append(toxic)
        return 200, toxic


@contextmanager
def fake_toxiproxy() -> Iterator[FakeToxiproxy]:
    fake = FakeToxiproxy()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, document = (
                (403, "User agent not allowed")
                if self.headers.get("User-Agent", "").startswith("Mozilla/")
                else fake.answer(self.command, self.path, body)
            )
            data = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815  # names of the library

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_port}/llm"
        Thread(target=server.serve_forever, daemon=True).start()
        yield fake
        server.shutdown()
