"""`llmlocust demo`: run a ramp against a simulated server, and report it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import click

from llmlocust.cli.driving import LEVELS, run_and_report
from llmlocust.cli.shared import OneLine, new_folder, say
from llmlocust.plugin.parent import end_with

_SERVER = {"slots": 120, "queue_limit": 150}


@click.command()
@click.option("--levels", default=LEVELS, show_default=True, help="Numbers of users, one for each level")
@click.option("--hold", type=float, default=10.0, show_default=True, help="Seconds to measure each level")
@click.option(
    "--warmup",
    type=float,
    default=3.0,
    show_default=True,
    help="Warm-up: seconds to wait after all users of a level have started before measuring",
)
@click.option("--out", default="", help="Folder for the files and the report [default: reports/demo-TIME]")
def demo(levels: str, hold: float, warmup: float, out: str) -> None:
    """Ramp a simulated LLM server from 1 to 300 users and report where it breaks. Takes less than four minutes.

    The server runs 120 requests at once, queues 150 more and refuses the rest. Sockets, token streams and Locust are
    real; only the model is simulated.
    """
    folder = new_folder(out or f"reports/demo-{time.strftime('%Y%m%d-%H%M%S')}")
    options = {"levels": levels, "hold": hold, "warmup": warmup, "max_tokens": 64}
    with _simulator() as url:
        say(
            f"A simulated LLM server at {url}: runs {_SERVER['slots']} requests at once, queues {_SERVER['queue_limit']} more"
        )
        done = run_and_report(url, folder, options, [], [])
    raise SystemExit(done.code)


@contextmanager
def _simulator() -> Iterator[str]:
    settings = [f"--{name.replace('_', '-')}={value}" for name, value in _SERVER.items()]
    command = [sys.executable, "-m", "llmlocust.simulator", "--port=0", *settings]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C ends the run first: requests to a server that has ended would fail
        preexec_fn=partial(end_with, os.getpid()),
    )
    try:
        line = child.stdout.readline() if child.stdout else ""
        if "http" not in line:
            raise OneLine(f"the simulated server did not start (exit {child.wait()})")
        yield line.split()[-1]
    finally:
        child.terminate()
        child.wait()
