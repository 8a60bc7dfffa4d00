"""A container of this machine, by the API of the Docker engine."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import quote, urlsplit

from llmlocust.observe.sources.exposition import Exposition
from llmlocust.observe.sources.fetching import Fetcher
from llmlocust.observe.sources.source import TIMEOUT, Scrape, Source, SourceError
from llmlocust.text.media import one_line

_SOCKET = "unix:///var/run/docker.sock"
_NANO = 1e-9
_REMEDIES = {
    "no such file or directory": "is Docker running here? DOCKER_HOST names another socket",
    "connection refused: no server listens there": "is Docker running? DOCKER_HOST names another socket",
    "permission denied": "start llmlocust as a member of the group docker, or as root",
}


class DockerContainer(Source):
    """A container. The engine is that of DOCKER_HOST, or of the usual Unix socket."""

    def __init__(self, container: str, *, timeout: float = TIMEOUT) -> None:
        """Raises ValueError in one line if DOCKER_HOST cannot be used."""
        self._container = one_line(container)
        self.name, self.url = f"docker {self._container}", f"docker:{self._container}"
        self._target = f"/containers/{quote(container, safe='')}/stats?stream=false&one-shot=true"
        engine = os.environ.get("DOCKER_HOST", "").strip() or _SOCKET
        if engine.startswith("unix://"):
            self._fetcher = Fetcher("http://docker", unix_socket=urlsplit(engine).path, timeout=timeout)
        elif engine.startswith("tcp://"):
            self._fetcher = Fetcher(f"http://{engine.removeprefix('tcp://')}", timeout=timeout)
        else:
            raise ValueError("docker: reads DOCKER_HOST=unix:///PATH or tcp://HOST:PORT; it has another form here")

    def scrape(self) -> list[Scrape]:
        answer = self._get()
        try:
            return [Scrape(answer.time, self._text(json.loads(answer.body)))]
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            raise SourceError("the answer is not that of a Docker engine") from None

    def close(self) -> None:
        self._fetcher.close()

    def _get(self) -> Any:
        try:
            answer = self._fetcher.get(self._target, accept="application/json")
        except SourceError as problem:
            remedy = _REMEDIES.get(str(problem), "")
            raise SourceError(f"{problem}: {remedy}" if remedy else str(problem)) from None
        if answer.status == 404:
            raise SourceError(f"there is no container {self._container!r}: `docker ps` lists the names")
        if answer.status != 200:
            raise SourceError(f"the Docker engine answered HTTP {answer.status}")
        return answer

    def _text(self, stats: dict[str, Any]) -> bytes:
        memory = stats["memory_stats"]
        if not memory.get("usage"):  # the engine answers for a stopped container, too, with zeros
            raise SourceError(f"the container {self._container!r} does not run")
        cpu, text, name = stats["cpu_stats"], Exposition(), self._container
        text.add("llmlocust_container_cpu_seconds_total", round(cpu["cpu_usage"]["total_usage"] * _NANO, 6), name=name)
        throttled = (cpu.get("throttling_data") or {}).get("throttled_time")
        if throttled is not None:
            text.add("llmlocust_container_throttled_seconds_total", round(throttled * _NANO, 6), name=name)
        text.add("llmlocust_container_memory_bytes", _used(memory), name=name, kind="used")
        if memory.get("limit"):
            text.add("llmlocust_container_memory_bytes", int(memory["limit"]), name=name, kind="limit")
        return bytes(text)


def _used(memory: dict[str, Any]) -> int:
    """Return the memory in use without the cache of files that the kernel can drop, as `docker stats` does."""
    details = memory.get("stats") or {}
    droppable = details.get("total_inactive_file", details.get("inactive_file", 0))  # cgroups v1, v2
    return int(memory["usage"]) - (int(droppable) if int(droppable) < int(memory["usage"]) else 0)
