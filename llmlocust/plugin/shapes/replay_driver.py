"""A trace's replay in a run: what is asked for, and its levels. Which process sends which rows: plugin.run.trace_rows."""

from __future__ import annotations

from pathlib import PurePath

from locust.env import Environment

from llmlocust.load.curves import Staircase
from llmlocust.load.trace_windows import Windows, windows
from llmlocust.load.traces import Replay, open_trace
from llmlocust.metrics.levels import RATE
from llmlocust.plugin.options import ramp_setting
from llmlocust.plugin.run.state import RunState
from llmlocust.plugin.run.trace_rows import Rows, salt


def asked_for(environment: Environment) -> Replay | None:
    """The replay that the ramp or the options ask for. ValueError in one line where they cannot be meant."""
    path = ramp_setting(environment, "trace")
    if not path:
        return None
    stretch = (float(ramp_setting(environment, name)) for name in ("trace_speed", "trace_from", "trace_seconds"))
    return Replay(open_trace(path), *stretch)


def windows_of(replay: Replay, environment: Environment) -> tuple[float, list[float]]:
    """Its levels: how long each is, and their loads."""
    return windows(replay, float(ramp_setting(environment, "hold")))


def take_over(replay: Replay, stairs: Staircase, run: RunState, environment: Environment) -> Windows:
    """The run is a replay: what its shape goes through instead of a staircase."""
    hold, levels = windows_of(replay, environment)
    told = {"rows": replay.rows, "speed": replay.speed, "shared": replay.trace.has_blocks}
    run.plan = {"unit": RATE, "levels": levels, "settle": 0.0, "hold": hold, "trace": told}
    run.assignment.replay(Rows(replay, salt(run.settings.options, run.id)), in_words(replay))
    return Windows(levels, settle=0.0, hold=hold, grace=stairs.grace, drain=stairs.drain)


def in_words(replay: Replay) -> str:
    trace, times = replay.trace, "" if replay.speed == 1.0 else f", at {replay.speed:g} times its speed"
    return f"{replay.rows} rows of a trace ({PurePath(trace.path).name}){times}"


def notes(environment: Environment) -> list[str]:
    """What whoever starts a replay should know of the trace."""
    replay = asked_for(environment)
    if replay is None:
        return []
    trace, seconds = replay.trace, replay.seconds
    rate = f"{replay.rows / seconds:.3g} requests/s" if seconds else "all at once"
    blocks = f", prompts in blocks of {trace.block_tokens} tokens" if trace.has_blocks else ""
    said = [
        f"{in_words(replay)}: {seconds:,.1f} s, {rate}{blocks}",
        trace.clock.in_words(trace.time, replay.speed),
    ]
    if trace.shuffled:
        said.append(
            f"{trace.shuffled} rows of the trace stood behind later ones: they are sent in the order of their times"
        )
    if trace.empty:
        said.append(f"{trace.empty} rows of the trace have no token in the prompt or in the answer: they ask for one")
    return said
