"""Exporters of figures of GPUs."""

from __future__ import annotations

from llmlocust.observe.rules import Engine, Labels, Rule

_GPU = ("UUID", "GPU_I_ID")
"""A GPU, or an instance of one that is partitioned (MIG)."""
_FRAME_BUFFER = ("DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE")
_VIOLATIONS = ("DCGM_FI_DEV_POWER_VIOLATION", "DCGM_FI_DEV_THERMAL_VIOLATION")

DCGM = Engine(
    "DCGM exporter",
    signs=("DCGM_FI_",),
    rules=(
        Rule("gpu.utilisation", "gauge", ("DCGM_FI_DEV_GPU_UTIL",), scale=0.01),
        Rule("gpu.active", "gauge", ("DCGM_FI_PROF_GR_ENGINE_ACTIVE",)),
        Rule("gpu.tensor_active", "gauge", ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",)),
        Rule("gpu.dram_active", "gauge", ("DCGM_FI_PROF_DRAM_ACTIVE",)),
        Rule("gpu.memory_busy", "gauge", ("DCGM_FI_DEV_MEM_COPY_UTIL",), scale=0.01),
        # there is no total by default; older releases do not count the reserved part
        Rule(
            "gpu.memory",
            "gauge",
            _FRAME_BUFFER[:1],
            per=(*_FRAME_BUFFER, "DCGM_FI_DEV_FB_RESERVED"),
            adds=True,
            by=_GPU,
        ),
        Rule("gpu.memory", "gauge", _FRAME_BUFFER[:1], per=_FRAME_BUFFER, adds=True, by=_GPU),
        Rule("gpu.power", "gauge", ("DCGM_FI_DEV_POWER_USAGE",)),
        # only where the list of counters of the exporter has been extended
        Rule("gpu.power_limit", "gauge", ("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", "DCGM_FI_DEV_POWER_MGMT_LIMIT")),
        Rule("gpu.energy", "counter", ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",), scale=1e-3),  # mJ
        Rule("gpu.clock", "gauge", ("DCGM_FI_DEV_SM_CLOCK",)),
        Rule("gpu.temperature", "gauge", ("DCGM_FI_DEV_GPU_TEMP",)),
        # nanoseconds; only where the list of counters of the exporter has been extended
        Rule("gpu.throttled", "rate", _VIOLATIONS, adds=True, by=_GPU, scale=1e-9),
        Rule("gpu.throttled", "rate", _VIOLATIONS, by=_GPU, scale=1e-9),
    ),
    updates_s=30.0,
    blank=9e18,  # older releases write the largest integer for a field without a value
    settings={
        "gpu": "DCGM_FI_DEV_SM_CLOCK{modelName}",
        "driver": "DCGM_FI_DEV_SM_CLOCK{DCGM_FI_DRIVER_VERSION}",
    },
)
"""NVIDIA's dcgm-exporter (etc/default-counters.csv, pkg/cmd/app.go). DCGM_FI_DEV_XID_ERRORS is the number of the last error
and no count."""

_WHOLE: Labels = {"gpu_partition_id": ("", "0")}
"""Only the first partition of a GPU reports power and activity."""
_AMD_GPU = ("gpu_id", "gpu_partition_id")

AMD = Engine(
    "AMD exporter",
    signs=("gpu_gfx_activity", "gpu_umc_activity", "gpu_nodes_total", "gpu_package_power", "gpu_used_vram"),
    renames={"amd_gpu_": "gpu_"},  # its configuration can add a prefix to all names
    rules=(
        Rule("gpu.utilisation", "gauge", ("gpu_gfx_activity",), where=_WHOLE, scale=0.01),
        Rule("gpu.tensor_active", "gauge", ("gpu_prof_tensor_active_percent",), where=_WHOLE, scale=0.01),
        Rule("gpu.memory_busy", "gauge", ("gpu_umc_activity",), where=_WHOLE, scale=0.01),
        Rule("gpu.memory", "gauge", ("gpu_used_vram",), per=("gpu_total_vram",), by=_AMD_GPU),
        Rule(
            "gpu.power",
            "gauge",
            ("gpu_power_usage", "gpu_package_power", "gpu_average_package_power"),
            where=_WHOLE,
        ),
        Rule("gpu.energy", "counter", ("gpu_energy_consumed",), where=_WHOLE, scale=1e-6),  # µJ
        # older releases write the names of the enumeration
        Rule("gpu.clock", "gauge", ("gpu_clock",), where={"clock_type": ("system", "GPU_CLOCK_TYPE_SYSTEM")}),
        Rule("gpu.temperature", "gauge", ("gpu_junction_temperature", "gpu_edge_temperature")),
        Rule("gpu.throttled", "gauge", ("gpu_violation_gfx_clock_below_host_limit_total_percentage",), scale=0.01),
        Rule(
            "gpu.throttled",
            "gauge",
            (
                "gpu_violation_ppt_residency_percentage",
                "gpu_violation_socket_thermal_residency_percentage",
                "gpu_violation_hbm_thermal_residency_percentage",
            ),
            adds=True,
            by=_AMD_GPU,
            scale=0.01,
        ),
        Rule("gpu.throttled", "gauge", ("gpu_violation_ppt_residency_percentage",), scale=0.01),
    ),
    settings={"gpu": "gpu_gfx_activity{card_series}"},
)
"""AMD's device-metrics-exporter (docs/configuration/metricslist.md)."""

LOCAL_GPUS = Engine(
    "local GPUs",
    signs=("llmlocust_gpu_",),
    rules=(
        Rule("gpu.utilisation", "gauge", ("llmlocust_gpu_utilisation_ratio",)),
        Rule("gpu.memory_busy", "gauge", ("llmlocust_gpu_memory_utilisation_ratio",)),
        Rule(
            "gpu.memory",
            "gauge",
            ("llmlocust_gpu_memory_bytes",),
            per=("llmlocust_gpu_memory_bytes",),
            where={"kind": "used"},
            per_where={"kind": "total"},
            by=("gpu",),
        ),
        Rule("gpu.power", "gauge", ("llmlocust_gpu_power_watts",)),
        Rule("gpu.power_limit", "gauge", ("llmlocust_gpu_power_limit_watts",)),
        Rule("gpu.energy", "counter", ("llmlocust_gpu_energy_joules",)),
        Rule("gpu.clock", "gauge", ("llmlocust_gpu_clock_megahertz",), where={"kind": "sm"}),
        Rule("gpu.temperature", "gauge", ("llmlocust_gpu_temperature_celsius",)),
        # an idle GPU and a clock that was set are reasons for a low clock, but none is a limit that the load meets
        Rule(
            "gpu.throttled",
            "gauge",
            ("llmlocust_gpu_throttled",),
            where={"reason": ("!idle", "!gpu_idle", "!applications_clocks_setting")},
        ),
    ),
    settings={"gpu": "llmlocust_gpu_utilisation_ratio{name}"},
)
"""GPUs of a machine that llmlocust reads through the vendor's library or command."""

GPUS = (DCGM, AMD, LOCAL_GPUS)
