"""Locust with its web UI as a child process."""

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.locusts import RAMP, Locust, free_port
from tests.simulators import PATIENCE, wait_for


class WebUI:
    """Locust's web UI, as a client sees it."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.address + path, timeout=PATIENCE) as answer:
            body = answer.read()
        return json.loads(body) if answer.headers["Content-Type"].startswith("application/json") else body.decode()

    def answers(self) -> bool:
        try:
            self.get("/")
        except OSError:
            return False
        return True

    def start(self, **fields: str) -> Any:
        """Start a run with the form, and return Locust's answer."""
        quick = {"llm_levels": "2,4", "llm_warmup": "0.5", "llm_hold": "2", "llm_max_tokens": "20"}
        data = urllib.parse.urlencode({"user_count": "1", "spawn_rate": "1", **quick, **fields}).encode()
        with urllib.request.urlopen(self.address + "/swarm", data, timeout=PATIENCE) as answer:
            return json.loads(answer.read())

    def stop(self) -> None:
        self.post("/stop")

    def post(self, path: str) -> None:
        urllib.request.urlopen(self.address + path, b"", timeout=PATIENCE).close()

    def live(self) -> Any:
        return self.get("/llm/live.json")["run"]

    def is_idle(self) -> None:
        wait_for(lambda: self.get("/stats/requests")["state"], lambda now: now in ("ready", "stopped"))


REPORTING = f"from llmlocust.plugin.webui import report\nreport._NICENESS = 0\n{RAMP}"
"""Its reports do not wait until a busy machine has nothing else to do."""


@contextmanager
def running(
    folder: Path, host: str, workers: int = 0, *more: str, port: int = 0, locustfile: str = REPORTING
) -> Iterator[WebUI]:
    """Start Locust without a run. Yield its web UI when it answers and the workers have joined."""
    port, bind = port or free_port(), str(free_port())
    args = ["--web-host", "127.0.0.1", "--web-port", str(port), "--host", host, *more]
    with ExitStack() as stack:
        if workers:
            args += ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", bind]
        stack.enter_context(Locust(folder, args, locustfile))
        for _ in range(workers):
            stack.enter_context(Locust(folder, ["--worker", "--master-port", bind], locustfile))
        ui = WebUI(port)
        wait_for(ui.answers)
        wait_for(lambda: len(ui.get("/stats/requests").get("workers", [])), lambda seen: seen == workers)
        yield ui
