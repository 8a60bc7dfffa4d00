"""Running of Locust as a child process of the command, and the report of the run."""

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
    """The end of a run."""

    code: int
    """Exit code of Locust; that of the report if Locust's is 0."""
    stopped: bool
    """Whether the user stopped the run: Ctrl-C, SIGTERM, or a closed terminal."""


def run_and_report(
    url: str, folder: Path, options: dict[str, Any], arguments: list[str], thresholds: list[Threshold]
) -> Done:
    """Run Locust with `options` as its --llm-… options, keep its files in the folder, and write their report."""
    prefix = folder / "run"
    user = {"chat": "Chat", "completions": "Completion"}[options.get("api", "chat")]
    values = {name: value for name, value in options.items() if value is not None and name != "api"}
    command = [
        *(sys.executable, "-m", "locust", "-f", str(_locustfile())),
        *("--headless", "--only-summary", "--host", url, "--csv", str(prefix)),
        "--skip-log-setup",  # without its tables: the report replaces them
        # failed requests are a result of an overload ramp, not a failure of the run
        *("--exit-code-on-error", "0"),
        *(f"--llm-{name.replace('_', '-')}={value}" for name, value in values.items()),
        *arguments,
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
    """Run Locust as a child process. Ctrl-C, SIGTERM and a closed terminal let it finish. The exit code is as in shells."""
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
            except KeyboardInterrupt:  # the terminal has sent the signal to the child, too
                stopped = True
                continue
            return Done(code if code >= 0 else 128 - code, stopped)
    finally:
        for end, handler in zip(ends, before, strict=True):
            signal.signal(end, handler)


def _locustfile() -> Path:
    return Path(__file__).parents[1] / "plugin" / "locustfiles" / "ramp.py"
