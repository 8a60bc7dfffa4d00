"""Write files without following a symbolic link: in a folder that others may write to, one could lead anywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def create(path: Path) -> int:
    """Open a new file to write and read, in the place of a file or a link that has its name. Returns its descriptor."""
    path.unlink(missing_ok=True)
    return os.open(path, _NEW, 0o666)


@contextmanager
def replacing(path: Path, *, newline: str | None = None) -> Iterator[TextIO]:
    """Give a text file that takes the place of `path` once it is whole; until then `path` stays as it is."""
    beside = path.with_name(f"{path.name}.part")
    try:
        with os.fdopen(create(beside), "w", newline=newline, encoding="utf-8") as file:
            yield file
        beside.replace(path)
    except (OSError, ValueError):
        beside.unlink(missing_ok=True)
        raise
