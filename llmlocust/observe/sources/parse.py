"""`source_of`: the source that a value of `--llm-observe` names."""

from __future__ import annotations

from collections.abc import Callable

from llmlocust.observe.sources.docker_container import DockerContainer
from llmlocust.observe.sources.json_endpoints import GradioQueue, JsonEndpoint, LlamaCppSlots, OllamaModels, SglangLoads
from llmlocust.observe.sources.machine import Machine
from llmlocust.observe.sources.nvidia import NvidiaGpus
from llmlocust.observe.sources.processes import Processes
from llmlocust.observe.sources.prometheus_server import PrometheusServer
from llmlocust.observe.sources.prometheus_text import PrometheusText
from llmlocust.observe.sources.source import Source
from llmlocust.text.urls import shown

FORMS = (
    "http://HOST:PORT/metrics, prometheus:URL?query=SELECTOR, machine, gpu, pid:123, port:8000, process:NAME, "
    "docker:NAME, ollama:URL, gradio:URL, slots:URL or loads:URL"
)
_JSON: dict[str, type[JsonEndpoint]] = {
    source.kind: source for source in (OllamaModels, GradioQueue, SglangLoads, LlamaCppSlots)
}
_LOCAL: dict[str, Callable[[str], Source]] = {
    "pid": lambda text: Processes.by_pid(_number("pid", text, 2**31 - 1, "pid:1234")),
    "port": lambda text: Processes.by_port(_number("port", text, 65535, "port:8000")),
    "process": lambda text: Processes.by_name(_word("process", text, "process:vllm")),
    "docker": lambda text: DockerContainer(_word("docker", text, "docker:vllm")),
}


def source_of(text: str, *, insecure: bool = False) -> Source:
    """Return the source that a text names. `insecure` switches off the check of certificates. Nothing is read yet.

    Raises ValueError in one line, with a valid example and without secrets.
    """
    text = text.strip()
    kind, colon, rest = text.partition(":")
    kind = kind.lower()
    if kind in ("http", "https"):
        return PrometheusText(text, insecure=insecure)
    if colon and kind == "prometheus":
        return PrometheusServer(rest, insecure=insecure)
    if colon and kind in _JSON:
        return _JSON[kind](rest, insecure=insecure)
    if colon and kind in _LOCAL:
        return _LOCAL[kind](rest.strip())
    if text.lower() == "machine":
        return Machine()
    if text.lower() == "gpu":
        return NvidiaGpus()
    raise ValueError(f"{shown(text)[:80]!r} is no source of telemetry: write {FORMS}")


def _number(kind: str, text: str, largest: int, example: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 11 and 1 <= int(text) <= largest):
        raise ValueError(f"{kind}: needs a whole number from 1 to {largest}, such as {example}")
    return int(text)


def _word(kind: str, text: str, example: str) -> str:
    if not text or not text.isprintable():
        raise ValueError(f"{kind}: needs a name, such as {example}")
    return text
