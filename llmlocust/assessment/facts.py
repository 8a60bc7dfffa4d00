"""The facts of a run that checks need besides its levels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from llmlocust.analysis.breakpoints.verdict import Verdict
from llmlocust.analysis.causes.context import Context, FailureAges
from llmlocust.analysis.checks.check import Check, Facts
from llmlocust.analysis.phases.phases import of_the_ramp
from llmlocust.load.prompts import load as load_prompts
from llmlocust.metrics import vocabulary
from llmlocust.runfiles.reading.level_series import courses, lost_workers, stood_still, tokens_a_chunk
from llmlocust.runfiles.reading.rebuilt import COMPARED_WITH_OURS
from llmlocust.runfiles.reading.run_data import LOCUST, OURS, TABLE, RunData
from llmlocust.runfiles.reading.run_json import (
    count,
    listed,
    mapping,
    number,
    phases_planned,
    planned,
    think_time,
)


def facts_of(run: RunData, verdict: Verdict, outages: Mapping[int, tuple[float, float]]) -> Facts:
    """Gather the facts from the files of a run."""
    info = run.info
    counts, rows = (mapping(info.get(name)) for name in ("counts", "rows"))
    return Facts(
        client_cpu=_usual_worst(run, "client_cpu"),
        loop_lag={level: value / 1000.0 for level, value in _usual_worst(run, "loop_lag").items()},
        turn_wait={level: value / 1000.0 for level, value in _usual_worst(run, "turn_wait").items()},
        throttled=_mean(run, "throttled"),
        core_wait=_mean(run, "core_wait"),
        cut_off="ended" in info and info["ended"] is None,
        planned=planned(mapping(info.get("plan"))) if run.source == OURS else (),
        hold=None if run.rebuilt else number(mapping(info.get("plan")).get("hold")),
        requests=count(mapping(info.get("plan")).get("requests")),
        holds=() if run.rebuilt else [hold for *_, hold in phases_planned(mapping(info.get("plan")))],
        stopped=info["stopped"] if isinstance(info.get("stopped"), bool) else None,
        empty=run.empty(),
        unread=run.unread(),
        unread_fields=run.unread_fields(),
        busy=run.busy(),
        courses=courses(run.levels, run.requests),
        warmup=number(mapping(info.get("plan")).get("warmup")),
        cache_hits={
            level.level: cached.mean
            for level in run.levels
            if (cached := level.reported("cached_share")) is not None and not math.isnan(cached.mean)
        },
        prompts=_repeated(mapping(info.get("options"))),
        shared=any(mapping(info.get("options")).get(name) for name in ("llm_system", "llm_prefix_tokens"))
        or bool(mapping(mapping(info.get("plan")).get("trace")).get("shared")),
        lost_workers=lost_workers(run.levels, run.workers),
        frozen_workers=stood_still(run.levels, run.workers),
        outages=outages,
        outages_left_out=verdict.outages,
        telemetry_events=_with_events(run),
        unreported_workers=_unreported(run),
        tokens_per_chunk=tokens_a_chunk(run.successes()),
        length_noise=run.length_noise(),
        rows_seen=count(rows.get("seen")),
        rows_kept=count(rows.get("kept")),
        rows_found=run.whole_rows(),
        rows_outside=run.rows_outside(),
        sent=count(counts.get("sent")),
        ended=count(counts.get("ended")),
        think_time=think_time(info),
        clocks=_clocks(info),
        readers=_requests_by(info, "readers"),
        decisive=verdict.decisive(of_the_ramp(run.levels)),
        is_table=run.source == TABLE,
        whole_requests=run.source == LOCUST,
        process_checks=[check for row in listed(info.get("checks")) if (check := _process_check(row)) is not None],
    )


def context_of(run: RunData, facts: Facts, checks: Sequence[Check]) -> Context:
    """Gather the facts that the causes need."""
    return Context(
        facts=facts,
        checks=checks,
        sources=run.sources,
        events=run.events,
        ages=_failure_ages(run),
        unreachable=run.unreachable_from(),
        server=str(mapping(run.info.get("preflight")).get("owned_by") or ""),
    )


_OWN_END = (vocabulary.OK, *vocabulary.NOT_THE_SERVERS, "http_429", "connect")
"""Outcomes of requests that no other party ended after a time; the load generator's own time-outs are excluded, too."""


def _failure_ages(run: RunData) -> dict[int, FailureAges]:
    """Return the ages of failed requests by level: those that the server or a proxy ended."""
    if run.requests is None or "level" not in run.requests:
        return {}
    rows = run.requests
    ended = ~rows["outcome"].isin(_OWN_END) & ~rows["outcome"].astype(str).str.startswith("timeout_")
    seconds = rows.loc[ended & rows["level"].notna(), ["level", "duration"]].dropna()
    ages = {}
    for level, durations in seconds.groupby("level")["duration"]:
        low, median, high = (float(durations.quantile(q)) / 1000.0 for q in (0.05, 0.5, 0.95))
        ages[int(level)] = FailureAges(len(durations), low, median, high)
    return ages


def _repeated(options: Mapping[str, Any]) -> int | None:
    """Return the number of prompts that were sent repeatedly; None if each was unique, 0 if the number is not known."""
    if options.get("llm_unique") is not False:
        return None
    try:
        return len(load_prompts(str(options.get("llm_prompts") or "")))
    except ValueError:  # the file is not on this machine
        return 0


def _unreported(run: RunData) -> int:
    """Return the number of workers that never reported."""
    processes = count(run.info.get("processes"))
    if run.workers is None or processes is None:
        return 0
    return max(0, processes - int(run.workers["worker"].nunique()))


def _with_events(run: RunData) -> frozenset[int]:
    """Return the levels during which a source of the server's counts and times restarted or did not answer."""
    others = {source.name for source in run.sources if source.exposes and not COMPARED_WITH_OURS & set(source.exposes)}
    return frozenset(
        level.level
        for level in run.levels
        for event in run.events
        if event.source not in others and event.time < level.ended and event.time + event.seconds >= level.warmed_up
    )


def _usual_worst(run: RunData, column: str) -> dict[int, float]:
    """Return the 90th percentile of the seconds of each level: a single late second does not make a level late."""
    return _by_level(run, column, lambda seconds: float(seconds.quantile(0.9)))


def _mean(run: RunData, column: str) -> dict[int, float]:
    """Return the mean of the seconds of each level."""
    return _by_level(run, column, lambda seconds: float(seconds.mean()))


def _by_level(run: RunData, column: str, figure: Callable[[pd.Series], float]) -> dict[int, float]:
    if run.timeline is None or column not in run.timeline or "level" not in run.timeline:
        return {}
    known = run.timeline.dropna(subset=["level", column])
    return {int(level): figure(seconds) for level, seconds in known.groupby("level")[column]}


def _clocks(info: Mapping[str, Any]) -> dict[str, int]:
    """Return the measured requests by clock. If the run did not count them, each clock that it names counts as 1."""
    return _requests_by(info, "clocks") or dict.fromkeys(filter(None, str(info.get("clock") or "").split(" and ")), 1)


def _requests_by(info: Mapping[str, Any], field: str) -> dict[str, int]:
    """Return the numbers of measured requests in a field of run.json, without those that are 0."""
    return {name: requests for name, value in mapping(info.get(field)).items() if (requests := count(value))}


def _process_check(row: Any) -> Check | None:
    """Return a check of run.json that the running process made; None if it is malformed."""
    if not isinstance(row, dict) or "name" not in row:
        return None
    value, limit = (number(row.get(name)) for name in ("value", "limit"))
    levels = tuple(level for level in listed(row.get("levels")) if isinstance(level, int))
    says = row.get("says")
    return Check(
        str(row["name"]), bool(row.get("ok", True)), value, limit, says if isinstance(says, str) else "", levels
    )
