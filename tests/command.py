"""The `llmlocust` command as a child process."""

import os
import subprocess
import sys
from pathlib import Path

from tests.simulators import PATIENCE, ROOT


def llmlocust(*args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llmlocust.cli", *args],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
