"""Make a virtual environment with pip in it: `python3 tools/make_venv.py .venv`.

Debian and Ubuntu split what `python3 -m venv` needs into a package of its own (python3-venv). Where it is missing,
pip is fetched from PyPI (or the index that PIP_INDEX_URL names) and installs itself; nothing else is needed.
"""

import html.parser
import os
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from importlib.util import find_spec
from pathlib import Path

INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")


def main(folder: str) -> None:
    with_pip = find_spec("ensurepip") is not None
    venv.create(folder, with_pip=with_pip, symlinks=True)
    if not with_pip:
        install_pip(Path(folder) / "bin" / "python")


def install_pip(python: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        wheel = download_pip(Path(folder))
        # a wheel is a zip file, and Python runs what is in one
        subprocess.run([python, wheel / "pip", "install", "--quiet", wheel], check=True)


def download_pip(folder: Path) -> Path:
    page = f"{INDEX}/pip/"
    with urllib.request.urlopen(page) as answer:
        links = Links(answer.read().decode())
    newest = max((link for link in links.found if link[0].endswith("-none-any.whl")), key=lambda link: version(link[0]))
    target = folder / newest[0]
    urllib.request.urlretrieve(urllib.parse.urljoin(page, newest[1]), target)
    return target


def version(wheel: str) -> tuple[int, ...]:
    """Releases only: anything else sorts first."""
    parts = wheel.split("-")[1].split(".")
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) else ()


class Links(html.parser.HTMLParser):
    """File names and addresses of an index page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        address = dict(attributes).get("href") if tag == "a" else None
        if address:
            self.found.append((urllib.parse.urlparse(address).path.rsplit("/", 1)[-1], address))


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036  # this file runs before anything checks it
        sys.exit(f"llmlocust needs Python 3.11 or newer; this is {sys.version.split()[0]} (make PYTHON=python3.12 …)")
    main(sys.argv[1])
