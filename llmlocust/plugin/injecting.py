"""Start the process that injects faults (llmlocust.faults), and send the load through its proxy if it has one."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import gevent
import msgspec
from locust.env import Environment
from locust.runners import MasterRunner

from llmlocust.faults import setup
from llmlocust.faults.requests import forbidden
from llmlocust.faults.schedule import RUN, PlannedFault, anchor_of, parse, read_toml
from llmlocust.load.plans import PlanPhase
from llmlocust.metrics.stop_condition import StopCondition
from llmlocust.observe.setup import values_of
from llmlocust.plugin.child_process import ChildProcess
from llmlocust.plugin.findings import note_proxy
from llmlocust.plugin.gating import end_run
from llmlocust.plugin.options import has_default, listed, option
from llmlocust.plugin.run.faults import Faults
from llmlocust.plugin.run.locust_settings import hosts_of
from llmlocust.plugin.startup.probing import NotReady
from llmlocust.text import figures as words

_MAX_START = 20.0
_LOOK = 0.02
_UNDO_SECONDS = 180.0
"""A server that drains may take two minutes until it can be started again (faults.undo)."""


def planned(environment: Environment) -> list[PlannedFault]:
    """Return the faults of the options, and those of the shape's attribute `faults`. Raises ValueError in one line."""
    faults = [parse(text) for text in values_of(option(environment, "fault"))]
    if file := option(environment, "faults"):
        faults += read_toml(file)
    own = getattr(environment.shape_class, "faults", ())
    return faults + [parse(fault) if isinstance(fault, str) else fault for fault in own]


def check(environment: Environment, plan: Sequence[PlanPhase] | None = None) -> None:
    """Check that the planned faults can be injected, in a run with this plan if it is known. Raises NotReady."""
    try:
        faults = planned(environment)
        allowed = listed(option(environment, "fault_allow"))
        problems = setup.check(faults, allowed, insecure=option(environment, "insecure"))
    except (OSError, ValueError) as problem:
        raise NotReady(f"--llm-faults: {problem}" if isinstance(problem, OSError) else str(problem)) from None
    if plan is not None:
        problems += [*_without_anchor(faults, plan)]
    if problems:
        raise NotReady(problems[0])
    if setup.needs_proxy(faults):
        _check_proxy(environment, allowed)


def _without_anchor(faults: Sequence[PlannedFault], plan: Sequence[PlanPhase]) -> Iterator[str]:
    """Yield a line for each fault whose level or phase does not occur in the plan."""
    loads = [load for phase in plan for load in phase.loads]
    known = {RUN, *(anchor_of(f"level {load!r}") for load in loads), *(f"phase {phase.name}" for phase in plan)}
    for fault in faults:
        if fault.anchor not in known:
            phases = [phase.name for phase in plan if phase.name]
            has = f" and the phases {words.series(phases)}" if phases else ""
            levels = words.series([f"{load:g}" for load in dict.fromkeys(loads)])
            yield f"fault '{fault.shown_name}': the run has no {fault.anchor}. It has the levels {levels}{has}"


def _check_proxy(environment: Environment, allowed: Sequence[str]) -> None:
    hosts = hosts_of(environment)
    if len(hosts) != 1:
        raise NotReady("faults of connections need one server: give --host, and no other host in the user classes")
    if problem := forbidden(hosts[0], allowed):
        raise NotReady(problem)
    is_local = not isinstance(environment.runner, MasterRunner) or getattr(
        environment.parsed_options, "processes", None
    )
    if not is_local and has_default(environment, "fault_listen"):
        raise NotReady(
            "workers on other machines cannot reach the proxy at 127.0.0.1: give --llm-fault-listen ADDRESS:PORT, an address "
            "of this machine; 127.0.0.1:9000 if all workers run here"
        )


def described(environment: Environment) -> list[str]:
    """Return the lines of a dry run."""
    return setup.describe(planned(environment)) or ["no faults are planned"]


def companion_of(environment: Environment) -> Faults | None:
    """Return the companion that injects the planned faults, with its process; None without faults. Raises NotReady."""
    faults = planned(environment)
    if not faults:
        return None
    stop = option(environment, "fault_stop")
    hosts = hosts_of(environment)
    process = ChildProcess("llmlocust.faults.setup", _config(environment, faults, hosts))
    if proxy := _proxy_of(process):
        note_proxy(environment, hosts[0], through(hosts[0], proxy))
    return Faults(
        process,
        undo=_undo,
        end=lambda: gevent.spawn(end_run, environment),
        stop=StopCondition.parse(stop) if stop else None,
    )


def _config(environment: Environment, faults: list[PlannedFault], hosts: list[str]) -> setup.Config:
    return setup.Config(
        faults=[str(fault) for fault in faults],
        upstream=hosts[0] if setup.needs_proxy(faults) else "",
        listen=option(environment, "fault_listen"),
        allow=listed(option(environment, "fault_allow")),
        insecure=option(environment, "insecure"),
    )


def through(host: str, proxy: str) -> str:
    """Return the address of a host through a proxy: with the user, the path and the query of the host's URL."""
    parts, user = urlsplit(host), urlsplit(host).netloc.rpartition("@")[0]
    netloc = urlsplit(proxy).netloc
    return parts._replace(scheme="http", netloc=f"{user}@{netloc}" if user else netloc).geturl()


def _proxy_of(process: ChildProcess) -> str:
    """Wait until the process is ready. Returns the URL of its proxy; empty without one. Raises NotReady."""
    until = time.monotonic() + _MAX_START
    while time.monotonic() < until and not process.has_ended:
        for content in process.messages():
            if "ready" in content:
                return content["proxy"] or ""
            if "error" in content:
                process.close()
                raise NotReady(content["error"])
        gevent.sleep(_LOOK)
    process.close()
    raise NotReady("the process that injects faults did not start")


def _undo(undos: list[Any]) -> None:
    """Lift the faults of a process that was killed."""
    command = [sys.executable, "-P", "-m", "llmlocust.faults.undo"]
    subprocess.run(command, input=b"\n".join(map(msgspec.json.encode, undos)), check=False, timeout=_UNDO_SECONDS)
