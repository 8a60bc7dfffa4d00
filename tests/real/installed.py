"""The software that `make real` has installed."""

import os
from pathlib import Path

import pytest

from tests.simulators import ROOT

REAL = Path(os.environ.get("LLMLOCUST_REAL") or ROOT / ".real")


def python_of(software: str) -> Path:
    if not (REAL / software / "installed").exists():  # without it, the installation was not finished
        pytest.skip(f"no {software} below {REAL}: `make real` installs it")
    return REAL / software / "bin" / "python"
