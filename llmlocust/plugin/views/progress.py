"""The output of a run on the terminal: its plan, a line for each ended level, and progress. Without Locust."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.plugin import console
from llmlocust.plugin.run.companion import Companion
from llmlocust.plugin.run.state import RunState
from llmlocust.text import figures as words

_PROGRESS_EVERY = 10.0


class LevelLines(Companion):
    """Prints a line for each level that has ended, when all of its figures have arrived."""

    def __init__(self) -> None:
        self._printed = 0

    def tick(self, moment: float) -> None:
        self._print(self.run.cluster.report_delay)

    def ends(self, run: RunState) -> None:
        self._print(0.0)

    def _print(self, report_delay: float) -> None:
        run = self.run
        for level in run.ledger.levels[self._printed :]:
            if level.ended is None or run.moment() < level.ended + report_delay:
                break
            self._printed += 1
            if level.warmed_up is not None:
                console.say(level_line(run.ledger.figures(level, run.moment()), run.in_flight))


class Progress(Companion):
    """Prints the progress of the run if nothing was printed for a while."""

    def tick(self, moment: float) -> None:
        if console.quiet_for() < _PROGRESS_EVERY:
            return
        run = self.run
        requests = (run.plan or {}).get("requests") or run.ledger.sent
        console.say(
            f"  … {_where(run)} · {run.cluster.user_count} users · {run.ledger.ended} of {requests} requests done"
        )


def say_plan(plan: Mapping[str, Any] | None) -> None:
    """Print the plan of a run, if it has one."""
    if plan:
        console.say(f"  {plan_line(plan)}")


def plan_line(plan: Mapping[str, Any]) -> str:
    """Return a plan in one line, such as: 10 levels, 1 to 300 users, 30 s each after 5 s of warm-up, about 6 min."""
    loads, unit = plan["levels"], plan["unit"]
    if search := plan.get("search"):
        goal = f"the highest load that meets {search['limits']}" if search["limits"] else "saturation"
        last = words.with_unit(search["max_load"], unit)
        return f"a search for {goal}: from {words.load(search['start'])}, up to {last}"
    if requests := plan.get("requests"):
        return f"{requests} requests by {words.with_unit(loads[0], unit)}"
    levels = "1 level" if len(loads) == 1 else f"{len(loads)} levels"
    lowest, highest = min(loads), words.with_unit(max(loads), unit)
    pieces = [levels, highest if lowest == max(loads) else f"{words.load(lowest)} to {highest}"]
    if phases := plan.get("phases"):
        seconds = sum(phase["levels"] * (phase["warmup"] + phase["hold"]) for phase in phases)
        pieces[0] = f"{plan['shape']}: {levels}"
    else:
        seconds = len(loads) * (plan["warmup"] + plan["hold"])
        hold = f"{words.digits(plan['hold'])} s{' each' if len(loads) > 1 else ''}"
        pieces.append(hold + (f" after {words.digits(plan['warmup'])} s of warm-up" if plan["warmup"] else ""))
    return ", ".join([*pieces, f"about {_about(seconds)}"])


def _about(seconds: float) -> str:
    if seconds < 90.0:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60.0), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def level_line(figures: LevelFigures, in_flight: int) -> str:
    """Return a level in one line.

    Requests in flight may belong to it and are not in its figures yet. The line therefore contains no error rate: requests
    that fail at once would weigh too much.
    """
    name = "ttft" if figures.metric("ttft").count else "e2e"
    latency, itl = figures.metric(name), figures.metric("itl")
    pieces = [
        f"level {figures.level + 1}{_phase(figures.phase)}: {words.with_unit(figures.load, figures.unit)}",
        f"{_number(figures.throughput)} requests/s",
        f"{_number(figures.output_tokens_per_s)} tokens/s"
        if not figures.inputs_per_s > 0
        else f"{_number(figures.inputs_per_s)} inputs/s of {_number(figures.input_tokens_per_s)} tokens/s",
        f"{METRICS[name].short} p50 {_duration(latency['p50'])} p95 {_duration(latency['p95'])}",
    ]
    if itl.count:
        uncertain = itl.range_of("p99")
        pieces.append(
            f"{METRICS['itl'].short} p99 {_duration(uncertain[0])} to {_duration(uncertain[1])} "
            "(read late: use more processes)"
            if uncertain
            else f"{METRICS['itl'].short} p99 {_duration(itl['p99'])}"
        )
    pieces.append(f"{figures.ok} ok")
    if figures.failed or figures.unsent:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(figures.error_kinds.items()))
        pieces.append(f"{figures.failed + figures.unsent} failed ({kinds})")
    if figures.retries:
        pieces.append(f"{figures.attempts} attempts")
    if figures.dropped:
        pieces.append(f"{figures.dropped} dropped by the cap of requests in flight")
    if in_flight:
        pieces.append(f"{in_flight} in flight")
    return " · ".join(pieces)


def _where(run: RunState) -> str:
    """Return the present level of a run in words, such as: level 2 of 10, measured for 12 s."""
    level = run.level
    if level is None:
        return "no level yet"
    state = "between levels"
    if level.ended is None:
        state = "warming up" if level.warmed_up is None else f"measured for {level.window(run.moment()):.0f} s"
    # a search has no number of levels
    of_levels = f" of {len(run.plan['levels'])}" if run.plan and "search" not in run.plan else ""
    return f"level {level.index + 1}{of_levels}{_phase(level.phase)}, {state}"


def _phase(name: str) -> str:
    return f" ({name})" if name else ""


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _duration(seconds: float) -> str:
    if math.isnan(seconds):
        return "–"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
