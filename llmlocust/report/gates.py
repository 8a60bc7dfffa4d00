"""The outcome of a run's gates as lines for a terminal, as Markdown, as JSON, and as JUnit XML for CI."""

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree as ET

from llmlocust.analysis.gates import DOUBTED, FAILED, PASSED, Case
from llmlocust.assessment.gates import Judged
from llmlocust.report.as_json import plain
from llmlocust.runfiles.formats import FORMAT
from llmlocust.text import media

_SIGNS = {PASSED: "✅", FAILED: "❌", DOUBTED: "⚠️"}


def lines(judged: Judged) -> list[str]:
    """Return lines for a terminal: every case that did not pass, and every gate that passed in all cases."""
    text = [f"Gates: {judged.outcome.headline}", *_ended(judged)]
    for gate in judged.gates:
        cases = [case for case in judged.outcome.cases if case.gate == gate]
        bad = [case for case in cases if case.status != PASSED]
        text += [f"  {case.status}: {case}" for case in bad]
        if not bad:
            where = "for" if gate.is_of_run else "at"
            subjects = (
                ("soaks" if cases[0].gate.threshold.metric.endswith(".slope") else "faults")
                if gate.is_of_run
                else "levels"
            )
            result = f", {where} {len(cases)} {subjects}" if len(cases) > 1 else f": {cases[0].says}"
            name = gate.threshold if len(cases) > 1 else cases[0].name
            text.append(f"  passed: {name}{result}")
    return text + [f"  {check.name}: {check.says}" for check in judged.outcome.checks]


def markdown(judged: Judged) -> str:
    """Return a table of all cases, and the failed checks."""
    rows = [
        f"| {_SIGNS[case.status]} {case.status} | {media.markdown(case.gate.threshold)} | {media.markdown(case.where)} | {media.markdown(case.says)} |"
        for case in judged.outcome.cases
    ]
    return "\n".join(
        [
            f"### {_SIGNS[judged.outcome.status]} Gates: {judged.outcome.headline}",
            "",
            *(f"{media.markdown(sentence)}\n" for sentence in _ended(judged)),
            "| | threshold | load | measured |",
            "|---|---|---|---|",
            *rows,
            "",
            *(f"- **{media.markdown(check.name)}**: {media.markdown(check.says)}" for check in judged.outcome.checks),
            "",
        ]
    )


def _ended(judged: Judged) -> list[str]:
    return [f"The run was ended by its gate {judged.ended_by}."] if judged.ended_by else []


def as_json(judged: Judged) -> str:
    values = {
        "format": FORMAT,
        "run": judged.prefix,
        "status": judged.outcome.status,
        "exit_code": judged.outcome.exit_code,
        "ended_by": judged.ended_by or None,
        "cases": [_case(case) for case in judged.outcome.cases],
        "checks": [{"key": check.key, "name": check.name, "says": check.says} for check in judged.outcome.checks],
    }
    return media.as_json(values)


def junit(judged: Judged) -> str:
    """Return JUnit XML. A violated threshold is a failure, an invalid measurement an error: CI servers distinguish them."""
    cases = judged.outcome.cases
    counts = {
        "tests": str(len(cases)),
        "failures": str(len(judged.outcome.of(FAILED))),
        "errors": str(len(judged.outcome.of(DOUBTED))),
        "skipped": "0",
    }
    root = ET.Element("testsuites", {"name": "llmlocust", **counts})
    suite = ET.SubElement(root, "testsuite", {"name": f"llmlocust {judged.prefix}", **counts})
    says = {check.key: check.says for check in judged.outcome.checks}
    for case in cases:
        attributes = {"name": case.name, "classname": f"llmlocust.{case.gate.threshold.name}"}
        element = ET.SubElement(suite, "testcase", attributes)
        if case.status == PASSED:
            ET.SubElement(element, "system-out").text = case.says
            continue
        kind = "failure" if case.status == FAILED else "error"
        problem = ET.SubElement(element, kind, {"message": case.says, "type": case.status})
        problem.text = "\n".join([str(case), *(says[name] for name in case.doubts)])
    ET.indent(root)
    return media.document(ET.tostring(root, encoding="unicode", xml_declaration=True)) + "\n"


def _case(case: Case) -> dict[str, Any]:
    """Return a case as plain values: durations in milliseconds; null if a value is not known or infinite."""
    threshold = case.gate.threshold
    scale = 1000.0 if threshold.is_duration else 1.0

    def number(value: float) -> float | None:
        return round(value * scale, 6) if math.isfinite(value) else None

    return {
        "threshold": str(threshold),
        "load": plain(case.load),
        "subject": case.subject or None,
        "unit": case.unit,
        "phase": case.phase or None,
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
