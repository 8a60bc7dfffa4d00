"""Tests of several servers or models with one command: one run after the other, and a page that compares them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llmlocust.cli.compare import make_comparison
from llmlocust.cli.driving import run_and_report
from llmlocust.cli.shared import GATE_FAILED, NOT_VALID, OneLine, Pages, has_run, new_folder, say

if TYPE_CHECKING:
    from llmlocust.metrics.thresholds import Threshold

_FAILED = 1
_OUTCOMES = {GATE_FAILED: "a threshold was violated", NOT_VALID: "its measurement is not valid"}


class Target(NamedTuple):
    """The server and the model that a run tests."""

    url: str
    model: str = ""


def targets_of(urls: tuple[str, ...], models: tuple[str, ...]) -> list[Target]:
    """Pair URLs with models: several URLs with at most one model, one URL with several models, or equal numbers of both.

    Raises OneLine if they do not match, or if one of several URLs is none.
    """
    names = [name.strip() for joined in models for name in joined.split(",") if name.strip()] or [""]
    from llmlocust.text.urls import shown

    for url in urls if len(urls) > 1 else ():
        if not re.match(r"https?://", url):
            raise OneLine(
                f"{shown(url)!r} is not a URL: URLs begin with http:// or https://, and options of Locust follow --"
            )
    if len(urls) > 1 and len(names) > 1 and len(urls) != len(names):
        raise OneLine(
            f"{len(urls)} URLs and {len(names)} models: give one URL with its models, several URLs with one model, or "
            "a --model for each URL in their order"
        )
    count = max(len(urls), len(names))
    return [Target(urls[i % len(urls)], names[i % len(names)]) for i in range(count)]


def labels_of(targets: list[Target]) -> list[str]:
    """Names that distinguish the targets: host, model, or both."""
    many_urls, many_models = (len(set(values)) > 1 for values in zip(*targets, strict=True))
    names = []
    for target in targets:
        parts = ([_place(target.url)] if many_urls or not many_models else []) + [target.model] * many_models
        names.append(" ".join(parts))
    return [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names, 1)]


def _place(url: str) -> str:
    """Host, port and path of a URL."""
    from llmlocust.text.urls import shown

    return re.sub(r"^\w+://", "", shown(url)).partition("?")[0].rstrip("/")


def run_each(
    targets: list[Target], out: str, options: dict[str, Any], arguments: list[str], thresholds: list[Threshold]
) -> int:
    """Run and report each target, compare the runs that measured something, and return the exit code."""
    from llmlocust.report.comparison.compared import MAX_RUNS

    if len(targets) > MAX_RUNS:
        raise OneLine(f"{len(targets)} runs are more than a page can show: give at most {MAX_RUNS}")
    labels = labels_of(targets)
    folders = [new_folder(f"{out}/{place}-{_folder_name(label)}") for place, label in enumerate(labels, 1)]
    say(f"{len(targets)} runs, one after the other: at the same time they would share this load generator.")
    codes: list[int] = []
    for target, label, folder in zip(targets, labels, folders, strict=True):
        say()
        say(f"── {len(codes) + 1} of {len(targets)}: {label} ──")
        done = run_and_report(target.url, folder, {**options, "model": target.model or None}, arguments, thresholds)
        codes.append(done.code)
        if done.stopped:
            break
    _remove_empty([*folders, Path(out)])
    measured = {label: folder for label, folder in zip(labels, folders, strict=True) if has_run(folder / "run")}
    say()
    _print_failures(labels, codes)
    _compare(measured, Path(out), thresholds)
    return _worst(codes) or (_FAILED if len(codes) < len(targets) else 0)


def _folder_name(label: str) -> str:
    """A label as the name of a folder."""
    return re.sub(r"[^\w.-]+", "-", label).strip("-.")[:80] or "run"


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()


def _print_failures(labels: list[str], codes: list[int]) -> None:
    for label, code in zip(labels, codes, strict=False):
        if code:
            say(f"{label}: {_OUTCOMES.get(code, 'failed')}, exit code {code} (see above)", err=True)
    for label in labels[len(codes) :]:
        say(f"{label}: not run", err=True)


def _compare(measured: dict[str, Path], out: Path, thresholds: list[Threshold]) -> None:
    if len(measured) < 2:
        say("No comparison: it needs two runs that measured something.")
        return
    from llmlocust.analysis.comparison.compare import TOLERANCE

    pages = Pages(out=str(out / "compare.html"))
    try:
        make_comparison([str(folder) for folder in measured.values()], list(measured), thresholds, TOLERANCE, pages)
    except OneLine as problem:  # such as searches without a common level; each run has its own report
        say(f"No comparison: {problem.message}")


def _worst(codes: list[int]) -> int:
    """The most serious exit code: a failure, then a failed gate, then a measurement that is not valid, then 0."""
    return next((code for code in codes if code not in (0, NOT_VALID, GATE_FAILED)), max(codes, default=0))
