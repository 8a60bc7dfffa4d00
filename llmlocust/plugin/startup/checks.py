"""All checks before the load, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from locust.env import Environment
from locust.runners import MasterRunner

from llmlocust.load.arrivals import POISSON, Process
from llmlocust.load.plans import SHAPES, STEPPED
from llmlocust.metrics.levels import RATE, USERS
from llmlocust.metrics.thresholds import Gate, parse_gates
from llmlocust.plugin import console, injecting
from llmlocust.plugin.findings import forget
from llmlocust.plugin.options import option
from llmlocust.plugin.run import prefixes
from llmlocust.plugin.run.locust_settings import hosts_of
from llmlocust.plugin.settings import planned_users, ramp_setting, replay_notes, replay_of
from llmlocust.plugin.shapes.shapes import SteppedRamp
from llmlocust.plugin.startup import attributes, machine_limits, option_checks, preflight
from llmlocust.plugin.startup.probing import NotReady
from llmlocust.plugin.users.users import LLMUser
from llmlocust.text import figures as words

USAGE_ERROR = 2


def check(environment: Environment) -> dict[str, Any]:
    """Run all checks before the load. Returns what the preflight found; empty without one. Raises NotReady."""
    forget(environment)
    ramp = _ramp_of(environment)
    try:
        option_checks.check(environment)
        if ramp:
            attributes.check_shape(ramp, environment)
    except ValueError as problem:
        raise NotReady(str(problem)) from None
    if ramp is None:
        _refuse_options_of_ramps(environment)
    _check_files(environment)
    if ramp:
        _check_ramp(environment, ramp)
    _check_machine(environment)
    injecting.check(environment, None if ramp is None or ramp.searches() else ramp.plan())
    users = attributes.own_users(environment)
    try:
        attributes.check_users(environment)
    except ValueError as problem:
        raise NotReady(str(problem)) from None
    for note in (
        *option_checks.notes(environment),
        *replay_notes(environment),
        *preflight.keys_notes(environment, users),
    ):
        console.say(note)
    if not option(environment, "preflight") or not users:
        return {}
    return preflight.check(environment, users)


def _check_files(environment: Environment) -> None:
    prefix = getattr(environment.parsed_options, "csv_prefix", None)
    for path in prefixes.obstacles(prefix) if prefix else ():
        why = "it is a folder" if path.is_dir() else "it is not a file that you may write to"
        raise NotReady(f"cannot write {path}: {why}. Give --csv another prefix")


def _ramp_of(environment: Environment) -> SteppedRamp | None:
    """Return the environment's shape if it is one of ours."""
    shape = environment.shape_class
    return shape if isinstance(shape, SteppedRamp) else None


def _check_ramp(environment: Environment, ramp: SteppedRamp) -> None:
    _check_trace(environment, ramp)
    if ramp.searches():
        _refuse_gates_of_every_level(environment)
    else:
        _refuse_gates_of_no_level(environment, _planned(ramp))
    _check_open_load(environment, ramp)
    _check_requests(environment, ramp)


def _refuse_options_of_ramps(environment: Environment) -> None:
    values = {name: option(environment, name) for name in ("search", "rate", "requests", "trace")}
    values["shape"] = option(environment, "shape") != STEPPED
    name = next((name for name, value in values.items() if value), None)
    if name is not None:
        raise NotReady(f"--llm-{name} needs a ramp to control: class Ramp(SteppedRamp) in the locustfile")


def _planned(ramp: SteppedRamp) -> Sequence[float]:
    try:
        return ramp.planned_levels()
    except ValueError as problem:
        raise NotReady(str(problem)) from None


def _gates(environment: Environment) -> list[Gate]:
    """Return the gates that apply to levels, not to the whole run."""
    return [gate for gate in parse_gates(option(environment, "threshold")) if not gate.is_of_run]


def _refuse_gates_of_every_level(environment: Environment) -> None:
    gate = next((gate for gate in _gates(environment) if gate.at is None), None)
    if gate is not None:
        raise NotReady(
            f"--llm-threshold '{gate}' applies to every level, and a search exceeds the limit on purpose: name a load, "
            f"such as '{gate} @ {option(environment, 'search_start')}'"
        )


def _refuse_gates_of_no_level(environment: Environment, loads: Sequence[float]) -> None:
    gate = next((gate for gate in _gates(environment) if not any(map(gate.is_of, loads))), None)
    if gate is not None:
        known = words.series([words.load(load) for load in loads])
        raise NotReady(f"--llm-threshold '{gate}': the ramp has no such level. Its levels are {known}")


def _check_open_load(environment: Environment, ramp: SteppedRamp) -> None:
    try:
        Process.parse(ramp.arrivals or POISSON)
    except ValueError as problem:
        raise NotReady(str(problem)) from None
    if ramp.unit == RATE:
        _refuse_other_users(environment, "send at a rate")


def _check_requests(environment: Environment, ramp: SteppedRamp) -> None:
    requests = ramp_setting(environment, "requests")
    if not requests:
        return
    if ramp.unit == RATE or ramp.searches() or ramp.shape_name() in SHAPES:
        raise NotReady(
            "--llm-requests needs users at one level: leave out --llm-rate, --llm-search, --llm-shape and --llm-trace"
        )
    loads = ramp.planned_levels()
    if len(loads) > 1:
        raise NotReady(f"--llm-requests needs one level, not {len(loads)}: --llm-levels {loads[-1]}")
    if requests < loads[0]:
        raise NotReady(
            f"{words.with_unit(loads[0], USERS)} cannot share {requests} requests: "
            "give more --llm-requests, or fewer users"
        )
    _refuse_other_users(environment, "count requests")


def _check_machine(environment: Environment) -> None:
    """Check that this machine can open the users' connections. Workers on other machines check their own limits."""
    processes = 1
    if isinstance(environment.runner, MasterRunner):
        processes = getattr(environment.parsed_options, "processes", None) or 0
    if processes:
        try:
            machine_limits.check(planned_users(environment), processes, hosts_of(environment))
        except ValueError as problem:
            raise NotReady(str(problem)) from None


def _refuse_other_users(environment: Environment, ability: str) -> None:
    others = [user.__name__ for user in environment.user_classes if not issubclass(user, LLMUser)]
    if others:
        raise NotReady(f"only users of llmlocust can {ability}: make {others[0]} an LLMUser, or name only LLMUsers")


def _check_trace(environment: Environment, ramp: SteppedRamp) -> None:
    try:
        replay = replay_of(environment)
    except ValueError as problem:
        raise NotReady(f"--llm-trace: {problem}") from None
    if replay is None:
        if hasattr(ramp, "trace"):
            raise NotReady(f"{type(ramp).__name__} has no trace to replay: give --llm-trace FILE")
        return
    if ramp.searches() or ramp.shape_name() in SHAPES:
        other = "a search" if ramp.searches() else "--llm-shape"
        raise NotReady(f"--llm-trace and {other} cannot be combined: each makes its own load")
