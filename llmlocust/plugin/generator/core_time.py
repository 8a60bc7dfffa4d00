"""`CoreTime`: the time for which CPU limits of containers and busy cores keep this process from running.

Linux reports both. On other systems they are not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

_ROOT = Path("/")
_CGROUPS = Path("sys/fs/cgroup")


class _Throttling(NamedTuple):
    """The values of one control group's `cpu.stat`, since the group was created."""

    periods: int
    throttled_periods: int
    seconds: float


class CoreTime:
    """Reads how long the process was throttled by a CPU limit, and how long it waited for a core."""

    def __init__(self, root: Path = _ROOT) -> None:
        self._schedstat = root / "proc/self/schedstat"
        self._stats = list(_stat_files(root))
        self._moment = perf_counter()
        self._throttling = self._read_throttling()
        self._waited = self._read_waited()

    def shares(self, now: float | None = None) -> dict[str, float]:
        """Return `throttled` and `core_wait` since the last call, as shares of that time. Unknown values are omitted."""
        now = perf_counter() if now is None else now
        throttling, waited = self._read_throttling(), self._read_waited()
        elapsed = max(now - self._moment, 1e-3)
        shares = {}
        if throttling and len(throttling) == len(self._throttling):
            pairs = zip(self._throttling, throttling, strict=True)
            shares["throttled"] = max(_share(before, after, elapsed) for before, after in pairs)
        if waited is not None and self._waited is not None:
            shares["core_wait"] = min(1.0, max(0.0, (waited - self._waited) / elapsed))
        self._moment, self._throttling, self._waited = now, throttling, waited
        return shares

    def _read_throttling(self) -> list[_Throttling]:
        with suppress(OSError, ValueError):
            return [stat for stat in map(_throttling, self._stats) if stat is not None]
        return []

    def _read_waited(self) -> float | None:
        """Return the seconds for which the main thread, which runs the event loop, was ready and had no core."""
        with suppress(OSError, ValueError, IndexError):
            ran, waited, _ = self._schedstat.read_text().split()[:3]
            if int(ran):  # a kernel that does not count reports 0
                return int(waited) / 1e9
        return None


def _share(before: _Throttling, after: _Throttling, elapsed: float) -> float:
    """Return the share of the time in which a group was throttled.

    The kernel adds up the time of all cores, which can exceed the time that passed. The share of throttled periods is
    therefore an upper limit.
    """
    periods = after.periods - before.periods
    if periods <= 0:
        return 0.0
    in_periods = (after.throttled_periods - before.throttled_periods) / periods
    return max(0.0, min(in_periods, (after.seconds - before.seconds) / elapsed))


def _throttling(path: Path) -> _Throttling | None:
    """Parse a `cpu.stat` of cgroup v1 or v2; None if the group has no CPU limit."""
    values = dict(line.split()[:2] for line in path.read_text().splitlines() if " " in line)
    if "nr_throttled" not in values:
        return None
    seconds = int(values.get("throttled_usec", 0)) / 1e6 + int(values.get("throttled_time", 0)) / 1e9
    return _Throttling(int(values.get("nr_periods", 0)), int(values["nr_throttled"]), seconds)


def _stat_files(root: Path) -> Iterator[Path]:
    """Yield the `cpu.stat` of this process's control group and of its parents, as far as they are visible."""
    with suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for base in _bases(root / _CGROUPS, controllers):
                group = Path(path.lstrip("/"))
                places = {base / place for place in (group, *group.parents)}
                yield from (place / "cpu.stat" for place in sorted(places) if (place / "cpu.stat").is_file())


def _bases(cgroups: Path, controllers: str) -> list[Path]:
    """Return the possible mount points of a hierarchy: those of v2, or that of v1's `cpu`."""
    if not controllers:
        return [cgroups, cgroups / "unified"]
    return [cgroups / controllers] if "cpu" in controllers.split(",") else []
