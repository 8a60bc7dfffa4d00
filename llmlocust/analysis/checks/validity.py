"""Whether the measurement of a run is valid. Each check has a value, a limit and a sentence. Pure.

A check fails if the figures are wrong. A check that only restricts what the figures show passes, and marks levels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from llmlocust.analysis.checks import answers, cycles, generator, run, server, steadiness
from llmlocust.analysis.checks.check import Check, Facts
from llmlocust.analysis.phases.phases import undisturbed
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.thresholds import Threshold


def checks(
    levels: Sequence[LevelFigures], facts: Facts | None = None, thresholds: Iterable[Threshold] = ()
) -> list[Check]:
    """Return all checks that the run has figures for, the failed ones first."""
    facts = facts or Facts()
    whole = levels
    levels = undisturbed(whole) or whole  # a run of which faults leave nothing still has requests
    unplanned = facts.is_table or facts.whole_requests
    wanted = {threshold.statistic for threshold in thresholds}
    results = [
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
        run.completed(whole, facts),
        run.ended(facts),
        run.request_rows(facts),
        None if unplanned else run.levels_reached(levels),
        generator.cap_in_flight(levels),
        generator.schedule_delay(levels),
        run.level_length(levels, facts),
        run.lost_requests(levels, facts),
        run.retries(levels),
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
        server.server_counts(levels, facts),
    ]
    results.append(server.server_times(levels, facts, [check for check in results if check is not None]))
    results = list(dict.fromkeys(results))  # without requests, the checks of both percentiles are equal
    own = _with_process_checks([check for check in results if check is not None], facts.process_checks)
    return sorted(own, key=lambda check: check.ok)


def _with_process_checks(own: list[Check], process_checks: Sequence[Check]) -> list[Check]:
    """Add the checks that the process made; of two checks with the same key, the one that fails counts."""
    failed = {check.key for check in process_checks if not check.ok}
    kept = [check for check in own if check.key not in failed]
    keys = {check.key for check in kept}
    return [*kept, *(check for check in process_checks if check.key not in keys)]


def valid_numbers(checks: Iterable[Check], supporting: Mapping[str, Collection[int]]) -> dict[str, bool]:
    """Return whether each number is valid although checks failed: it depends on no level that a failed check marks.

    `supporting`: by number, the levels that it depends on. A failed check that marks no level affects the whole run,
    except that planned levels which never ran affect no number.
    """
    failed = [check for check in checks if not check.ok and (check.levels or check.key != "run_completed")]
    marked = {level for check in failed for level in check.levels}
    affects_all = any(not check.levels for check in failed)
    return {name: not affects_all and marked.isdisjoint(levels) for name, levels in supporting.items()}
