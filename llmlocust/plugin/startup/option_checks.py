"""Checks of the options: of each alone, and of combinations."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmlocust.analysis.checks.check import accepted_keys
from llmlocust.analysis.gates import can_abort
from llmlocust.load.answer_key import load as load_answers
from llmlocust.load.arrivals import Process
from llmlocust.load.backoff import Backoff
from llmlocust.load.distributions import parse, think_time
from llmlocust.load.plans import SHAPES, STEPPED
from llmlocust.load.prompts import load as load_prompts
from llmlocust.load.tokens import counter
from llmlocust.metrics.stop_condition import StopCondition
from llmlocust.metrics.thresholds import Gate, load_toml, parse_gates
from llmlocust.observe import setup
from llmlocust.plugin.findings import HasOptions
from llmlocust.plugin.http import headers
from llmlocust.plugin.options import AUTO, InvalidValue, has_default, listed, option
from llmlocust.plugin.settings import (
    HasRamp,
    distribution,
    drawn_fields,
    extra_fields,
    levels,
    ramp_setting,
    search_judge,
    shape_setting,
)
from llmlocust.stream.dialects import named


def check(environment: HasRamp) -> None:
    """Check all options and their combinations. Raises ValueError in one line."""
    check_values(environment)
    _check_dialect(environment)
    headers.listed(option(environment, "header"))
    is_rate = option(environment, "rate") > 0.0 or getattr(environment.shape_class, "is_open", False)
    _check_shape(environment, is_rate=is_rate)
    levels(environment, is_rate=is_rate)
    if option(environment, "force_length") and not distribution(environment, "max_tokens").low >= 1:
        raise ValueError("--llm-force-length needs a --llm-max-tokens of 1 or more: the length of the answers")
    _check_trace(environment)
    _check_gates(environment)


def check_values(environment: HasOptions) -> None:
    """Check each option alone, on this node. Raises ValueError in one line."""
    for name in RULES:
        check_value(environment, name)


def check_value(environment: HasOptions, name: str) -> None:
    """Check one option alone. Raises InvalidValue in one line."""
    try:
        wanted = RULES[name](option(environment, name))
    except InvalidValue:
        raise
    except ValueError as problem:
        raise InvalidValue(name, f": {problem}") from None
    if wanted:
        raise InvalidValue(name, f" must be {wanted}")


Rule = Callable[[Any], str]
"""A function that returns what an option's value must be; empty if the value is valid. It may raise ValueError instead."""


def _rule(is_met: Callable[[Any], bool], wanted: str) -> Rule:
    return lambda value: "" if is_met(value) else wanted


def _read_by(read: Callable[[Any], object], *, empty: bool = False) -> Rule:
    """Return a rule: a value is valid if `read` accepts it. `empty`: it may also be empty."""

    def rule(value: Any) -> str:
        if value or not empty:
            read(value)
        return ""

    return rule


def _read_turns(value: str) -> str:
    return "" if parse(value).low >= 1 else "1 or more"


_ABOVE_ZERO = _rule(lambda value: 0.0 < value < math.inf, "above 0 seconds")


_FROM_ZERO = _rule(lambda value: 0.0 <= value < math.inf, "0 seconds or more")


_FROM_ONE = _rule(lambda value: 1 <= value < math.inf, "1 user or more")


def _check_shape(environment: HasRamp, *, is_rate: bool) -> None:
    name = option(environment, "shape")
    if name == STEPPED:
        return
    if option(environment, "search"):
        raise ValueError(
            f"--llm-search and --llm-shape {name} cannot be combined: each has its own levels. Leave out one of them"
        )
    if not has_default(environment, "levels"):
        raise ValueError(
            f"--llm-levels needs a stepped ramp: --llm-shape {name} uses --llm-shape-base and --llm-shape-peak"
        )
    shape_setting(environment.shape_class, environment, is_rate=is_rate)


def _check_dialect(environment: HasOptions) -> None:
    name = option(environment, "dialect")
    if name != AUTO:
        named(name)
    elif not option(environment, "preflight"):
        raise ValueError(f"--llm-dialect {AUTO} asks the server, and --llm-preflight=false forbids it: name a dialect")
    path = option(environment, "path")
    if "://" in path or not path.isprintable() or " " in path:
        raise ValueError(
            f"--llm-path must be a path such as /v1/chat/completions; --host is the address — got {path!r}"
        )


def _check_trace(environment: HasRamp) -> None:
    if not ramp_setting(environment, "trace"):
        return
    others = {
        "search": "a search makes its own load",
        "rate": "a trace has its own times of requests",
        "prompt_tokens": "a trace has its own lengths of prompts",
    }
    for name, why in others.items():
        if option(environment, name):
            raise ValueError(f"--llm-trace and --llm-{name.replace('_', '-')} cannot be combined: {why}")
    if not has_default(environment, "levels"):
        raise ValueError(
            "--llm-trace and --llm-levels cannot be combined: a trace's levels are windows of --llm-hold seconds"
        )
    if option(environment, "turns") != "1":
        raise ValueError("--llm-trace and --llm-turns cannot be combined: each row of a trace is one request")


def notes(environment: HasOptions) -> list[str]:
    """Return notes about the options for the user who starts a run."""
    sized = any(option(environment, name) for name in ("prompt_tokens", "prefix_tokens", "trace"))
    if not sized or option(environment, "tokenizer"):
        return []
    estimate = "lengths of prompts are estimated, at 4 letters per token (1 in scripts such as Chinese)"
    return [f"{estimate}: --llm-tokenizer counts them. The server's own counts are in the files"]


def _add_gates_of_file(environment: HasOptions) -> None:
    """Add the gates of --llm-thresholds to --llm-threshold, so that a later change of the file changes nothing."""
    file = option(environment, "thresholds")
    if file and environment.parsed_options is not None:
        given = parse_gates(option(environment, "threshold"))
        try:
            gates = [*given, *load_toml(file, Gate.parse)]
        except ValueError as problem:
            raise ValueError(f"--llm-thresholds {problem}") from None
        environment.parsed_options.llm_threshold = ", ".join(map(str, dict.fromkeys(gates)))


def _check_gates(environment: HasOptions) -> None:
    _add_gates_of_file(environment)
    gates = parse_gates(option(environment, "threshold"))
    try:
        accepted_keys(listed(option(environment, "accept")))
    except ValueError as problem:
        raise ValueError(f"--llm-accept: {problem}") from None
    junit = Path(option(environment, "junit") or ".")
    if not junit.absolute().parent.is_dir():
        raise ValueError(f"--llm-junit cannot be {junit}: the folder {junit.parent} does not exist")
    if option(environment, "junit") and junit.is_dir():
        raise ValueError(f"--llm-junit cannot be {junit}: it is a folder")
    if option(environment, "abort_on_breach") and not any(map(can_abort, gates)):
        raise ValueError(
            "--llm-abort-on-breach needs a --llm-threshold that a running level can violate: an upper limit of a "
            "percentile of requests' times, or of errors, such as 'ttft.p95 < 500ms' or 'errors < 1%'"
        )


RULES: dict[str, Rule] = {
    "think_time": _read_by(think_time),
    "shape": lambda name: (
        "" if name in (STEPPED, *SHAPES) else f"{STEPPED}, {', '.join(SHAPES)} — got {str(name)[:40]!r}"
    ),
    "arrivals": _read_by(Process.parse),
    "rate": _rule(lambda value: 0.0 <= value < math.inf, "requests per second such as 50; 0: users instead"),
    "max_in_flight": _rule(lambda value: 1 <= value < math.inf, "1 request or more"),
    "requests": _rule(lambda value: 0 <= value < math.inf, "a number of requests such as 200; 0: no fixed number"),
    "retries": _rule(lambda value: 0 <= value <= 1000, "0 to 1000 retries"),
    "retry_backoff": _read_by(Backoff.parse),
    "max_tokens": _read_by(parse),
    "temperature": _read_by(parse),
    "turns": _read_turns,
    "prompt_tokens": _read_by(parse, empty=True),
    "prefix_share": _rule(lambda value: 0.0 <= value <= 1.0, "a share from 0 to 1, such as 0.8"),
    "prefix_tokens": _rule(lambda value: 0 <= value < math.inf and value == int(value), "0 tokens or more"),
    "tokenizer": _read_by(counter),
    "prompts": _read_by(load_prompts),
    "right_answers": _read_by(load_answers, empty=True),
    "trace_speed": _rule(
        lambda value: 0.0 < value < math.inf, "a number above 0; 2 replays the trace in half the time"
    ),
    "trace_from": _rule(lambda value: 0.0 <= value < math.inf, "0 seconds of the trace or more"),
    "trace_seconds": _rule(lambda value: 0.0 <= value < math.inf, "0 seconds of the trace or more"),
    "search_limits": _read_by(search_judge),
    "search_start": _FROM_ONE,
    "search_max": _FROM_ONE,
    "search_precision": _rule(lambda value: 0.0 < value <= 0.5, "a share above 0 and not above 0.5, such as 0.05"),
    "body": _read_by(lambda text: drawn_fields(extra_fields(text), random.Random())),
    "observe": _read_by(setup.check),
    "observe_interval": _rule(lambda value: 0.1 <= value <= 60.0, "0.1 to 60 seconds"),
    "fault_stop": _read_by(StopCondition.parse, empty=True),
    "metrics_port": _rule(lambda value: 0 <= value < 65536, "a port from 1 to 65535; 0: none"),
    **dict.fromkeys(
        ("hold", "search_hold", "timeout_connect", "timeout_first_token", "timeout_stall", "timeout_total"), _ABOVE_ZERO
    ),
    **dict.fromkeys(("warmup", "drain", "abort_grace"), _FROM_ZERO),
}
"""The rule of each option whose value alone can be invalid."""
