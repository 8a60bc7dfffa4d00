"""Locust as a child of the command, and the report of what it measured."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llmlocust.cli.report import make_report
from llmlocust.cli.shared import OneLine, has_run
from llmlocust.plugin.parent import end_with
from llmlocust.plugin.run.prefixes import is_taken

if TYPE_CHECKING:
    from llmlocust.metrics.thresholds import Threshold

LEVELS = "1,2,5,10,20,50,100,150,200,300"


class Done(NamedTuple):
    """A run that is over."""

    code: int
    """Its exit code, or the report's where the run was well."""
    stopped: bool
    """By whoever ran it: Ctrl-C, SIGTERM, a closed terminal."""


def run_and_report(
    url: str, folder: Path, options: dict[str, Any], more: list[str], thresholds: list[Threshold]
) -> Done:
    """Run Locust with `options` as its --llm-…, keep its files in the folder, and make the report of them."""
    prefix = folder / "run"
    user = {"chat": "Chat", "completions": "Completion"}[options.get("api", "chat")]
    told = {name: value for name, value in options.items() if value is not None and name != "api"}
    command = [
        *(sys.executable, "-m", "locust", "-f", str(_locustfile())),
        *("--headless", "--only-summary", "--host", url, "--csv", str(prefix)),
        "--skip-log-setup",  # its tables are left out, ours is the report
        # an overload ramp is meant to fail some requests: they are results, and the run is well
        *("--exit-code-on-error", "0"),
        *(f"--llm-{name.replace('_', '-')}={value}" for name, value in told.items()),
        *more,
        user,
    ]
    code, stopped = _locust(command)
    if not has_run(prefix) or is_taken(str(prefix)):
        if not any(folder.iterdir()):
            folder.rmdir()
        return Done(code or 1, stopped)
    try:
        make_report(str(prefix), thresholds)
    except OneLine as problem:
        problem.show()
        return Done(code or problem.exit_code, stopped)
    return Done(code, stopped)


def _locust(command: list[str]) -> Done:
    """Locust as a child, which Ctrl-C, SIGTERM and a closed terminal end well. A shell's exit code."""
    stopped = False

    def stop(*_: Any) -> None:
        nonlocal stopped
        stopped = True
        child.terminate()

    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=partial(end_with, os.getpid()))
    ends = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(end, stop) for end in ends]
    try:
        while True:
            try:
                code = child.wait()
            except KeyboardInterrupt:  # the terminal has sent it to the child too
                stopped = True
                continue
            return Done(code if code >= 0 else 128 - code, stopped)
    finally:
        for end, handler in zip(ends, before, strict=True):
            signal.signal(end, handler)


def _locustfile() -> Path:
    return Path(__file__).parents[1] / "plugin" / "locustfiles" / "ramp.py"
