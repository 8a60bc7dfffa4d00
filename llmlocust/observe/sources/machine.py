"""The machine that llmlocust runs on: CPU, memory and network."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from llmlocust.observe.sources.exposition import Exposition
from llmlocust.observe.sources.source import Scrape, Source

_PROC, _NETWORKS = Path("/proc"), Path("/sys/class/net")
_GUESTS = ("guest", "guest_nice")
"""Modes of CPU time that the system also counts as `user` and `nice`."""
_LOOPBACK = "lo"


class Machine(Source):
    """The machine that llmlocust runs on. A value that the system does not report is left out."""

    name = url = "machine"

    def scrape(self) -> list[Scrape]:
        moment, text = time.time(), Exposition()
        for mode, seconds in psutil.cpu_times()._asdict().items():
            if mode not in _GUESTS:
                text.add("llmlocust_machine_cpu_seconds_total", seconds, mode=mode)
        memory = psutil.virtual_memory()
        text.add("llmlocust_machine_memory_bytes", memory.total, kind="total")
        text.add("llmlocust_machine_memory_bytes", memory.available, kind="available")
        text.add("llmlocust_machine_swap_used_bytes", psutil.swap_memory().used)
        tcp, extended = _counters("net/snmp", "Tcp"), _counters("net/netstat", "TcpExt")
        _add(text, "llmlocust_machine_retransmits_total", tcp.get("RetransSegs"))
        _add(text, "llmlocust_machine_listen_drops_total", extended.get("ListenDrops"))
        _add(text, "llmlocust_machine_sent_bytes_total", _sent_bytes())
        _add(text, "llmlocust_machine_oom_kills_total", _oom_kills())
        return [Scrape(moment, bytes(text))]


def _add(text: Exposition, name: str, value: float | None) -> None:
    if value is not None:
        text.add(name, value)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _counters(file: str, protocol: str) -> dict[str, int]:
    """Return the counters of a protocol: a line with names, then one with values."""
    lines = [line.split()[1:] for line in _read(_PROC / file).splitlines() if line.startswith(f"{protocol}:")]
    names, values = lines if len(lines) == 2 else ([], [])
    return {name: int(value) for name, value in zip(names, values, strict=False) if value.isdigit()}


def _oom_kills() -> int | None:
    counts = [line.split()[1] for line in _read(_PROC / "vmstat").splitlines() if line.startswith("oom_kill ")]
    return int(counts[0]) if counts else None


def _sent_bytes() -> int | None:
    """Return the bytes sent by network cards. Bridges and the ends of containers would count the same bytes again; inside
    a container, where no card is visible, all interfaces but the loopback count.
    """
    sent = {name: card.bytes_sent for name, card in psutil.net_io_counters(pernic=True).items() if name != _LOOPBACK}
    cards = [name for name in sent if (_NETWORKS / name / "device").exists()]
    return sum(sent[name] for name in cards or sent) if sent else None
