"""What a run says on the terminal: a line when a level ends, and now and then a line on how it goes."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING

from llmlocust.analysis import words
from llmlocust.numbers.levels import LevelFigures

if TYPE_CHECKING:
    from llmlocust.plugin.run import Run

_PROGRESS_EVERY = 10.0

_last_said = 0.0


def say(line: str) -> None:
    global _last_said  # noqa: PLW0603  # one terminal, one time of its last line
    _last_said = time.monotonic()
    print(line, flush=True)


def error(line: str) -> None:
    print(f"llmlocust: {line}", file=sys.stderr, flush=True)


def level_line(figures: LevelFigures, in_flight: int) -> str:
    """A level in one line. What is in flight may belong to it and is not in its figures yet, so no share of errors is
    told: requests that fail at once would weigh too much.
    """
    ttft, gap, e2e = figures.metric("ttft"), figures.metric("gap"), figures.metric("e2e")
    parts = [
        f"level {figures.level + 1}{_part(figures.part)}: {words.with_unit(figures.load, figures.unit)}",
        f"{_number(figures.throughput)} requests/s",
        f"{_number(figures.output_tokens_per_s)} tokens/s"
        if not figures.inputs_per_s > 0
        else f"{_number(figures.inputs_per_s)} inputs/s of {_number(figures.input_tokens_per_s)} tokens/s",
        f"TTFT p50 {_duration(ttft['p50'])} p95 {_duration(ttft['p95'])}"
        if ttft.count
        else f"E2E p50 {_duration(e2e['p50'])} p95 {_duration(e2e['p95'])}",
    ]
    if gap.count:
        unsure = gap.range_of("p99")
        parts.append(
            f"gap p99 {_duration(unsure[0])} to {_duration(unsure[1])} (read late: use more processes)"
            if unsure
            else f"gap p99 {_duration(gap['p99'])}"
        )
    parts.append(f"{figures.ok} ok")
    if figures.failed:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(figures.error_kinds.items()))
        parts.append(f"{figures.failed} failed ({kinds})")
    if figures.held_back:
        parts.append(f"{figures.held_back} held back by the cap of requests in flight")
    if in_flight:
        parts.append(f"{in_flight} in flight")
    return " · ".join(parts)


def progress(run: Run) -> None:
    """How it goes, where nothing has been said for a while."""
    if time.monotonic() - _last_said < _PROGRESS_EVERY:
        return
    users = run.environment.runner.user_count if run.environment.runner else 0
    level = run.level
    state = "between levels"
    if level and level.ended is None:
        state = "settling" if level.settled is None else f"measured for {level.window(run.moment()):.0f} s"
    planned = run.plan and "search" not in run.plan  # a search has no number of levels
    number = "" if level is None else f"level {level.index + 1}" + (f" of {len(run.plan['levels'])}" if planned else "")
    number += "" if level is None else _part(level.part)
    requests = (run.plan or {}).get("requests") or run.ledger.sent
    say(f"  … {number or 'no level yet'}, {state} · {users} users · {run.ledger.ended} of {requests} requests done")


def _part(name: str) -> str:
    return f" ({name})" if name else ""


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _duration(seconds: float) -> str:
    if math.isnan(seconds):
        return "–"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
