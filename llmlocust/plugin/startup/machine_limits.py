"""Limits of this machine that are known before the load: each user's connection needs an open file and a port."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_SPARE_FILES = 64
"""Files that a process opens besides its users' connections: the run's files, name look-ups, pipes."""
_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def check(users: float, processes: int, hosts: Sequence[str]) -> None:
    """Check that this machine can open a connection for each user. `users` is the number for all `processes` of this
    machine together. The check raises the limit of open files if the system allows it. Raises ValueError, in one line, if
    files or ports are too few.
    """
    users_each = math.ceil(users / max(processes, 1))
    needed = users_each + _open_files() + _SPARE_FILES
    files = _raise_file_limit(needed)
    if files < needed:
        raise ValueError(
            f"{users_each:,} users in one process need about {needed:,} open files, and it may open {files:,}: raise the "
            f"limit (ulimit -n {needed}), or use more processes or machines (--processes, --worker)"
        )
    ports = _ports() * max(len(set(hosts)), 1)
    if users > ports:
        raise ValueError(
            f"{users:,.0f} users on one machine need one port each, and it has {ports:,} for connections to one server: "
            "widen net.ipv4.ip_local_port_range, or use more machines (--worker)"
        )


def _raise_file_limit(needed: int) -> float:
    """Raise the limit of open files as far as needed and allowed. Returns the new limit."""
    try:
        import resource
    except ImportError:  # Windows has none
        return math.inf
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard) and soft == resource.RLIM_INFINITY:
        return math.inf
    if soft < needed:
        limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        return limit
    return soft


def _open_files() -> int:
    with suppress(OSError):
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    return 0


def _ports() -> float:
    """Return the number of ports for connections to one server; infinite if the system does not report it."""
    try:
        first, last = map(int, _PORT_RANGE.read_text().split())
    except (OSError, ValueError):
        return math.inf
    return last - first + 1
