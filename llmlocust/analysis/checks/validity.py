"""Whether a run's numbers can be believed: each doubt is a check with a value, a limit and a sentence. Pure.

A check fails where the numbers are hurt. What only limits how far they reach is said with `ok` true.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from llmlocust.analysis.checks import answers, cycles, generator, run, steadiness
from llmlocust.analysis.checks.check import Check, Facts
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.thresholds import Threshold


def checks(
    levels: Sequence[LevelFigures], facts: Facts | None = None, thresholds: Iterable[Threshold] = ()
) -> list[Check]:
    """Every check that the run has figures for, the failed ones first."""
    facts = facts or Facts()
    unplanned = facts.bare or facts.whole_requests
    wanted = {threshold.statistic for threshold in thresholds}
    found = [
        None if unplanned else answers.empty(levels, facts),
        answers.unread(levels, facts),
        answers.length(levels, facts),
        None if unplanned else answers.levels_without_requests(levels, facts),
        answers.enough_requests(levels, "p95", facts, strict=True),
        answers.enough_requests(levels, "p99", facts, strict="p99" in wanted),
        *generator.unsent_requests(levels),
        generator.client_cpu(levels, facts),
        generator.cpu_throttling(levels, facts),
        generator.cpu_wait(levels, facts),
        generator.client_queue_time(levels),
        generator.token_times(levels),
        generator.event_loop_lag(levels, facts),
        generator.turn_wait(levels, facts),
        generator.back_off(levels),
        answers.tokens_together(levels),
        answers.token_counts(levels),
        None if unplanned else answers.aborted_requests(levels),
        run.completed(levels, facts),
        run.ended(facts),
        run.request_rows(facts),
        None if unplanned else run.levels_reached(levels),
        generator.cap_in_flight(levels),
        generator.schedule_delay(levels),
        run.level_length(levels, facts),
        run.lost_requests(levels, facts),
        run.outages(levels, facts),
        *steadiness.warm_up_and_drift(levels, facts),
        generator.lost_workers(levels, facts),
        generator.frozen_workers(levels, facts),
        answers.prefix_cache(levels, facts),
        answers.usage(levels, facts),
        answers.consistency(levels),
        generator.clock(facts),
        cycles.littles_law(levels, facts),
        cycles.think_time(levels, facts),
    ]
    found = list(dict.fromkeys(found))  # both percentiles have the same to say of no requests at all
    ours = _with_own([each for each in found if each is not None], facts.own)
    return sorted(ours, key=lambda each: each.ok)


def _with_own(ours: list[Check], own: Sequence[Check]) -> list[Check]:
    """The process's own checks added; where both looked at the same, the one that fails counts."""
    failed = {each.key for each in own if not each.ok}
    kept = [each for each in ours if each.key not in failed]
    keys = {each.key for each in kept}
    return [*kept, *(each for each in own if each.key not in keys)]


def standing(checks: Iterable[Check], rests: Mapping[str, Collection[int]]) -> dict[str, bool]:
    """Which numbers stand in spite of the checks that failed: those that rest on no level that one of them marks.

    `rests`: by number, the levels that it rests on. A failed check that marks no level is of the whole run, but for
    levels that never came.
    """
    failed = [each for each in checks if not each.ok and (each.levels or each.key != "run_completed")]
    marked = {level for each in failed for level in each.levels}
    whole = any(not each.levels for each in failed)
    return {name: not whole and marked.isdisjoint(levels) for name, levels in rests.items()}
