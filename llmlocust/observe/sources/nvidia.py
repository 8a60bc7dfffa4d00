"""NVIDIA GPUs of this machine, by NVML."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from llmlocust.observe.sources.exposition import Exposition
from llmlocust.observe.sources.source import Scrape, Source, SourceError
from llmlocust.text.media import one_line

_THROTTLE_REASONS = {
    "applications_clocks_setting": 0x02,
    "sw_power_cap": 0x04,
    "hw_slowdown": 0x08,
    "sync_boost": 0x10,
    "sw_thermal_slowdown": 0x20,
    "hw_thermal_slowdown": 0x40,
    "hw_power_brake_slowdown": 0x80,
    "display_clock_setting": 0x100,
}
"""Bits of NVML's reasons why clocks are below their maximum. The reason "idle" is left out: an idle GPU is not throttled."""
_NO_PACKAGE = "NVIDIA GPUs need the extra gpu: pip install 'llmlocust[gpu]'"
_NO_DRIVER = "no NVIDIA GPU can be read ({reason}): does `nvidia-smi` list one here?"


class NvidiaGpus(Source):
    """All NVIDIA GPUs of this machine. A value that a GPU or its driver does not report is left out."""

    name = url = "gpu"

    def __init__(self, nvml: Any = None) -> None:
        """`nvml` is the module pynvml, which is imported at the first scrape if it is not given."""
        self._nvml = nvml
        self._handles: list[Any] = []

    def scrape(self) -> list[Scrape]:
        moment, text, nvml = time.time(), Exposition(), self._library()
        try:
            for index, handle in enumerate(self._opened(nvml)):
                _Gpu(nvml, handle, index, text).add()
        except nvml.NVMLError as problem:
            self.close()  # the driver may have been reloaded: the next scrape begins anew
            raise SourceError(_NO_DRIVER.format(reason=one_line(str(problem)))) from None
        if not (data := bytes(text)):
            self.close()
            raise SourceError(_NO_DRIVER.format(reason="no GPU reports a value"))
        return [Scrape(moment + (time.time() - moment) / 2, data)]

    def close(self) -> None:
        if self._handles:
            self._handles = []
            _value(self._nvml, self._nvml.nvmlShutdown)

    def _library(self) -> Any:
        if self._nvml is None:
            try:
                import pynvml
            except ImportError:
                raise SourceError(_NO_PACKAGE) from None
            self._nvml = pynvml
        return self._nvml

    def _opened(self, nvml: Any) -> list[Any]:
        if not self._handles:
            nvml.nvmlInit()
            self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        return self._handles


def _value(nvml: Any, read: Callable[..., Any], *args: Any) -> Any:
    """Return a value of NVML; None if this GPU, driver or version of pynvml does not have it."""
    try:
        return read(*args)
    except nvml.NVMLError:
        return None


class _Gpu:
    """Adds the values of one GPU to a text."""

    def __init__(self, nvml: Any, handle: Any, index: int, text: Exposition) -> None:
        self._nvml, self._handle, self._index, self._text = nvml, handle, index, text

    def add(self) -> None:
        nvml = self._nvml
        if utilisation := self._read("nvmlDeviceGetUtilizationRates"):
            self._add("utilisation_ratio", utilisation.gpu, 0.01, name=self._name())
            self._add("memory_utilisation_ratio", utilisation.memory, 0.01)
        if memory := self._read("nvmlDeviceGetMemoryInfo"):
            self._add("memory_bytes", memory.used, kind="used")
            self._add("memory_bytes", memory.total, kind="total")
        self._add("power_watts", self._read("nvmlDeviceGetPowerUsage"), 1e-3)
        limit = self._read("nvmlDeviceGetEnforcedPowerLimit")
        self._add("power_limit_watts", limit, 1e-3)
        self._add("energy_joules_total", self._read("nvmlDeviceGetTotalEnergyConsumption"), 1e-3)
        self._add("clock_megahertz", self._read("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM), kind="sm")
        self._add("clock_megahertz", self._read("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM), kind="memory")
        self._add("clock_megahertz", self._read("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM), kind="sm_max")
        self._add("temperature_celsius", self._read("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU))
        self._add_throttle_reasons()

    def _add_throttle_reasons(self) -> None:
        reasons = self._read("nvmlDeviceGetCurrentClocksEventReasons")
        if reasons is None:  # the older name
            reasons = self._read("nvmlDeviceGetCurrentClocksThrottleReasons")
        if reasons is not None:
            for reason, bit in _THROTTLE_REASONS.items():
                self._add("throttled", int(bool(reasons & bit)), reason=reason)

    def _name(self) -> str:
        name = self._read("nvmlDeviceGetName") or ""
        return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)

    def _read(self, function: str, *args: Any) -> Any:
        read = getattr(self._nvml, function, None)
        return None if read is None else _value(self._nvml, read, self._handle, *args)

    def _add(self, name: str, value: float | None, scale: float = 1.0, /, **labels: object) -> None:
        if value is not None:
            number = value if scale == 1.0 else round(value * scale, 3)
            self._text.add(f"llmlocust_gpu_{name}", number, gpu=self._index, **labels)
