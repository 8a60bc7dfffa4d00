"""The gates on a whole run: what its faults and soaks are judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from llmlocust.analysis.checks.check import Check
from llmlocust.analysis.gates import Case
from llmlocust.analysis.run_gates import Subject, cases_of
from llmlocust.assessment.faults import Faults, Repeats
from llmlocust.assessment.soaks import Soaks
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.thresholds import Gate
from llmlocust.metrics.vocabulary import PHASES
from llmlocust.text import figures as words
from llmlocust.text.message import message, term


def gates_of_run(faults: Faults, soaks: Soaks) -> Callable[[Gate, Sequence[Check]], list[Case]]:
    """Return the function that judges a gate by the faults and soaks of a run."""

    @cache
    def subjects() -> list[Subject]:
        of_faults = [Subject(fault.name, _levels_of(faults, fault), fault.reports) for fault in faults.repeats]
        return [*of_faults, *(Subject(name_of(drift.level), [drift.level], drift=drift) for drift in soaks.drifts)]

    return lambda gate, failed: cases_of(gate, subjects(), failed)


def _levels_of(faults: Faults, fault: Repeats) -> list[LevelFigures]:
    """Return the levels that the injections of a fault were in."""
    loads = [load for report in fault.reports if (load := faults.load_of(report)) is not None]
    return list({level.level: level for load in loads for level in load.levels}.values())


def name_of(level: LevelFigures) -> str:
    """Return the load of a level, with its phase."""
    load = words.with_unit(level.load, level.unit)
    if not level.phase:
        return load
    phase = term(level.phase) if level.phase in PHASES else level.phase
    return message("{load} ({phase})", load=load, phase=phase)
