"""Write files without following symbolic links. In a folder that others can write to, a link could lead to any file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def create(path: Path) -> int:
    """Create a file for reading and writing, and remove a file or link of the same name first. Returns its descriptor."""
    path.unlink(missing_ok=True)
    return os.open(path, _NEW, 0o666)


@contextmanager
def replacing(path: Path, *, newline: str | None = None) -> Iterator[TextIO]:
    """Yield a text file that replaces `path` once it is complete. Until then `path` stays as it is."""
    beside = path.with_name(f"{path.name}.part")
    try:
        with os.fdopen(create(beside), "w", newline=newline, encoding="utf-8") as file:
            yield file
        beside.replace(path)
    except (OSError, ValueError):
        beside.unlink(missing_ok=True)
        raise
