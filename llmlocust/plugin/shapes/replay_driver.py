"""A trace's replay in a run: what is asked for, and its levels. Which process sends which rows: plugin.run.trace_rows."""

from __future__ import annotations

from locust.env import Environment

from llmlocust.load.curves import Staircase
from llmlocust.load.trace_windows import Windows
from llmlocust.load.traces import Replay
from llmlocust.metrics.levels import RATE
from llmlocust.plugin.run.state import RunState
from llmlocust.plugin.run.trace_rows import Rows, salt
from llmlocust.plugin.settings import replay_in_words, replay_windows


def take_over(replay: Replay, stairs: Staircase, run: RunState, environment: Environment) -> Windows:
    """The run is a replay: what its shape goes through instead of a staircase."""
    hold, levels = replay_windows(replay, environment)
    told = {"rows": replay.rows, "speed": replay.speed, "shared": replay.trace.has_blocks}
    run.plan = {"unit": RATE, "levels": levels, "warmup": 0.0, "hold": hold, "trace": told}
    run.assignment.replay(Rows(replay, salt(run.settings.options, run.id)), replay_in_words(replay))
    return Windows(levels, warmup=0.0, hold=hold, grace=stairs.grace, drain=stairs.drain)
