"""The reports of the exporters beside the server: of the GPU, of the processes, and of the machine. Pure.

The GPU's activity is a simple model. Computation is 0.7 of its time tensor-active and 0.2 of it DRAM-active; reading weights
and the cache is 0.04 of its time tensor-active and 0.8 of it DRAM-active. These are plateaus that real GPUs reach. Another
tenant adds its share of the time with constant activities. Gauges are means over the last second, as DCGM's are over its
interval; but DCGM's default interval is 30 seconds.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from llmlocust.simulator.exposition import Labels, family
from llmlocust.simulator.pace import Work
from llmlocust.simulator.settings import Settings

_WINDOW_S = 1.0
_COMPUTE_TENSOR, _COMPUTE_DRAM = 0.7, 0.2
_MEMORY_TENSOR, _MEMORY_DRAM = 0.04, 0.8
_TENANT_TENSOR, _TENANT_DRAM = 0.3, 0.4
_IDLE_WATTS, _BUSY_WATTS, _TENSOR_WATTS, _DRAM_WATTS, _LIMIT_WATTS = 95.0, 150.0, 520.0, 260.0, 699.0
_CLOCK_MHZ, _IDLE_CLOCK_MHZ = 1980.0, 345.0
_USED_MIB, _FREE_MIB, _RESERVED_MIB, _TENANT_MIB = 74112, 6864, 583, 5000
"""Memory of the GPU. The engine allocates it at its start, whatever the load is."""
_CORES, _MEMORY_BYTES, _AVAILABLE_BYTES = 16, 256e9, 220e9
_GPU_LABELS = {
    "gpu": "0",
    "UUID": "GPU-00000000-1111-2222-3333-444444444444",
    "pci_bus_id": "00000000:01:00.0",
    "device": "nvidia0",
    "modelName": "NVIDIA H100 80GB HBM3",
    "Hostname": "simulated",
}


class Activity(NamedTuple):
    """The activity of the GPU in a time, each value times its seconds."""

    busy: float = 0.0
    tensor: float = 0.0
    dram: float = 0.0
    joules: float = 0.0  # above idle

    def plus(self, other: "Activity", share: float) -> "Activity":
        """Return the sum of this activity and a share of another."""
        return Activity(*(mine + share * theirs for mine, theirs in zip(self, other, strict=True)))


class Gpu:
    """The GPU, whose activity follows from the steps of the engine."""

    def __init__(self, settings: Settings, now: float) -> None:
        self._tenant = share = settings.tenant_share
        self._tenant_watts = share * (_BUSY_WATTS + _TENSOR_WATTS * _TENANT_TENSOR + _DRAM_WATTS * _TENANT_DRAM)
        self._started, self._joules = now, 0.0
        self._recent: deque[Work] = deque()

    def step(self, work: Work) -> None:
        """Take a step that has ended."""
        self._recent.append(work)
        self._joules += self._activity(work).joules
        while self._recent[0].due < work.due - _WINDOW_S:
            self._recent.popleft()

    def families(self, now: float, current: Work | None) -> Iterator[str]:
        """Yield DCGM's metrics; `current` is the step under way."""
        mean, last = self._mean(now, current), current or (self._recent[-1] if self._recent else None)
        is_busy = bool(self._tenant or mean.busy)
        watts = _IDLE_WATTS + self._tenant_watts + mean.joules
        busy = mean.busy + (1.0 - mean.busy) * self._tenant
        tenant_mib = _TENANT_MIB * bool(self._tenant)
        for name, kind, help_text, value in (
            (
                "DEV_SM_CLOCK",
                "gauge",
                "SM clock frequency (in MHz).",
                self._clock(last) if is_busy else _IDLE_CLOCK_MHZ,
            ),
            ("DEV_GPU_TEMP", "gauge", "GPU temperature (in C).", round(32 + 0.065 * watts)),
            ("DEV_POWER_USAGE", "gauge", "Power draw (in W).", watts),
            ("DEV_TOTAL_ENERGY_CONSUMPTION", "counter", "Energy since boot (in mJ).", self._energy(now, current) * 1e3),
            ("DEV_GPU_UTIL", "gauge", "GPU utilization (in %).", round(100 * busy)),
            ("DEV_FB_FREE", "gauge", "Framebuffer memory free (in MiB).", _FREE_MIB - tenant_mib),
            ("DEV_FB_USED", "gauge", "Framebuffer memory used (in MiB).", _USED_MIB + tenant_mib),
            ("DEV_FB_RESERVED", "gauge", "Framebuffer memory reserved (in MiB).", _RESERVED_MIB),
            ("PROF_GR_ENGINE_ACTIVE", "gauge", "Ratio of time the graphics engine is active.", busy),
            (
                "PROF_PIPE_TENSOR_ACTIVE",
                "gauge",
                "Ratio of cycles the tensor (HMMA) pipe is active.",
                mean.tensor + self._tenant * _TENANT_TENSOR,
            ),
            (
                "PROF_DRAM_ACTIVE",
                "gauge",
                "Ratio of cycles the device memory interface is active sending or receiving data.",
                mean.dram + self._tenant * _TENANT_DRAM,
            ),
        ):
            yield from family(f"DCGM_FI_{name}", kind, help_text, [(_GPU_LABELS, value)])

    def _activity(self, work: Work) -> Activity:
        seconds = work.due - work.began
        compute, memory = min(work.compute_seconds, seconds), min(work.memory_seconds, seconds)
        # with a lower clock, the tensor pipe is active for a longer time; the clock of the memory stays
        tensor = compute / work.clock * _COMPUTE_TENSOR + memory * _MEMORY_TENSOR
        dram = compute * _COMPUTE_DRAM + memory * _MEMORY_DRAM
        joules = _BUSY_WATTS * seconds + _TENSOR_WATTS * tensor + _DRAM_WATTS * dram
        most = (_LIMIT_WATTS - _IDLE_WATTS - self._tenant_watts) * seconds
        # the clock is lower because the power is at its limit
        return Activity(seconds, tensor, dram, most if work.clock < 1.0 else min(joules, most))

    def _mean(self, now: float, current: Work | None) -> Activity:
        total, began = Activity(), max(now - _WINDOW_S, self._started)
        for work in (*self._recent, *((current,) if current else ())):
            overlap = min(work.due, now) - max(work.began, began)
            if overlap > 0:
                total = total.plus(self._activity(work), overlap / (work.due - work.began))
        return Activity().plus(total, 1.0 / (now - began)) if now > began else total

    def _energy(self, now: float, current: Work | None) -> float:
        joules = self._joules + (_IDLE_WATTS + self._tenant_watts) * (now - self._started)
        if current:
            joules += self._activity(current).joules * (now - current.began) / (current.due - current.began)
        return joules

    @staticmethod
    def _clock(last: Work | None) -> float:
        return _CLOCK_MHZ * (last.clock if last else 1.0)


class Machine:
    """The machine around the GPU: its processes, cores and network."""

    def __init__(self, settings: Settings, now: float, epoch: float) -> None:
        self.gpu = Gpu(settings, now)
        self._started, self.started_epoch = now, epoch

    def text(self, now: float, current: Work | None, front_end_seconds: float, sent: int, resent: int) -> str:
        """Return the metrics of all exporters: CPU seconds of the front end, and bytes and segments of the network."""
        # the engine's process polls for work and never sleeps
        cpu_seconds = {"front_end": front_end_seconds, "engine": now - self._started}
        lines = (
            *self.gpu.families(now, current),
            *self._processes(cpu_seconds),
            *self._node(now - self._started, cpu_seconds, sent, resent),
        )
        return "\n".join((*lines, ""))

    def _processes(self, cpu_seconds: dict[str, float]) -> Iterator[str]:
        prefix = "namedprocess_namegroup"
        groups: dict[str, Labels] = {name: {"groupname": name} for name in cpu_seconds}
        modes = (
            ({**groups[name], "mode": mode}, seconds if mode == "user" else 0.0)
            for name, seconds in cpu_seconds.items()
            for mode in ("system", "user")
        )
        yield from family(f"{prefix}_cpu_seconds_total", "counter", "Cpu user usage in seconds", modes)
        for name, help_text, values in (
            ("num_procs", "number of processes in this group", (1, 1)),
            ("num_threads", "Number of threads", (24, 64)),
            ("oldest_start_time_seconds", "start time in seconds since 1970/01/01", (self.started_epoch,) * 2),
        ):
            samples = zip(groups.values(), values, strict=True)
            yield from family(f"{prefix}_{name}", "gauge", help_text, samples)
        resident = (
            ({**labels, "memtype": "resident"}, size)
            for labels, size in zip(groups.values(), (1.4e9, 6e9), strict=True)
        )
        yield from family(f"{prefix}_memory_bytes", "gauge", "number of bytes of memory in use", resident)

    def _node(self, seconds: float, cpu_seconds: dict[str, float], sent: int, resent: int) -> Iterator[str]:
        busy = [*cpu_seconds.values(), *[0.0] * (_CORES - len(cpu_seconds))]  # each process has its core
        samples: list[tuple[Labels, float]] = []
        for core, user in enumerate(busy):
            for mode, value in (("idle", seconds - user), ("iowait", 0.0), ("system", 0.0), ("user", user)):
                samples.append(({"cpu": str(core), "mode": mode}, value))
        yield from family("node_cpu_seconds_total", "counter", "Seconds the CPUs spent in each mode.", samples)
        for name, kind, help_text, labels, value in (
            ("memory_MemTotal_bytes", "gauge", "Memory information field MemTotal_bytes.", {}, _MEMORY_BYTES),
            (
                "memory_MemAvailable_bytes",
                "gauge",
                "Memory information field MemAvailable_bytes.",
                {},
                _AVAILABLE_BYTES,
            ),
            (
                "network_transmit_bytes_total",
                "counter",
                "Network device statistic transmit_bytes.",
                {"device": "eth0"},
                sent,
            ),
            ("netstat_Tcp_RetransSegs", "untyped", "Statistic TcpRetransSegs.", {}, resent),
        ):
            yield from family(f"node_{name}", kind, help_text, [(labels, value)])
