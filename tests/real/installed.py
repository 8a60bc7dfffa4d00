"""The software that `make real` has installed."""

import os
from pathlib import Path

import pytest

from tests.simulators import ROOT

REAL = Path(os.environ.get("LLMLOCUST_REAL") or ROOT / ".real")


def python_of(software: str) -> Path:
    python = REAL / software / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no {software} below {REAL}: `make real` installs it")
    return python
