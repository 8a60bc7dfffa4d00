"""Locks the prefix of a run's files, so that one run at a time can use it, and renames the files of an earlier run.

The lock is a kernel lock (flock) on a file beside the others. It ends with its process, even if the process is killed.
"""

from __future__ import annotations

import atexit
import fcntl
import os
from contextlib import suppress
from itertools import count
from pathlib import Path

from llmlocust.runfiles import formats


class Taken(Exception):
    """Another process has a run with this prefix. The text is one line that tells the user what to do."""


def lock(prefix: str) -> None:
    """Reserve a prefix for this process until it ends. Raises Taken, or OSError if the lock file cannot be created."""
    path = Path(f"{prefix}_{formats.LOCK}")
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise Taken(
                f"another run is writing {prefix}_*: give --csv another prefix, or wait until that run has ended"
            ) from None
        except OSError:  # a file system without locks
            os.close(descriptor)
            return
        if _is_at(descriptor, path):
            _write_id(descriptor, path)
            atexit.register(_remove, path)  # the descriptor stays open: the lock ends after the file
            return
        os.close(descriptor)  # the process that had the lock has just removed the file


def _write_id(descriptor: int, path: Path) -> None:
    """Write the process id into the lock. On a full disk this fails before the files of an earlier run are renamed."""
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except OSError:
        _remove(path)
        os.close(descriptor)
        raise


def _remove(path: Path) -> None:
    with suppress(OSError):  # the folder was deleted
        path.unlink()


def is_taken(prefix: str) -> bool:
    """Whether another process has a run with this prefix."""
    try:
        descriptor = os.open(f"{prefix}_{formats.LOCK}", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def obstacles(prefix: str) -> list[Path]:
    """Return the paths of a run's files that this process may not replace, such as folders."""
    paths = [path for end in (*formats.LOCUST_FILES, *formats.files()) if (path := Path(f"{prefix}_{end}")).exists()]
    return [path for path in paths if not path.is_file() or not os.access(path, os.W_OK)]


def move_aside(prefix: str) -> str:
    """Rename the files of an earlier run with this prefix. Returns their new prefix; empty if there are no files."""
    ends = [end for end in _all_files() if _exists(prefix, end)]
    if not ends:
        return ""
    free = next(name for number in count(1) if not _has_any(name := f"{prefix}.{number}"))
    for end in ends:
        Path(f"{prefix}_{end}").rename(f"{free}_{end}")
    return free


def _all_files() -> list[str]:
    return [*formats.LOCUST_FILES, *formats.files(), *formats.REPORTS]


def _has_any(prefix: str) -> bool:
    return any(_exists(prefix, end) for end in _all_files())


def _exists(prefix: str, end: str) -> bool:
    """Whether a file exists, or a link, even if the link's target does not exist."""
    return os.path.lexists(f"{prefix}_{end}")
