"""Exporters of figures of machines, containers and processes."""

from __future__ import annotations

from llmlocust.observe.rules import Engine, Labels, Rule

_IDLE: Labels = {"mode": ("idle", "iowait")}
"""A core that waits for a disk is idle. Time that a hypervisor took is not: the machine could not use it."""
_ONCE: Labels = {"mode": ("!guest", "!guest_nice")}
"""The time of guests is part of the user time, too."""


def _busy(seconds: str) -> Rule:
    """Return the rule of a machine's CPU from its seconds by mode."""
    return Rule("cpu", "ratio", (seconds,), per=(seconds,), where=_IDLE, per_where=_ONCE, complement=True)


NODE_EXPORTER = Engine(
    "node_exporter",
    signs=("node_cpu_seconds", "node_memory_", "node_exporter_build_info", "node_netstat_"),
    rules=(
        _busy("node_cpu_seconds"),
        Rule(
            "memory",
            "gauge",
            ("node_memory_MemAvailable_bytes",),
            per=("node_memory_MemTotal_bytes",),
            complement=True,
        ),
        Rule("swap", "gauge", ("node_memory_SwapTotal_bytes",), minus=("node_memory_SwapFree_bytes",)),
        Rule("network.sent", "counter", ("node_network_transmit_bytes",), where={"device": "!lo"}),
        # typed "untyped"
        Rule("network.retransmits", "counter", ("node_netstat_Tcp_RetransSegs",)),
        Rule("network.drops", "counter", ("node_netstat_TcpExt_ListenDrops", "node_netstat_TcpExt_ListenOverflows")),
        Rule("oom_kills", "counter", ("node_vmstat_oom_kill",)),
    ),
    version=("node_exporter_build_info", "version"),
)
"""Prometheus' node_exporter (collector/fixtures/e2e-output.txt)."""

_CONTAINER: Labels = {"image": "!", "container": "!POD"}
"""Rows of a whole pod or of the machine have no image; "POD" is the pause container."""
_BY_CONTAINER = ("id",)

CADVISOR = Engine(
    "cAdvisor",
    signs=("container_cpu_", "container_memory_", "cadvisor_version_info"),
    rules=(
        # older releases have one series per core in its place
        Rule("container.cpu", "rate", ("container_cpu_usage_seconds",), where={**_CONTAINER, "cpu": ("", "total")}),
        # a container without a limit has a limit of 0, and no share
        Rule(
            "container.memory",
            "gauge",
            ("container_memory_working_set_bytes",),
            per=("container_spec_memory_limit_bytes",),
            where=_CONTAINER,
            per_where=_CONTAINER,
            by=_BY_CONTAINER,
        ),
        # the seconds are summed over threads, so they can exceed 1 per second; periods are a share
        Rule(
            "cpu.throttled",
            "ratio",
            ("container_cpu_cfs_throttled_periods",),
            per=("container_cpu_cfs_periods",),
            where=_CONTAINER,
            per_where=_CONTAINER,
            by=_BY_CONTAINER,
        ),
        # the network belongs to a pod; the row "/" is the machine, which includes all of them
        Rule("network.sent", "counter", ("container_network_transmit_bytes",), where={"id": "!/", "interface": "!lo"}),
        Rule("oom_kills", "counter", ("container_oom_events",), where=_CONTAINER),
        Rule("restarts", "changes", ("container_start_time_seconds",), where=_CONTAINER),
    ),
    version=("cadvisor_version_info", "cadvisorVersion"),
    updates_s=10.0,
)
"""Google's cAdvisor and the kubelet (docs/storage/prometheus.md)."""

KUBE_STATE_METRICS = Engine(
    "kube-state-metrics",
    signs=("kube_pod_", "kube_state_metrics_"),
    rules=(Rule("restarts", "counter", ("kube_pod_container_status_restarts",)),),
    version=("kube_state_metrics_build_info", "version"),
)
"""kube-state-metrics (docs/metrics/workload/pod-metrics.md)."""

PROCESS_EXPORTER = Engine(
    "process-exporter",
    signs=("namedprocess_",),
    rules=(
        # a group of processes, by default those of one program
        Rule("process.cpu", "rate", ("namedprocess_namegroup_cpu_seconds",), by=("groupname",)),
        Rule(
            "process.thread_cpu",
            "rate",
            ("namedprocess_namegroup_thread_cpu_seconds",),
            by=("groupname", "threadname"),
        ),
        Rule("process.memory", "gauge", ("namedprocess_namegroup_memory_bytes",), where={"memtype": "resident"}),
        Rule("process.swap", "gauge", ("namedprocess_namegroup_memory_bytes",), where={"memtype": "swapped"}),
        Rule("process.threads", "gauge", ("namedprocess_namegroup_num_threads",)),
        Rule("process.files", "gauge", ("namedprocess_namegroup_worst_fd_ratio",)),
        Rule("process.switches", "counter", ("namedprocess_namegroup_context_switches",)),
        Rule("restarts", "changes", ("namedprocess_namegroup_oldest_start_time_seconds",)),
    ),
)
"""process-exporter (README): the only exporter that shows a thread at 100 %."""

LOCAL_MACHINE = Engine(
    "local machine",
    signs=("llmlocust_machine_",),
    rules=(
        _busy("llmlocust_machine_cpu_seconds"),
        Rule(
            "memory",
            "gauge",
            ("llmlocust_machine_memory_bytes",),
            per=("llmlocust_machine_memory_bytes",),
            where={"kind": "available"},
            per_where={"kind": "total"},
            complement=True,
        ),
        Rule("swap", "gauge", ("llmlocust_machine_swap_used_bytes",)),
        Rule("network.sent", "counter", ("llmlocust_machine_sent_bytes",)),
        Rule("network.retransmits", "counter", ("llmlocust_machine_retransmits",)),
        Rule("network.drops", "counter", ("llmlocust_machine_listen_drops",)),
        Rule("oom_kills", "counter", ("llmlocust_machine_oom_kills",)),
    ),
)
"""A machine that llmlocust reads through /proc."""

LOCAL_PROCESSES = Engine(
    "local processes",
    signs=("llmlocust_process_",),
    rules=(
        Rule("process.cpu", "rate", ("llmlocust_process_cpu_seconds",), by=("pid",)),
        Rule("process.thread_cpu", "rate", ("llmlocust_process_thread_cpu_seconds",), by=("pid", "thread")),
        # pages of files are shared, and are counted in each process that has them
        Rule("process.memory", "gauge", ("llmlocust_process_memory_bytes",), where={"kind": "rss_anon"}),
        Rule("process.memory", "gauge", ("llmlocust_process_memory_bytes",), where={"kind": "rss"}),
        Rule("process.swap", "gauge", ("llmlocust_process_memory_bytes",), where={"kind": "swap"}),
        Rule("process.threads", "gauge", ("llmlocust_process_threads",)),
        Rule(
            "process.files",
            "gauge",
            ("llmlocust_process_open_files",),
            per=("llmlocust_process_max_files",),
            by=("pid",),
        ),
        Rule("process.switches", "counter", ("llmlocust_process_context_switches",)),
        Rule("restarts", "changes", ("llmlocust_process_start_time_seconds",), by=("name",)),
    ),
)
"""Processes of the server that llmlocust reads through /proc."""

LOCAL_CONTAINERS = Engine(
    "local containers",
    signs=("llmlocust_container_",),
    rules=(
        Rule("container.cpu", "rate", ("llmlocust_container_cpu_seconds",)),
        Rule(
            "container.memory",
            "gauge",
            ("llmlocust_container_memory_bytes",),
            per=("llmlocust_container_memory_bytes",),
            where={"kind": "used"},
            per_where={"kind": "limit"},
            by=("name",),
        ),
        Rule("cpu.throttled", "rate", ("llmlocust_container_throttled_seconds",), by=("name",)),
    ),
)
"""Containers of a machine that llmlocust reads through their cgroups."""

MACHINES = (
    *(NODE_EXPORTER, CADVISOR, KUBE_STATE_METRICS, PROCESS_EXPORTER),
    *(LOCAL_MACHINE, LOCAL_PROCESSES, LOCAL_CONTAINERS),
)
