"""Install this project into a virtual environment, made where there is none: `python3 tools/make_venv.py .venv '.[dev]'`.

Debian and Ubuntu split what `python3 -m venv` needs into a package of its own (python3-venv). Where it is missing,
pip is fetched from PyPI (or the index that PIP_INDEX_URL names) and installs itself; nothing else is needed.
An installation that was cut off is begun anew: pip takes a half-installed package for an installed one.
"""

import html.parser
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from importlib.util import find_spec
from pathlib import Path

INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")


def main(folder: Path, what: str) -> None:
    unfinished = folder / "unfinished"
    if unfinished.exists():
        empty(folder, but=unfinished)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished.touch()
    python = folder / "bin" / "python"
    if not has_pip(python):
        venv.create(folder, symlinks=True)
        install_pip(python)
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable", what)
    unfinished.unlink()


def empty(folder: Path, but: Path) -> None:
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        elif each != but:
            each.unlink()


def has_pip(python: Path) -> bool:
    if not python.exists():
        return False
    return subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def install_pip(python: Path) -> None:
    if find_spec("ensurepip"):
        return run(python, "-m", "ensurepip", "--default-pip", stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as folder:
        wheel = download_pip(Path(folder))
        # a wheel is a zip file, and Python runs what is in one
        return run(python, wheel / "pip", "install", "--quiet", wheel)


def run(*command: str | Path, **more: int) -> None:
    code = subprocess.run(command, check=False, **more).returncode
    if code:
        sys.exit(code)


def download_pip(folder: Path) -> Path:
    page = f"{INDEX}/pip/" + ("index.html" if INDEX.startswith("file:") else "")
    try:
        with urllib.request.urlopen(page) as answer:
            links = Links(answer.read().decode())
        name, address = max(links.found, key=lambda link: version(link[0]))
        return Path(urllib.request.urlretrieve(urllib.parse.urljoin(page, address), folder / name)[0])
    except (OSError, ValueError) as problem:
        sys.exit(
            f"cannot get pip from {page.rpartition('@')[2]}: {problem}\n"
            "Install Debian's python3-venv, or name the index to use in PIP_INDEX_URL, and try again."
        )


def version(wheel: str) -> tuple[int, ...]:
    """Releases only: anything else sorts first."""
    parts = wheel.split("-")[1].split(".")
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) else ()


class Links(html.parser.HTMLParser):
    """File names and addresses of the wheels on an index page that are for this Python."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        told = dict(attributes)
        address = told.get("href") or ""
        name = urllib.parse.urlparse(address).path.rpartition("/")[2]
        least = re.search(r">=\s*3\.(\d+)", told.get("data-requires-python") or "")
        if name.endswith("-none-any.whl") and (not least or int(least[1]) <= sys.version_info.minor):
            self.found.append((name, address))


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036  # this file runs before anything checks it
        sys.exit(f"llmlocust needs Python 3.11 or newer; this is {sys.version.split()[0]} (make PYTHON=python3.12 …)")
    try:
        main(Path(sys.argv[1]), sys.argv[2])
    except KeyboardInterrupt:
        sys.exit(130)
