"""`llmlocust demo`: a ramp against a simulated server, and its report."""

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
@click.option("--levels", default=LEVELS, show_default=True, help="Levels of users")
@click.option("--hold", type=float, default=10.0, show_default=True, help="Seconds to measure a level")
@click.option("--warmup", type=float, default=3.0, show_default=True, help="Seconds before measuring")
@click.option("--out", default="", help="Folder for the files and the report [default: reports/demo- and the time]")
def demo(levels: str, hold: float, warmup: float, out: str) -> None:
    """Ramp a simulated LLM server from 1 to 300 users and report where it breaks: under four minutes.

    The server takes 120 requests at once, lets 150 more wait and refuses the rest. Real sockets, real token streams,
    the real Locust: only the model is made up.
    """
    folder = new_folder(out or f"reports/demo-{time.strftime('%Y%m%d-%H%M%S')}")
    options = {"levels": levels, "hold": hold, "warmup": warmup, "max_tokens": 64}
    with _simulator() as url:
        say(f"A simulated LLM server at {url}: {_SERVER['slots']} at once, {_SERVER['queue_limit']} may wait")
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
        start_new_session=True,  # Ctrl-C is for the run; a server that went first would be blamed
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
