"""Runs of Locust against the simulator, whose own times are the true ones, for `llmlocust calibrate`.

Each point is a run of one level: a fixed number of users, answers of equal length, and a fixed time between tokens.
Server and load generator each get a core if the machine has two.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from llmlocust.calibration.errors import Latencies, Point
from llmlocust.metrics.level_rows import level_of_row
from llmlocust.runfiles import formats

GRID = ((10, 20.0), (50, 20.0), (100, 10.0), (200, 10.0), (300, 10.0), (300, 8.0), (300, 6.0), (300, 5.0), (300, 4.0))
"""Number of streams and milliseconds between the tokens of a stream: 500 to 75,000 tokens/s."""

_TOKENS = 100
"""Tokens of each answer."""


def machine() -> dict[str, str]:
    """The machine, the versions and the time of a calibration, as shown on its page."""
    return {
        "Measured": datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
        "Processor": _processor(),
        "Cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "System": platform.platform(),
        "Versions": ", ".join(
            [f"{name} {version(name)}" for name in ("llmlocust", "locust")] + [f"Python {platform.python_version()}"]
        ),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def measure(streams: int, itl_ms: float, seconds: float, folder: Path) -> Point:
    """Measure a point. Raises RuntimeError with Locust's last line if the run fails."""
    prefix = folder / f"{streams}-{itl_ms:g}"
    with simulator(slots=streams, step_ms=itl_ms, step_ms_per_seq=0, prefill_ms_per_token=0) as url:
        _load(url, streams, seconds, prefix)
        truth = [json.loads(line) for line in urllib.request.urlopen(f"{url}/truth")]  # noqa: S310  # our own server
    return _point(streams, itl_ms / 1000.0, prefix, truth)


@contextmanager
def simulator(**settings: Any) -> Iterator[str]:
    """Start a simulated server on a free port and on the first core; yield its URL."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", "llmlocust.simulator", "--port=0", "--truth-tokens=20000000", *options]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=_on_core(0))
    try:
        line = child.stdout.readline() if child.stdout else ""
        if "http" not in line:
            raise RuntimeError(f"the simulated server did not start (exit {child.wait()})")
        yield line.split()[-1]
    finally:
        child.terminate()
        child.wait()


def _load(url: str, streams: int, seconds: float, prefix: Path) -> None:
    locustfile = Path(__file__).parents[1] / "plugin" / "locustfiles" / "chat.py"
    options = {
        "--host": url,
        "--users": streams,
        "--spawn-rate": 100,
        "--run-time": f"{seconds + streams / 100 + 1:.0f}s",
        "--csv": prefix,
        "--llm-max-tokens": _TOKENS,
        "--llm-body": '{"ignore_eos": true}',
    }
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(locustfile),
        "--headless",
        "--only-summary",
        "--skip-log-setup",
    ]
    command += [f"{name}={value}" for name, value in options.items()]
    completed = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=_on_core(1))
    if completed.returncode:
        raise RuntimeError((completed.stderr or completed.stdout).strip().splitlines()[-1])


def _on_core(core: int) -> Any:
    """A function that pins a child process to a core, if the machine has more than one; for `preexec_fn`."""

    def pin() -> None:
        if hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            if len(cores) > 1:
                os.sched_setaffinity(0, {cores[core]})

    return pin


def _point(streams: int, itl: float, prefix: Path, truth: list[dict[str, Any]]) -> Point:
    level = level_of_row(_rows(prefix, formats.LEVELS)[0])
    measured = {
        row["id"]: row for row in _rows(prefix, formats.REQUESTS) if row["measured"] == "1" and row["outcome"] == "ok"
    }
    by_our_id = {request["id"].removeprefix("chatcmpl-"): request for request in truth}
    served = [(row, by_our_id[name]) for name, row in measured.items() if name in by_our_id]
    true = Latencies.of(
        # from our sending to the server's first write; both times are from the clock of this machine
        [request["received_epoch"] + request["writes_us"][0] / 1e6 - float(row["sent"]) for row, request in served],
        [(later - earlier) / 1e6 for _, request in served for earlier, later in pairwise(request["writes_us"])],
    )
    ttft, itls = level.metric("ttft"), level.metric("itl")
    seconds = [
        row for row in _rows(prefix, formats.TIMELINE) if level.warmed_up + 1 <= float(row["time"]) < level.ended - 2
    ]
    cpu, tokens = (sum(float(row[name]) for row in seconds) for name in ("client_cpu", "tokens"))
    return Point(
        streams=streams,
        itl=itl,
        tokens_per_s=level.output_tokens_per_s,
        true=true,
        measured=Latencies(ttft.mean, ttft["p99"], itls["p50"], itls["p99"]),
        cpu_per_token=cpu / tokens if tokens else float("nan"),
        client_cpu=cpu / len(seconds) if seconds else float("nan"),
        lag_p99=level.metric("lag")["p99"],
        coalesced=level.coalesced,
    )


def _rows(prefix: Path, name: str) -> list[dict[str, str]]:
    with Path(f"{prefix}_{name}").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
