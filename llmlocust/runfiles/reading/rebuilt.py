"""Compute levels from the requests: of a run whose levels file is missing, and of a level that counts only until a moment."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd

from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.levels import COUNTED, USERS, Level, LevelFigures, Tally
from llmlocust.metrics.vocabulary import OK
from llmlocust.runfiles.reading.run_data import RunData, weights_of
from llmlocust.runfiles.reading.run_json import mapping, phases_planned
from llmlocust.stream.record import CUT
from llmlocust.text.message import message


def rebuilt(run: RunData) -> list[LevelFigures]:
    """Return the levels, computed from the requests."""
    requests = run.requests
    assert requests is not None
    measured = requests[(requests["measured"] == 1) & requests["level"].notna() & requests["sent"].notna()]
    has_histograms = run.histograms is not None
    distributions = {metric: run.distributions(metric) for metric in COUNTED} if has_histograms else {}
    if not measured.empty and not has_histograms:
        run.unknown.append(message("Inter-token latency by level (only the histograms file has it)."))
    if not measured.empty:
        run.unknown.append(
            message("Output tokens per second are those of requests that ended in the level, not of arrivals.")
        )
    levels = []
    for index, rows in measured.groupby("level"):
        number = int(index)
        level = Level(number, _load_of(run, number), _unit_of(run), began=0.0, warmed_up=float(rows["sent"].min()))
        level.ended = float(rows["sent"].max())
        level.phase = _phase_of(run, number)
        tally = _tally(requests, rows, level)
        for metric, by_level in distributions.items():
            if number in by_level:
                tally.histograms[metric] = by_level[number]
        figures = LevelFigures.of(level, tally, level.ended, users=_users_of(run, number))
        levels.append(replace(figures, empty=math.nan, repeated=math.nan))  # no file contains the answers
    return levels


def _tally(requests: pd.DataFrame, rows: pd.DataFrame, level: Level) -> Tally:
    tally = Tally()
    weights = weights_of(rows).round().astype(int).clip(lower=1)
    for outcome, count in weights.groupby(rows["outcome"]).sum().items():
        tally.outcomes[str(outcome)] = int(count)
    ok, times = rows[rows["outcome"] == OK], weights[rows["outcome"] == OK]
    for name in ("input_tokens", "inputs", "output_tokens", "chunks", "coalesced", "stalls"):
        tally.numbers[name] = int((ok[name].fillna(0) * times).sum())
    if "attempts" in rows:
        tally.numbers["retries"] = int(((rows["attempts"].fillna(1) - 1) * weights).sum())
    if "finish" in ok:
        tally.numbers["cut"] = int(times[ok["finish"].astype(str).str.lower().isin(CUT)].sum())
    if "right" in ok:
        tally.numbers["judged"] = int(times[ok["right"].notna()].sum())
        tally.numbers["right"] = int(times[ok["right"] == 1].sum())
    tally.numbers["counted_chunks"] = int(times[ok["token_source"] == "chunks"].sum())
    for metric in COUNTED:
        if metric in ok:
            _add(tally.histogram(metric), ok[metric].dropna() / 1000.0, times)
    ends = requests["sent"] + requests["duration"] / 1000.0
    inside = requests[(requests["outcome"] == OK) & (ends >= level.warmed_up) & (ends < level.ended)]
    tally.numbers["ended_ok"] = int(weights_of(inside).sum())
    tally.numbers["tokens_in_window"] = int((inside["output_tokens"].fillna(0) * weights_of(inside)).sum())
    return tally


def _add(histogram: Histogram, seconds: pd.Series, times: pd.Series) -> None:
    """Add values, each as often as the request that it belongs to counts."""
    for count, values in seconds.groupby(times[seconds.index]):
        if count == 1:
            histogram.extend(values)
            continue
        for value in values:
            histogram.add(value, int(count))


COMPARED_WITH_OURS = frozenset(("finished", "generation_tokens", "server.ttft", "server.e2e"))
"""The telemetry that checks compare with our own counts and times."""


def cut_at(run: RunData, level: LevelFigures, until: float) -> LevelFigures:
    """Return a level as if it had ended at a moment (epoch seconds), computed from its requests.

    Inter-token latencies and telemetry remain those of the whole level: no file has them by moment and request.
    """
    requests = run.requests
    assert requests is not None
    is_measured = (requests["level"] == level.level) & (requests["measured"] == 1)
    rows = requests[is_measured & (requests["sent"] < until)]
    shorter = Level(
        level.level, level.load, level.unit, level.began, level.warmed_up, until, level.reached, level.phase
    )
    tally = _tally(requests, rows, shorter)
    if itls := run.distributions("itl").get(level.level):
        tally.histograms["itl"] = itls
    tally.numbers["due"] = tally.outcomes.total() if level.due else 0
    figures = LevelFigures.of(shorter, tally, until, 0.0, level.users, level.stale_share, level.backing_off)
    telemetry = {key: values for key, values in level.telemetry.items() if key not in COMPARED_WITH_OURS}
    return replace(figures, empty=math.nan, repeated=math.nan, telemetry=telemetry)


def _plan(run: RunData) -> dict[str, Any]:
    return mapping(run.info.get("plan"))


def _unit_of(run: RunData) -> str:
    return str(_plan(run).get("unit") or USERS)


def _load_of(run: RunData, level: int) -> float:
    planned = _plan(run).get("levels")
    if isinstance(planned, list) and level < len(planned) and isinstance(planned[level], int | float):
        return float(planned[level])
    users = _timeline_of(run, level)
    return math.nan if users is None else float(users.max())


def _phase_of(run: RunData, level: int) -> str:
    names = [name for name, _, _ in phases_planned(_plan(run))]
    return names[level] if level < len(names) else ""


def _users_of(run: RunData, level: int) -> float:
    users = _timeline_of(run, level)
    return math.nan if users is None else float(users.median())


def _timeline_of(run: RunData, level: int) -> pd.Series | None:
    if run.timeline is None or "level" not in run.timeline:
        return None
    users = run.timeline.loc[run.timeline["level"] == level, "users"].dropna()
    return None if users.empty else users
