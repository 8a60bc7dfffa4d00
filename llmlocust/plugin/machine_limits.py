"""Limits of this machine that can be known before the load: a connection of each user needs a file and a port."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_SPARE_FILES = 64
"""For what a process opens beside its users' connections: the run's files, the console, name look-ups."""
_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def check(users: float, processes: int, hosts: Sequence[str]) -> None:
    """Raise ValueError, in one line, where so many users (of `processes` processes of this machine together) need more
    connections than this machine can open to these hosts. The limit of open files is raised where the system lets it.
    """
    each = math.ceil(users / max(processes, 1))
    needed = each + _open_files() + _SPARE_FILES
    files = _raise_file_limit(needed)
    if files < needed:
        raise ValueError(
            f"{each:,} users in one process need about {needed:,} open files, and it may open {files:,}: raise the limit "
            f"(ulimit -n {needed}), or use more processes or machines (--processes, --worker)"
        )
    ports = _ports() * max(len(set(hosts)), 1)
    if users > ports:
        raise ValueError(
            f"{users:,.0f} users on one machine need as many ports, and it has {ports:,} for connections to one server: "
            "widen net.ipv4.ip_local_port_range, or use more machines (--worker)"
        )


def _raise_file_limit(needed: int) -> float:
    """Return how many files this process may open, once the limit has been raised as far as that is needed and allowed."""
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
    """Return how many connections to one server the system has ports for; infinite where it does not say."""
    try:
        first, last = map(int, _PORT_RANGE.read_text().split())
    except (OSError, ValueError):
        return math.inf
    return last - first + 1
