"""Install this project into a virtual environment, which is created if needed: `python3 tools/make_venv.py .venv '.[dev]'`.

Debian and Ubuntu have a separate package for `python3 -m venv` (python3-venv). If it is missing, apt downloads the wheel of
pip from Debian's package into a temporary folder. This needs no root, and installs nothing on the system.
An interrupted installation starts again from scratch, because pip takes a half-installed package for an installed one.
"""

import shutil
import subprocess
import sys
import tempfile
import venv
from importlib.util import find_spec
from pathlib import Path

WHEEL_PACKAGE = "python3-pip-whl"


def main(folder: Path, requirement: str) -> None:
    unfinished = folder / "unfinished"
    if unfinished.exists():
        empty(folder, but=unfinished)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished.touch()
    python = folder / "bin" / "python"
    if not has_pip(python):
        venv.create(folder, symlinks=True)
        install_pip(python)
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable", requirement)
    unfinished.unlink()


def empty(folder: Path, but: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != but:
            path.unlink()


def has_pip(python: Path) -> bool:
    if not python.exists():
        return False
    return subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def install_pip(python: Path) -> None:
    if find_spec("ensurepip"):
        return run(python, "-m", "ensurepip", "--default-pip", stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as folder:
        wheel = download_pip(Path(folder))
        # a wheel is a zip file, from which Python can run a package
        return run(python, wheel / "pip", "install", "--quiet", wheel)


def run(*command: str | Path, **more: int) -> None:
    code = subprocess.run(command, check=False, **more).returncode
    if code:
        sys.exit(code)


def download_pip(folder: Path) -> Path:
    """Download the wheel of pip from Debian's package, and return its path."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    # separate package lists: those of the system belong to root, and may be old or missing
    apt = ("apt-get", "-qq", "-o", f"Dir::State::Lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache")
    try:
        for command in ([*apt, "update"], [*apt, "download", WHEEL_PACKAGE]):
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        package = next(folder.glob("*.deb"))
        subprocess.run(["dpkg-deb", "-x", package, folder / "package"], check=True, capture_output=True, text=True)
        return next(folder.glob("package/usr/share/python-wheels/pip-*.whl"))
    except (OSError, subprocess.CalledProcessError, StopIteration) as problem:
        output = (getattr(problem, "stderr", "") or str(problem)).strip().splitlines()
        sys.exit(
            f"this Python has no ensurepip, and apt cannot download pip: {output[-1] if output else problem}\n"
            "Install Debian's package python3-venv, and try again."
        )


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036  # this file runs before anything checks it
        sys.exit(f"llmlocust needs Python 3.11 or newer; this is {sys.version.split()[0]} (make PYTHON=python3.12 …)")
    try:
        main(Path(sys.argv[1]), sys.argv[2])
    except KeyboardInterrupt:
        sys.exit(130)
