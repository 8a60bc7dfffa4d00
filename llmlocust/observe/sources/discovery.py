"""`discovered`: the sources that the server under test has, found by trying its usual paths."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult

import psutil

from llmlocust.observe.sources.exposition import has_samples
from llmlocust.observe.sources.fetching import Fetcher, Unreachable, place_of
from llmlocust.observe.sources.json_endpoints import GradioQueue, JsonEndpoint, LlamaCppSlots, OllamaModels, SglangLoads
from llmlocust.observe.sources.machine import Machine
from llmlocust.observe.sources.nvidia import NvidiaGpus
from llmlocust.observe.sources.processes import Processes, listeners
from llmlocust.observe.sources.prometheus_text import PrometheusText
from llmlocust.observe.sources.source import Source, SourceError
from llmlocust.text.urls import is_loopback, shown, split

SEARCH_SECONDS = 10.0
"""Maximum seconds of the search."""
_TRY_SECONDS = 2.0
_MAX_BASES = 4
_MAX_UNREACHABLE = 2
"""Attempts without an answer after which the search ends. A single slow path is no reason to give up."""
_METRICS = ("/metrics", "/prometheus/metrics")
_WITHOUT_METRICS: tuple[type[JsonEndpoint], ...] = (OllamaModels, SglangLoads, LlamaCppSlots, GradioQueue)
_METRICS_OF = {SglangLoads: "sglang", LlamaCppSlots: "llamacpp"}
_LLAMA_CPP, _VLLM = b"llamacpp:", b"vllm:"
_MAX_VERSION = 40
"""Characters."""
_SETTINGS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sglang": (
        ("/server_info", "/get_server_info"),
        (
            *("max_running_requests", "max_queued_requests", "mem_fraction_static", "kv_cache_dtype", "quantization"),
            *("chunked_prefill_size", "tp_size", "tokenizer_worker_num"),
        ),
    ),
    "llamacpp": (("/props",), ("total_slots",)),
}
"""By the beginning of an engine's metrics: the paths with its settings, and the settings that are read. No others are: they
may be keys."""
_PORTS = {"http": 80, "https": 443}
_TUNNELS = ("ssh", "autossh", "kubectl", "cloudflared", "chisel", "frpc")
"""Programs that listen on this machine for a server on another one."""

_FLAGS = {
    "llama.cpp": "llama.cpp's server has metrics if it is started with --metrics",
    "SGLang": "SGLang has metrics if it is started with --enable-metrics",
    "vLLM": "vLLM has /metrics on its own port; if a proxy is in front of it, name that port with --llm-observe",
    "TensorRT-LLM": "trtllm-serve has /prometheus/metrics with `return_perf_metrics: true` in its options",
    "Ollama": "Ollama has no metrics but /api/ps",
}
"""The remedy by server."""
_OWNERS = {
    "vllm": "vLLM",
    "sglang": "SGLang",
    "llamacpp": "llama.cpp",
    "tensorrt_llm": "TensorRT-LLM",
    "library": "Ollama",
}
"""Servers by `owned_by` of their models."""


def discovered(
    host: str,
    *,
    insecure: bool = False,
    headers: Mapping[str, str] | None = None,
    seconds: float = SEARCH_SECONDS,
) -> tuple[list[Source], str]:
    """Return the sources of a server, and one line for the console: what is observed, or which option of the server would
    show its metrics.

    `host` is the address under test, with or without a path such as /v1. `headers` are those of the requests to it, such
    as its key. If the host is this machine, the process that listens on the port, the machine and its GPUs are sources,
    too. The line contains no credentials.
    """
    try:
        parts = split(host)
    except ValueError:
        return [], f"Telemetry: none. {shown(host)!r} is not a valid address."
    if parts.scheme not in _PORTS:
        return [], f"Telemetry: none. {shown(host)!r} is not a URL with http:// or https://."
    try:
        search = _Search(parts._replace(query="", fragment=""), headers or {}, insecure=insecure, seconds=seconds)
        sources, remedy = search.run()
    except ValueError as problem:  # the environment: a header, a proxy
        sources, remedy = [], str(problem)
    local_sources, remark = _local(parts) if is_loopback(parts.hostname or "") else ([], "")
    sources += local_sources
    names = ", ".join(source.url for source in sources) or "none"
    return sources, " ".join([f"Telemetry: {names}.", *(f"{text}." for text in (remedy, remark) if text)])


class _Search:
    """The search at one host."""

    def __init__(self, parts: SplitResult, headers: Mapping[str, str], *, insecure: bool, seconds: float) -> None:
        self._parts, self._headers, self._insecure = parts, headers, insecure
        self._until = time.monotonic() + seconds
        self._bases = _bases(parts.path)
        self._unreachable: list[str] = []
        self._refusal = ""
        """The error of a path with metrics that needs credentials."""

    def run(self) -> tuple[list[Source], str]:
        """Return the sources of the server, and the remedy if they are not its metrics."""
        for address in self._addresses(*_METRICS):
            if (text := self._text(PrometheusText, address)) and has_samples(text):
                source = self._source(PrometheusText, address)
                source.version, source.settings = self._version(text), self._settings(text.decode(errors="replace"))
                beside = self._first(LlamaCppSlots) if _LLAMA_CPP in text else None
                return [source, *([beside] if beside else [])], ""
        for kind in _WITHOUT_METRICS:
            if instead := self._first(kind):
                instead.settings = self._settings(_METRICS_OF.get(kind, ""))
                return [instead], self._flag()
        return [], self._flag() or self._reason()

    def _version(self, text: bytes) -> str:
        """Return the version of vLLM, whose metrics do not contain it; empty for another server."""
        if _VLLM not in text:
            return ""
        versions = (self._recognised(address, _by_version) for address in self._addresses("/version"))
        return next(filter(None, versions), "")[:_MAX_VERSION]

    def _settings(self, metrics: str) -> dict[str, str]:
        """Return the settings that a server shows at a path of its own. `metrics`: what it reports."""
        known = next((known for engine, known in _SETTINGS.items() if engine in metrics), None)
        for address in self._addresses(*known[0]) if known else ():
            _, document = self._document(address)
            if known and isinstance(document, dict):
                shown_settings = {name: document.get(name) for name in known[1]}
                return {
                    name: str(value)[:_MAX_VERSION]
                    for name, value in shown_settings.items()
                    if isinstance(value, str | int | float)
                }
        return {}

    def _first(self, kind: type[JsonEndpoint]) -> Source | None:
        """Return the source of the first base path at which the server has this endpoint."""
        return next((self._source(kind, address) for address in self._addresses("") if self._text(kind, address)), None)

    def _addresses(self, *paths: str) -> Iterator[str]:
        """Yield the addresses of paths, below the whole path of the host first, while the server answers."""
        for base in self._bases:
            for path in paths:
                if self._is_open():
                    yield self._parts._replace(path=base + path).geturl()

    def _is_open(self) -> bool:
        return len(self._unreachable) < _MAX_UNREACHABLE and time.monotonic() < self._until

    def _seconds(self) -> float:
        return max(0.1, min(_TRY_SECONDS, self._until - time.monotonic()))

    def _source(self, kind: type[PrometheusText | JsonEndpoint], address: str) -> Source:
        return kind(address, insecure=self._insecure, headers=self._headers)

    def _text(self, kind: type[PrometheusText | JsonEndpoint], address: str) -> bytes:
        """Return what a source reports now; nothing if it reports nothing."""
        source = kind(address, insecure=self._insecure, headers=self._headers, timeout=self._seconds())
        try:
            return b"".join(scrape.text for scrape in source.scrape())
        except Unreachable as problem:
            self._unreachable.append(str(problem))
        except SourceError as problem:
            if str(problem).startswith(("HTTP 401", "HTTP 403")) and kind is PrometheusText:
                self._refusal = self._refusal or f"{source.url}: {problem}"
        finally:
            source.close()
        return b""

    def _reason(self) -> str:
        if self._unreachable and not self._is_open():
            return f"{place_of(self._parts)} does not answer the search: {self._unreachable[-1]}"
        if self._refusal:
            return self._refusal
        return f"{place_of(self._parts)} has no /metrics; --llm-observe names other sources"

    # ── which server it is ──

    def _flag(self) -> str:
        """Return the option that would show the metrics; empty if the server is not recognised or needs credentials."""
        if self._refusal:
            return self._refusal
        signs: tuple[tuple[str, Callable[[str, Any], str]], ...] = (
            ("/v1/models", _by_models),
            ("/props", lambda _, document: "llama.cpp" if "total_slots" in document else ""),
            ("/get_server_info", lambda _, document: "SGLang" if "model_path" in document else ""),
            ("/api/version", lambda _, document: "Ollama" if "version" in document else ""),
        )
        for path, recognise in signs:
            for address in self._addresses(path):
                if server := self._recognised(address, recognise):
                    return _FLAGS[server]
        return ""

    def _recognised(self, address: str, recognise: Callable[[str, Any], str]) -> str:
        server, document = self._document(address)
        if server.lower().startswith("llama.cpp"):
            return "llama.cpp"
        return recognise(server, document) if isinstance(document, dict) else ""

    def _document(self, address: str) -> tuple[str, Any]:
        """Return the name of the server that answers, and its JSON; None if it sends none."""
        fetcher = Fetcher(address, insecure=self._insecure, headers=self._headers, timeout=self._seconds())
        server = ""
        try:
            answer = fetcher.get(accept="application/json")
            server = answer.server
            return server, json.loads(answer.body) if answer.status == 200 else None
        except Unreachable as problem:
            self._unreachable.append(str(problem))
        except (SourceError, ValueError, RecursionError):
            pass
        finally:
            fetcher.close()
        return server, None


def _bases(path: str) -> list[str]:
    """Return the paths below which the server may have its endpoints: /api/v1, /api and none."""
    steps = [step for step in path.split("/") if step]
    bases = ["".join(f"/{step}" for step in steps[:length]) for length in range(len(steps), -1, -1)]
    return bases[-_MAX_BASES:]


def _by_version(_: str, document: Any) -> str:
    return str(document.get("version") or "")


def _by_models(_: str, document: Any) -> str:
    models = document.get("data")
    listed = models if isinstance(models, list) else []
    owners = [str(model.get("owned_by")) for model in listed if isinstance(model, dict)]
    return next((_OWNERS[owner] for owner in owners if owner in _OWNERS), "")


# ── this machine ──


def _local(parts: SplitResult) -> tuple[list[Source], str]:
    """Return the sources of this machine for a server that runs on it, and a remark if there are fewer than expected."""
    port = parts.port or _PORTS[parts.scheme]
    sources: list[Source] = [Machine(), *_gpus()]
    try:
        names = {process.name() for process in listeners(port)}
    except SourceError as problem:
        return sources, str(problem)
    except psutil.Error:  # the processes have ended meanwhile
        names = set()
    if tunnels := sorted(names & set(_TUNNELS)):
        return (
            [],
            f"{tunnels[0]} listens on port {port}, so the server is on another machine: run `llmlocust observe` there",
        )
    return ([Processes.by_port(port)] if names else []) + sources, ""


def _gpus() -> list[Source]:
    gpus = NvidiaGpus()
    try:
        gpus.scrape()
    except SourceError:
        return []
    return [gpus]
