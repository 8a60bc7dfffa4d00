"""Sets up the replay of a trace in a run: its plan and its levels. `plugin.run.trace_rows` assigns rows to processes."""

from __future__ import annotations

from locust.env import Environment

from llmlocust.load.curves import Staircase
from llmlocust.load.trace_windows import Windows
from llmlocust.load.traces import Replay
from llmlocust.metrics.levels import RATE
from llmlocust.plugin.run.state import RunState
from llmlocust.plugin.run.trace_rows import Rows, salt
from llmlocust.plugin.settings import replay_in_words, replay_windows


def set_up(replay: Replay, stairs: Staircase, run: RunState, environment: Environment) -> Windows:
    """Make the run a replay. Returns the windows that its shape follows instead of the staircase."""
    hold, levels = replay_windows(replay, environment)
    trace = {"rows": replay.rows, "speed": replay.speed, "shared": replay.trace.has_blocks}
    run.plan = {"unit": RATE, "levels": levels, "warmup": 0.0, "hold": hold, "trace": trace}
    run.assignment.replay(Rows(replay, salt(run.settings.options, run.id)), replay_in_words(replay))
    return Windows(levels, warmup=0.0, hold=hold, grace=stairs.grace, drain=stairs.drain)
