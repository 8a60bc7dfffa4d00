"""Values that are computed from several options, or from an option and the attributes of a ramp."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Protocol

import msgspec

from llmlocust.load.curves import DEFAULT_RATES, parse_levels, parse_rates
from llmlocust.load.distributions import Distribution, is_named, parse
from llmlocust.load.plans import Setting
from llmlocust.load.search import Judge, Limits, Queueing
from llmlocust.load.search_rates import RateLimits
from llmlocust.load.trace_windows import windows
from llmlocust.load.traces import Replay, open_trace
from llmlocust.metrics.levels import RATE, USERS
from llmlocust.metrics.thresholds import Threshold, parse_gates, thresholds_of
from llmlocust.plugin.findings import HasOptions
from llmlocust.plugin.options import InvalidValue, has_default, listed, option

_PEAK = 50.0


_FEW_ERRORS = Threshold.parse("errors < 1%")
"""The threshold of a search for a rate without thresholds: rejected requests do not count as answered."""


class HasRamp(HasOptions, Protocol):
    """Locust's Environment, or a substitute with other options or another ramp."""

    @property
    def shape_class(self) -> Any: ...


def ramp_setting(environment: HasRamp, name: str) -> Any:
    """Return a setting of the ramp: its own attribute, otherwise the option."""
    own = getattr(environment.shape_class, name, None)
    return option(environment, name) if own is None else own


def planned_users(environment: HasRamp) -> float:
    """Return the maximum number of users of the planned run; 0 if it is not known (open load, another shape of Locust's).
    Raises ValueError if the plan is not valid.
    """
    shape = environment.shape_class
    if shape is None:
        return float(getattr(environment.parsed_options, "num_users", None) or 0)
    if getattr(shape, "unit", RATE) != USERS:
        return 0.0
    if shape.searches():
        own = getattr(shape, "max_load", None)
        return float(option(environment, "search_max") if own is None else own)
    return float(max(shape.planned_levels(), default=0.0))


def limits(environment: HasOptions) -> str:
    """Return the text of the thresholds of levels: --llm-threshold, otherwise those of a search."""
    of_search = option(environment, "search_limits") if option(environment, "search") else ""
    return str(option(environment, "threshold") or of_search)


def thresholds(environment: HasOptions) -> list[Threshold]:
    """Return the thresholds of levels. Raises ValueError in one line."""
    return thresholds_of(parse_gates(limits(environment)))


def levels(environment: HasOptions, *, is_rate: bool) -> Sequence[float]:
    """Return the levels of a ramp. A rate without --llm-levels is one level, and so are the users (-u) of a fixed number of
    requests. Raises ValueError in one line.
    """
    text = option(environment, "levels")
    if not is_rate and has_default(environment, "levels") and option(environment, "requests"):
        return [getattr(environment.parsed_options, "num_users", None) or 1]
    if not is_rate:
        return parse_levels(text)
    if not has_default(environment, "levels"):
        return parse_rates(text)
    rate = option(environment, "rate")
    return [rate] if rate > 0.0 else DEFAULT_RATES


def shape_setting(shape: Any, environment: HasOptions, *, is_rate: bool) -> Setting:
    """Return the setting of a plan, from the shape's own attributes, otherwise from options. Raises ValueError in one line."""

    def setting(name: str, option_name: str) -> float:
        own = getattr(shape, name, None)
        return float(option(environment, option_name) if own is None else own)

    peak = setting("peak", "shape_peak") or option(environment, "rate") or _PEAK
    base = setting("base", "shape_base") or (peak / 10.0 if is_rate else float(max(1, round(peak / 10.0))))
    try:
        return Setting(
            base,
            peak,
            setting("seconds", "shape_seconds"),
            warmup=setting("warmup", "warmup"),
            whole=not is_rate,
            surge=float(getattr(shape, "surge", None) or 0.0),
            soak=float(getattr(shape, "soak", None) or 0.0),
            faults=bool(option(environment, "fault") or option(environment, "faults") or getattr(shape, "faults", ())),
        )
    except ValueError as problem:
        raise ValueError(f"{problem} (--llm-shape-base, --llm-shape-peak, --llm-shape-seconds)") from None


def search_judge(text: str, first_rate: float | None = None) -> Judge:
    """Return the judge of a search, from the thresholds in an option's text. With `first_rate`, the search is for a rate
    of requests per second. Raises ValueError in one line.
    """
    thresholds = [Threshold.parse(entry) for entry in listed(text)]
    if first_rate is not None:
        return RateLimits(Limits(thresholds or [_FEW_ERRORS], closed=False), first_rate)
    return Limits(thresholds) if thresholds else Queueing()


def extra_fields(text: str) -> dict[str, Any]:
    """Return the fields for every request's body from an option's text. Raises ValueError in one line."""
    try:
        fields = msgspec.json.decode(text) if text.strip() else {}
    except msgspec.DecodeError:
        fields = None
    if not isinstance(fields, dict):
        raise InvalidValue("body", f' must be a JSON object such as {{"ignore_eos": true}} — got {text!r}')
    return fields


def drawn_fields(fields: dict[str, Any], source: random.Random) -> dict[str, Any]:
    """Return fields of a body in which values that are a distribution's text are drawn. Raises ValueError in one line."""
    return {name: _drawn(value, source) for name, value in fields.items()}


def _drawn(value: Any, source: random.Random) -> Any:
    if isinstance(value, dict):
        return drawn_fields(value, source)
    return parse(value).draw(source) if isinstance(value, str) and is_named(value) else value


def forced(tokens: int) -> dict[str, Any]:
    """Return fields that force an answer to this number of tokens, on servers that support them (vLLM, SGLang, others)."""
    return {"ignore_eos": True, "min_tokens": tokens}


def distribution(environment: HasOptions, name: str) -> Distribution:
    """Return the distribution of an option's values. Raises ValueError in one line."""
    try:
        return parse(str(option(environment, name)))
    except ValueError as problem:
        raise InvalidValue(name, f": {problem}") from None


def replay_of(environment: HasRamp) -> Replay | None:
    """Return the replay of the ramp's or the options' trace; None without a trace. Raises ValueError in one line."""
    path = ramp_setting(environment, "trace")
    if not path:
        return None
    stretch = (float(ramp_setting(environment, name)) for name in ("trace_speed", "trace_from", "trace_seconds"))
    return Replay(open_trace(path), *stretch)


def replay_windows(replay: Replay, environment: HasRamp) -> tuple[float, list[float]]:
    """Return the levels of a replay: the length of each in seconds, and their loads."""
    return windows(replay, float(ramp_setting(environment, "hold")))


def replay_in_words(replay: Replay) -> str:
    """Return a short description of a replay."""
    trace, times = replay.trace, "" if replay.speed == 1.0 else f", at {replay.speed:g} times its speed"
    return f"{replay.rows} rows of a trace ({PurePath(trace.path).name}){times}"


def replay_notes(environment: HasRamp) -> list[str]:
    """Return notes about the trace for the user who starts a replay."""
    replay = replay_of(environment)
    if replay is None:
        return []
    trace, seconds = replay.trace, replay.seconds
    rate = f"{replay.rows / seconds:.3g} requests/s" if seconds else "all at once"
    blocks = f", prompts in blocks of {trace.block_tokens} tokens" if trace.has_blocks else ""
    lines = [
        f"{replay_in_words(replay)}: {seconds:,.1f} s, {rate}{blocks}",
        trace.clock.in_words(trace.time, replay.speed),
    ]
    if trace.shuffled:
        lines.append(
            f"{trace.shuffled} rows of the trace were written after later ones: they are sent in the order of their times"
        )
    if trace.empty:
        lines.append(f"{trace.empty} rows of the trace have no token in the prompt or in the answer: one is requested")
    return lines
