"""Gates of a run, judged from its files: lines for a terminal, Markdown, JSON, and JUnit XML for a CI's own pages."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

from llmlocust.analysis.gates import DOUBTED, FAILED, PASSED, Case, Outcome, judge
from llmlocust.metrics.thresholds import Gate
from llmlocust.metrics.vocabulary import FORMAT
from llmlocust.report import page
from llmlocust.report.as_json import plain
from llmlocust.report.sections.what_was_run import ended_by
from llmlocust.runfiles.reading.run_data import RunFrames
from llmlocust.text import media

_SIGNS = {PASSED: "✅", FAILED: "❌", DOUBTED: "⚠️"}


@dataclass(frozen=True)
class Judged:
    """A run and what became of its gates."""

    prefix: str
    gates: Sequence[Gate]
    outcome: Outcome
    ended_by: str = ""
    """The gate that ended the run early, if one did."""

    def lines(self) -> list[str]:
        """For a terminal: every case that did not pass, and the gates that passed altogether."""
        said = [f"Gates: {self.outcome.headline}", *self._ended()]
        for gate in self.gates:
            cases = [case for case in self.outcome.cases if case.gate == gate]
            bad = [case for case in cases if case.status != PASSED]
            said += [f"  {case.status}: {case}" for case in bad]
            if not bad:
                many = f", at {len(cases)} levels" if len(cases) > 1 else f": {cases[0].says}"
                name = gate.threshold if len(cases) > 1 else cases[0].name
                said.append(f"  passed: {name}{many}")
        return said + [f"  {check.name}: {check.says}" for check in self.outcome.checks]

    def markdown(self) -> str:
        rows = [
            f"| {_SIGNS[case.status]} {case.status} | {media.markdown(case.gate.threshold)} | {media.markdown(case.where)} | {media.markdown(case.says)} |"
            for case in self.outcome.cases
        ]
        return "\n".join(
            [
                f"### {_SIGNS[self.outcome.status]} Gates: {self.outcome.headline}",
                "",
                *(f"{media.markdown(each)}\n" for each in self._ended()),
                "| | threshold | load | measured |",
                "|---|---|---|---|",
                *rows,
                "",
                *(f"- **{media.markdown(check.name)}**: {media.markdown(check.says)}" for check in self.outcome.checks),
                "",
            ]
        )

    def _ended(self) -> list[str]:
        return [f"The run was ended by its gate {self.ended_by}."] if self.ended_by else []

    def json(self) -> str:
        told = {
            "format": FORMAT,
            "run": self.prefix,
            "status": self.outcome.status,
            "exit_code": self.outcome.exit_code,
            "ended_by": self.ended_by or None,
            "cases": [_told(case) for case in self.outcome.cases],
            "checks": [{"key": each.key, "name": each.name, "says": each.says} for each in self.outcome.checks],
        }
        return media.as_json(told)

    def junit(self) -> str:
        """What broke is a failure, what cannot be trusted an error: CI servers tell the two apart."""
        cases = self.outcome.cases
        counts = {
            "tests": str(len(cases)),
            "failures": str(len(self.outcome.of(FAILED))),
            "errors": str(len(self.outcome.of(DOUBTED))),
            "skipped": "0",
        }
        root = ET.Element("testsuites", {"name": "llmlocust", **counts})
        suite = ET.SubElement(root, "testsuite", {"name": f"llmlocust {self.prefix}", **counts})
        says = {check.key: check.says for check in self.outcome.checks}
        for case in cases:
            of = {"name": case.name, "classname": f"llmlocust.{case.gate.threshold.name}"}
            element = ET.SubElement(suite, "testcase", of)
            if case.status == PASSED:
                ET.SubElement(element, "system-out").text = case.says
                continue
            kind = "failure" if case.status == FAILED else "error"
            told = ET.SubElement(element, kind, {"message": case.says, "type": case.status})
            told.text = "\n".join([str(case), *(says[name] for name in case.doubts)])
        ET.indent(root)
        return media.document(ET.tostring(root, encoding="unicode", xml_declaration=True)) + "\n"


def build(run: RunFrames, gates: Sequence[Gate], accepted: Collection[str] = ()) -> Judged:
    """Judge a run's gates. `accepted` are names of trust checks that may fail."""
    made = page.build(run, list(dict.fromkeys(gate.threshold for gate in gates)))
    outcome = judge(run.levels, gates, made.checks, run.goodput, accepted, is_ramp=not made.verdict.windows)
    return Judged(str(run.prefix), gates, outcome, ended_by(run))


def _told(case: Case) -> dict[str, Any]:
    """A case as plain values; durations in milliseconds, null where a value is not known or infinite."""
    threshold = case.gate.threshold
    scale = 1000.0 if threshold.is_duration else 1.0

    def number(value: float) -> float | None:
        return round(value * scale, 6) if math.isfinite(value) else None

    return {
        "threshold": str(threshold),
        "load": plain(case.load),
        "unit": case.unit,
        "part": case.part or None,
        "levels": list(case.levels),
        "status": case.status,
        "tier": case.tier,
        "value": number(case.value),
        "limit": number(threshold.bound),
        "low": number(case.low),
        "high": number(case.high),
        "within_noise": case.within_noise,
        "requests": case.requests,
        "doubts": list(case.doubts),
        "says": case.says,
    }
