"""Several servers or models in one call: a run each, one after the other, and one page that compares them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llmlocust.cli.compare import make_comparison
from llmlocust.cli.driving import run_and_report
from llmlocust.cli.shared import DOUBTED, GATE_FAILED, OneLine, Pages, has_run, new_folder, say

if TYPE_CHECKING:
    from llmlocust.metrics.thresholds import Threshold

_FAILED = 1
_OUTCOMES = {GATE_FAILED: "a threshold was broken", DOUBTED: "its measurement cannot be trusted"}


class Target(NamedTuple):
    """What one run is of."""

    url: str
    model: str = ""


def targets_of(urls: tuple[str, ...], models: tuple[str, ...]) -> list[Target]:
    """Several URLs with one model or none, several models of one URL, or as many of both, which are pairs."""
    names = [name.strip() for each in models for name in each.split(",") if name.strip()] or [""]
    from llmlocust.plugin.http.addresses import shown

    for url in urls if len(urls) > 1 else ():
        if not re.match(r"https?://", url):
            raise OneLine(
                f"what is {shown(url)!r}? URLs begin with http:// or https://, and Locust's own options go behind --"
            )
    if len(urls) > 1 and len(names) > 1 and len(urls) != len(names):
        raise OneLine(
            f"{len(urls)} URLs and {len(names)} models: give one URL with its models, several URLs with one model, or "
            "a --model for each URL in their order"
        )
    many = max(len(urls), len(names))
    return [Target(urls[i % len(urls)], names[i % len(names)]) for i in range(many)]


def labels_of(targets: list[Target]) -> list[str]:
    """What tells them apart: host, model, or both."""
    many_urls, many_models = (len(set(each)) > 1 for each in zip(*targets, strict=True))
    names = []
    for target in targets:
        parts = ([_place(target.url)] if many_urls or not many_models else []) + [target.model] * many_models
        names.append(" ".join(parts))
    return [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names, 1)]


def _place(url: str) -> str:
    """Host, port and path."""
    from llmlocust.plugin.http.addresses import shown

    return re.sub(r"^\w+://", "", shown(url)).partition("?")[0].rstrip("/")


def run_each(targets: list[Target], out: str, options: dict[str, Any], more: list[str], limits: list[Threshold]) -> int:
    """A run of each, their reports, and the comparison of those that measured something. Returns the exit code."""
    from llmlocust.report.comparison.compared import MOST_RUNS

    if len(targets) > MOST_RUNS:
        raise OneLine(f"{len(targets)} runs are more than a page can show: give at most {MOST_RUNS}")
    labels = labels_of(targets)
    folders = [new_folder(f"{out}/{place}-{_as_name(label)}") for place, label in enumerate(labels, 1)]
    say(f"{len(targets)} runs, one after the other: at the same time they would share this load generator.")
    codes: list[int] = []
    for target, label, folder in zip(targets, labels, folders, strict=True):
        say()
        say(f"── {len(codes) + 1} of {len(targets)}: {label} ──")
        done = run_and_report(target.url, folder, {**options, "model": target.model or None}, more, limits)
        codes.append(done.code)
        if done.stopped:
            break
    _remove_empty([*folders, Path(out)])
    measured = {label: folder for label, folder in zip(labels, folders, strict=True) if has_run(folder / "run")}
    say()
    _say_what_failed(labels, codes)
    _compare(measured, Path(out), limits)
    return _worst(codes) or (_FAILED if len(codes) < len(targets) else 0)


def _as_name(label: str) -> str:
    """A label as a folder's name."""
    return re.sub(r"[^\w.-]+", "-", label).strip("-.")[:80] or "run"


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()


def _say_what_failed(labels: list[str], codes: list[int]) -> None:
    for label, code in zip(labels, codes, strict=False):
        if code:
            say(f"{label}: {_OUTCOMES.get(code, 'failed')}, exit code {code} (see above)", err=True)
    for label in labels[len(codes) :]:
        say(f"{label}: not run", err=True)


def _compare(measured: dict[str, Path], out: Path, limits: list[Threshold]) -> None:
    if len(measured) < 2:
        say("No comparison: it needs two runs that measured something.")
        return
    from llmlocust.analysis.comparison.compare import TOLERANCE

    pages = Pages(out=str(out / "compare.html"))
    try:
        make_comparison([str(each) for each in measured.values()], list(measured), limits, TOLERANCE, pages)
    except OneLine as problem:  # such as searches with no level in common; each run has its own report
        say(f"No comparison: {problem.message}")


def _worst(codes: list[int]) -> int:
    """What failed counts more than a gate, and a gate more than a doubt."""
    return next((code for code in codes if code not in (0, DOUBTED, GATE_FAILED)), max(codes, default=0))
