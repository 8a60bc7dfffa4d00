"""The `llmlocust` command."""

import os
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

from click.testing import CliRunner, Result

from llmlocust.cli import main
from tests.simulators import PATIENCE, ROOT


def llmlocust(*args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the command as a child process."""
    return subprocess.run(
        [sys.executable, "-m", "llmlocust.cli", *args],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def in_process(*args: str, cwd: Path = ROOT) -> Result:
    """Run the command in this process, which is faster, for commands that start no Locust."""
    with chdir(cwd):
        return CliRunner().invoke(main, args)
