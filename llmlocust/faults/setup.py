"""The faults of a run: what they need, whether they can be injected, what they would do, and the process that injects them.

`python -P -m llmlocust.faults.setup` reads its Config from the first line of its input (llmlocust.faults.program).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from threading import Lock
from typing import Any, BinaryIO

import msgspec

from llmlocust.faults.actions import ProxyAction
from llmlocust.faults.injectors import injector_of
from llmlocust.faults.injectors.injector import Context
from llmlocust.faults.notation import duration
from llmlocust.faults.program import Program
from llmlocust.faults.proxy.process import ProxyError, ProxyProcess
from llmlocust.faults.schedule import RUN, PlannedFault, parse
from llmlocust.text import urls

_SHOWN = 20
"""Injections of one fault that a dry run lists."""


class Config(msgspec.Struct):
    """The configuration of the process."""

    faults: list[str]
    """The plan, in its notation."""
    upstream: str = ""
    """The URL of the server, for the run's proxy; empty without one."""
    listen: str = "127.0.0.1:0"
    """Where the proxy listens; port 0 takes a free one."""
    allow: list[str] = []
    """Hosts with a public address that a fault may touch."""
    seed: int = 0
    insecure: bool = False
    """Whether certificates are not checked."""
    patience: float = 10.0
    """Seconds in which the end of a fault must be seen after its lift."""


class _SharedProxy:
    """The run's proxy, for several threads."""

    def __init__(self, proxy: ProxyProcess) -> None:
        self._proxy, self._lock = proxy, Lock()

    def set(self, fault: str, fault_id: str = "") -> dict[str, Any]:
        with self._lock:
            return self._proxy.set(fault, fault_id)

    def clear(self, fault_id: str = "") -> list[dict[str, Any]]:
        with self._lock:
            return self._proxy.clear(fault_id)

    def counters(self) -> dict[str, Any]:
        with self._lock:
            return self._proxy.counters()


def needs_proxy(faults: Sequence[PlannedFault]) -> bool:
    """Return whether the run has to start its own proxy."""
    return any(isinstance(planned.action, ProxyAction) and not planned.action.toxiproxy for planned in faults)


def check(faults: Sequence[PlannedFault], allow: Sequence[str] = (), *, insecure: bool = False) -> list[str]:
    """Return why faults could not be injected, a line each: missing targets, rights or tools, addresses that are public."""
    context = Context(allow=allow, insecure=insecure)
    problems = [injector_of(planned.action, f"{place}.1", context).check() for place, planned in enumerate(faults, 1)]
    return [
        f"fault '{planned.shown_name}': {problem}" for planned, problem in zip(faults, problems, strict=True) if problem
    ]


def describe(faults: Sequence[PlannedFault]) -> list[str]:
    """Return what a run would do, for a dry run: a line for each injection and one for its lift."""
    return [line for place, planned in enumerate(faults, 1) for line in _described(place, planned)]


def _described(place: int, planned: PlannedFault) -> Iterator[str]:
    times = planned.times or (1 if planned.every is None else _SHOWN)
    for number in range(1, min(times, _SHOWN) + 1):
        injection_id = f"{place}.{number}"
        injector = injector_of(planned.action, injection_id, Context())
        name = f"{injection_id} {planned.name}".rstrip()
        at = planned.at + (number - 1) * (planned.every or 0.0)
        yield f"{name}, {_moment(planned, at)}: {injector.describe()}"
        if planned.seconds is not None:
            yield f"{name}, {_moment(planned, at + planned.seconds)}: {injector.describe_lift()}"
        else:
            end = "at once" if planned.action.is_moment else "at the end of the run"
            yield f"{name}, {end}: {injector.describe_lift()}"
    if planned.times is None and planned.every is not None:
        yield f"{place}, then every {duration(planned.every)} until the end of the run"
    elif times > _SHOWN:
        yield f"{place}, then {times - _SHOWN} more times, every {duration(planned.every or 0.0)}"


def _moment(planned: PlannedFault, seconds: float) -> str:
    if planned.anchor == RUN:
        return f"{duration(seconds)} after the run began"
    return f"{duration(seconds)} after the warm-up of {planned.anchor}"


# ── the process ──


def serve(config: Config, commands: BinaryIO, out: BinaryIO) -> None:
    """Inject the faults until the run ends. Raises ValueError and ProxyError, in one line, if it cannot begin."""
    plan = [parse(text) for text in config.faults]
    if problems := check(plan, config.allow, insecure=config.insecure):
        raise ValueError("; ".join(problems))
    with ExitStack() as stack:
        proxy = stack.enter_context(_proxy(config)) if needs_proxy(plan) else None
        shared = _SharedProxy(proxy) if proxy else None
        context = Context(f"llmlocust-{os.getpid()}", shared, config.insecure, config.allow)
        program = Program(plan, context, out, patience=config.patience)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: program.lose())
        program.run(commands, proxy.url if proxy else None)


def _proxy(config: Config) -> ProxyProcess:
    if not config.upstream:
        raise ValueError("a fault of the proxy needs the URL of the server")
    host, _, port = config.listen.rpartition(":")
    if not port.isdecimal():
        raise ValueError(f"the address of the proxy is HOST:PORT, such as 127.0.0.1:0, not {urls.shown(config.listen)}")
    return ProxyProcess(
        config.upstream, host=host.strip("[]"), port=int(port), seed=config.seed, verify=not config.insecure
    )


def main() -> int:
    """Run the process, with the configuration in the first line of the input."""
    out = sys.stdout.buffer
    sys.stdout = sys.stderr  # a library that prints must not disturb the messages
    try:
        serve(msgspec.json.decode(sys.stdin.buffer.readline(), type=Config), sys.stdin.buffer, out)
    except (OSError, ValueError, ProxyError, msgspec.DecodeError) as problem:
        out.write(msgspec.json.encode({"error": str(problem)}) + b"\n")
        out.flush()
        return 2
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads that still wait for a process of a fault end with this one
