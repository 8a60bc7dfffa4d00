"""What the checks need to know of a run besides its levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from llmlocust.analysis.breakpoints.verdict import Verdict
from llmlocust.analysis.checks.check import Check, Facts
from llmlocust.analysis.checks.cycles import think_time_of
from llmlocust.analysis.phases.phases import of_the_ramp
from llmlocust.load.prompts import load as load_prompts
from llmlocust.runfiles.reading.level_series import cache_hits, courses, gone, stood_still, tokens_a_chunk
from llmlocust.runfiles.reading.run_data import LOCUST, OURS, TABLE, RunData
from llmlocust.runfiles.reading.run_json import count, listed, mapping, number, phases_planned, planned


def facts_of(run: RunData, verdict: Verdict, outages: Mapping[int, tuple[float, float]]) -> Facts:
    """Gather the facts from the files of a run."""
    info = run.info
    counts, rows, classes = (mapping(info.get(name)) for name in ("counts", "rows", "user_classes"))
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
        cache_hits=cache_hits(run.levels, run.telemetry),
        prompts=_repeated(mapping(info.get("options"))),
        shared=any(mapping(info.get("options")).get(name) for name in ("llm_system", "llm_prefix_tokens"))
        or bool(mapping(mapping(info.get("plan")).get("trace")).get("shared")),
        gone=gone(run.levels, run.workers),
        stood_still=stood_still(run.levels, run.workers),
        outages=outages,
        outages_left_out=verdict.outages,
        silent=_silent(run),
        tokens_a_chunk=tokens_a_chunk(run.successes()),
        length_noise=run.length_noise(),
        rows_seen=count(rows.get("seen")),
        rows_kept=count(rows.get("kept")),
        rows_found=run.whole_rows(),
        rows_outside=run.rows_outside(),
        sent=count(counts.get("sent")),
        ended=count(counts.get("ended")),
        think_time=think_time_of(classes) if classes else None,
        clocks=_clocks(info),
        decisive=verdict.decisive(of_the_ramp(run.levels)),
        bare=run.source == TABLE,
        whole_requests=run.source == LOCUST,
        own=[made for told in listed(info.get("checks")) if (made := _own_check(told)) is not None],
    )


def _repeated(told: Mapping[str, Any]) -> int | None:
    """How many prompts were asked again and again; None where each was unique, 0 where nobody can tell how many."""
    if told.get("llm_unique") is not False:
        return None
    try:
        return len(load_prompts(str(told.get("llm_prompts") or "")))
    except ValueError:  # a file that is elsewhere
        return 0


def _silent(run: RunData) -> int:
    processes = count(run.info.get("processes"))
    if run.workers is None or processes is None:
        return 0
    return max(0, processes - int(run.workers["worker"].nunique()))


def _usual_worst(run: RunData, column: str) -> dict[int, float]:
    """The 90th percentile of a level's seconds: one late second is no late level."""
    return _by_level(run, column, lambda seconds: float(seconds.quantile(0.9)))


def _mean(run: RunData, column: str) -> dict[int, float]:
    """The mean of a level's seconds."""
    return _by_level(run, column, lambda seconds: float(seconds.mean()))


def _by_level(run: RunData, column: str, figure: Callable[[pd.Series], float]) -> dict[int, float]:
    if run.timeline is None or column not in run.timeline or "level" not in run.timeline:
        return {}
    known = run.timeline.dropna(subset=["level", column])
    return {int(level): figure(seconds) for level, seconds in known.groupby("level")[column]}


def _clocks(info: Mapping[str, Any]) -> dict[str, int]:
    """Return the measured requests by clock. Where the run did not count them, its clocks are known by name."""
    counted = {name: value for name, told in mapping(info.get("clocks")).items() if (value := count(told))}
    return counted or dict.fromkeys(filter(None, str(info.get("clock") or "").split(" and ")), 1)


def _own_check(told: Any) -> Check | None:
    if not isinstance(told, dict) or "name" not in told:
        return None
    value, limit = (number(told.get(name)) for name in ("value", "limit"))
    levels = tuple(each for each in listed(told.get("levels")) if isinstance(each, int))
    return Check(str(told["name"]), bool(told.get("ok", True)), value, limit, str(told.get("says") or ""), levels)
