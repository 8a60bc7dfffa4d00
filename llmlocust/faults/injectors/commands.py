"""Faults by commands: of Docker, of kubectl, of a shell, and HTTP requests."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from llmlocust.faults import requests
from llmlocust.faults.actions import Call, CommandAction, DockerAction, HttpAction
from llmlocust.faults.injectors.injector import Context, Injector, InjectorError, output_of
from llmlocust.faults.notation import joined
from llmlocust.faults.requests import RequestError
from llmlocust.faults.targets import identity_of
from llmlocust.faults.undo import Step
from llmlocust.text import urls
from llmlocust.text.message import Message, message

_CHECK_SECONDS = 10.0
_WAITING = 'read -r line && exec /bin/sh -c "$1" </dev/null'
"""The program of a shell that runs a command when a line arrives, and not if its input ends."""


class Docker(Injector):
    """A command of Docker, confirmed by the state of the container."""

    poll = 0.3

    def __init__(self, action: DockerAction, injection_id: str, context: Context) -> None:
        super().__init__(injection_id, context)
        self._action, self._container = action, action.container
        self.patience = action.within if action.healthy else 0.0
        self._started = ""
        """When the container started, before the fault."""

    def check(self) -> str:
        try:
            host = os.environ.get("DOCKER_HOST") or output_of(
                ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
            )
            if "://" in host and not host.startswith(("unix:", "npipe:")):
                address = "http://" + host.strip().partition("://")[2]
                if problem := requests.forbidden(address, self.context.allow):
                    return problem
            state = self._state()
        except InjectorError as problem:
            return str(problem)
        if not state.get("Running") or state.get("Paused"):
            return f"container {self._container} is {state.get('Status')}: a fault needs one that runs"
        return requests.forbidden(self._action.healthy, self.context.allow) if self._action.healthy else ""

    def _state(self) -> dict[str, object]:
        answer = output_of(["docker", "inspect", "--type", "container", "--format", "{{json .State}}", self._container])
        try:
            state = json.loads(answer)
        except ValueError:
            state = None
        if not isinstance(state, dict):
            raise InjectorError(f"docker does not report the state of container {self._container}")
        return state

    @property
    def _command(self) -> list[str]:
        return ["docker", self._action.verb, self._container]

    def describe(self) -> str:
        return joined(self._command)

    def describe_lift(self) -> str:
        return super().describe_lift() or "the command starts the container again"

    def prepare(self) -> None:
        self._started = str(self._state().get("StartedAt"))

    @property
    def steps(self) -> list[Step]:
        if not self._action.can_last:
            return []
        command = ["docker", DockerAction.undo_of[self._action.verb], self._container]
        return [{"command": command, "lifted": ["is not paused"]}]

    def inject(self) -> None:
        output_of(self._command)

    def present(self) -> Message | None:
        state = self._state()
        is_present = {
            "pause": state.get("Paused"),
            "restart": state.get("StartedAt") != self._started,
        }.get(self._action.verb, not state.get("Running"))
        return self._says(state) if is_present else None

    def gone(self) -> Message | None:
        state = self._state()
        if not state.get("Running") or state.get("Paused"):
            return None
        if self._action.healthy and not requests.is_ok(self._action.healthy, insecure=self.context.insecure):
            return None
        if self._action.healthy:
            return message("{url} answers", url=urls.shown(self._action.healthy))
        return self._says(state)

    def _says(self, state: dict[str, object]) -> Message:
        return message("container {name} was {state}", name=self._container, state=state.get("Status"))


class Command(Injector):
    """A command of a shell or of kubectl, and one that lifts its effect. The first one may run until then."""

    poll = 0.3

    def __init__(self, action: CommandAction, injection_id: str, context: Context) -> None:
        super().__init__(injection_id, context)
        self._action = action
        self._child: subprocess.Popen[bytes] | None = None
        self._code, self._is_lifted = 0, False

    def check(self) -> str:
        if self._action.kind != "kubectl":
            return ""
        try:
            server = output_of(
                ["kubectl", "config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"]
            )
        except InjectorError as problem:
            return str(problem)
        return requests.forbidden(server.strip(), self.context.allow)

    def describe(self) -> str:
        return self._action.shell(self._action.start)

    def describe_lift(self) -> str:
        return self._action.shell(self._action.until) if self._action.until else "wait until the command ends"

    @property
    def steps(self) -> list[Step]:
        until = [{"shell": self._action.shell(self._action.until)}] if self._action.until else []
        identity = identity_of(self._child.pid) if self._child is not None else None
        # the command must not act after the one that lifts it
        return [*([{"end": list(identity)}] if identity else []), *until]

    def prepare(self) -> None:
        """Start a shell that waits for its input: its process is known before the fault, and a killed run leaves nothing."""
        self._child = subprocess.Popen(
            ["/bin/sh", "-c", _WAITING, "sh", self._action.shell(self._action.start)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def inject(self) -> None:
        assert self._child is not None
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(b"\n")
            self._child.stdin.close()
        except OSError:
            raise InjectorError(f"the shell that waited for `{self._action.start}` has ended") from None

    def present(self) -> Message | None:
        self._raise_if_failed()
        return message("the check of the fault succeeded") if self._action.check and self._checks() else None

    def _raise_if_failed(self) -> None:
        """Raises InjectorError if the command failed before the lift ended it."""
        if not self._is_lifted and self._child is not None:
            self._code = self._child.poll() or 0
        if self._code:
            raise InjectorError(f"`{self._action.start}` failed: exit {self._code}")

    def lift(self) -> None:
        with suppress(InjectorError):  # which the look after the lift repeats
            self._raise_if_failed()
        self._is_lifted = True
        super().lift()

    def can_be_lifted(self) -> bool:
        return bool(self._action.until) or self._child is None or self._child.poll() is not None

    def gone(self) -> Message | None:
        self._raise_if_failed()
        return (
            message("the check of the fault no longer succeeds") if self._action.check and not self._checks() else None
        )

    def _checks(self) -> bool:
        try:
            command = ["/bin/sh", "-c", self._action.check]
            return not subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_CHECK_SECONDS, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return False


class Http(Injector):
    """An HTTP request, and one that lifts its effect."""

    def __init__(self, action: HttpAction, injection_id: str, context: Context) -> None:
        super().__init__(injection_id, context)
        self._action = action

    def check(self) -> str:
        calls: Sequence[Call | None] = (self._action.start, self._action.until)
        places = [call.url for call in calls if call] + ([self._action.check] if self._action.check else [])
        return next((problem for url in places if (problem := requests.forbidden(url, self.context.allow))), "")

    def describe(self) -> str:
        return f"{self._action.start.shown} {self._action.body}".rstrip()

    def describe_lift(self) -> str:
        return super().describe_lift() or "nothing: the request is a moment"

    @property
    def steps(self) -> list[Step]:
        if self._action.until is None:
            return []
        return [{"request": [self._action.until.method, self._action.until.url, ""], "insecure": self.context.insecure}]

    def inject(self) -> None:
        call = self._action.start
        try:
            status, _ = requests.send(call.method, call.url, self._action.body, insecure=self.context.insecure)
        except RequestError as problem:
            raise InjectorError(str(problem)) from None
        if status // 100 != 2:
            raise InjectorError(f"{call.shown} was answered with HTTP {status}")

    def present(self) -> Message | None:
        return message("the check of the fault succeeded") if self._checks() else None

    def gone(self) -> Message | None:
        if not self._action.check or self._checks():
            return None
        return message("the check of the fault no longer succeeds")

    def _checks(self) -> bool:
        return bool(self._action.check) and requests.is_ok(self._action.check, insecure=self.context.insecure)
