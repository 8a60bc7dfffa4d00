"""Locust's web UI with Flask's test client: no port, no run. Locust runs in a child process, because it patches threads."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.simulators import ROOT

STARTED = "http://127.0.0.1:9"
"""The host that Locust is started with. No server listens at this address, and no test starts a run."""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str
    stderr: str
    """Locust's output to stderr during the request."""

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def refusal(self) -> str:
        """The message about a refused form; empty if the form reached Locust."""
        return "" if "reached" in self.json else self.json["message"]


@dataclass
class OfflineWebUI:
    """Locust's web UI in a child process."""

    process: subprocess.Popen[str]
    rules: list[tuple[str, list[str], str]]
    """Path, methods and endpoint of each route."""
    own: list[str]
    """Endpoints that Locust has without the plugin."""

    def ask(self, method: str, path: str, **more: Any) -> Answer:
        """Send a request. `more` has the arguments of Flask's test client."""
        self.process.stdin.write(json.dumps([method, path, more]) + "\n")
        self.process.stdin.flush()
        return Answer(**json.loads(self.process.stdout.readline()))

    def start(self, **fields: str) -> Answer:
        """Post the form. Instead of Locust's view, a test view answers with the fields of the form that it received."""
        return self.ask("POST", "/swarm", data={"user_count": "1", "spawn_rate": "1", **fields})


@contextmanager
def offline_web_ui(
    folder: Path, *args: str, login: bool = False, master: bool = False, **environment: str
) -> Iterator[OfflineWebUI]:
    kind = "login" if login else "master" if master else "alone"
    command = [sys.executable, "-m", "tests.plugin.offline_web_ui", kind, "--host", STARTED, *args]
    keys = {name: "" for name in os.environ if name.endswith("_API_KEY")}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **keys, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield OfflineWebUI(process, *json.loads(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


# ── the child ──


def _serve(args: list[str], kind: str) -> None:
    from contextlib import redirect_stderr, redirect_stdout
    from io import StringIO

    from locust import events
    from locust.argument_parser import get_parser
    from locust.env import Environment

    import llmlocust.plugin.events  # noqa: F401
    from llmlocust import ChatUser, SteppedRamp

    class Chat(ChatUser):
        pass

    class Ramp(SteppedRamp):
        pass

    def web_ui_of(environment: Environment) -> Any:
        if kind == "master":
            environment.create_master_runner("127.0.0.1", 0)
        else:
            environment.create_local_runner()
        return environment.create_web_ui("127.0.0.1", 0, web_login=kind == "login", delayed_start=True)

    options = get_parser().parse_args(args)
    own = [rule.endpoint for rule in web_ui_of(Environment(user_classes=[Chat])).app.url_map.iter_rules()]
    environment = Environment(
        user_classes=[Chat],
        available_user_classes={"Chat": Chat},
        available_user_tasks={"Chat": Chat.tasks},
        shape_class=Ramp(),
        host=options.host,
        parsed_options=options,
        events=events,
    )
    web_ui = web_ui_of(environment)
    events.init.fire(environment=environment, runner=environment.runner, web_ui=web_ui)
    app = web_ui.app
    app.secret_key = "of this test"
    if kind == "login":
        web_ui.login_manager.user_loader(lambda name: None)

    from flask import jsonify, request

    def reached() -> Any:
        return jsonify({"reached": sorted(request.form), "host": request.form.get("host")})

    app.view_functions["locust.swarm"] = web_ui.auth_required_if_enabled(reached)
    out, client = sys.stdout, app.test_client()
    rules = [(rule.rule, sorted(rule.methods), rule.endpoint) for rule in app.url_map.iter_rules()]
    print(json.dumps([rules, own]), file=out, flush=True)
    for line in sys.stdin:
        method, path, more = json.loads(line)
        stderr = StringIO()
        with redirect_stderr(stderr), redirect_stdout(StringIO()):
            answer = client.open(path, method=method, **more)
        document = {"status": answer.status_code, "headers": dict(answer.headers)}
        print(
            json.dumps({**document, "text": answer.get_data(as_text=True), "stderr": stderr.getvalue()}),
            file=out,
            flush=True,
        )


if __name__ == "__main__":
    _serve(["-f", "none", *sys.argv[2:]], sys.argv[1])
