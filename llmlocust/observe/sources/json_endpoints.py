"""Servers that report their state in JSON and not in Prometheus' format: Ollama, Gradio, SGLang, llama.cpp."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from llmlocust.observe.sources.exposition import Exposition
from llmlocust.observe.sources.fetching import Fetched, Fetcher, checked_url, place_of, server_of
from llmlocust.observe.sources.prometheus_text import refuse_status
from llmlocust.observe.sources.source import TIMEOUT, Scrape, Source, SourceError
from llmlocust.text.urls import shown


class JsonEndpoint(Source):
    """An endpoint whose JSON becomes text in Prometheus' format. The URL may be that of the server or of the endpoint."""

    kind: ClassVar[str]
    """The word before the URL: "ollama"."""
    paths: ClassVar[tuple[str, ...]]
    """Paths of the endpoint, newest first."""
    hint: ClassVar[str]
    """The remedy if the server has no such path."""

    def __init__(
        self,
        url: str,
        *,
        insecure: bool = False,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        """Raises ValueError in one line."""
        parts = checked_url(url, f"{self.kind}:http://gpu-box:8000")
        base = parts.path.rstrip("/")
        ending = next((path for path in self.paths if base.endswith(path)), "")
        base = base.removesuffix(ending)
        self.name = f"{self.kind} {place_of(parts)}{shown(base) if base else ''}"
        self.url = f"{self.kind}:{shown(parts._replace(path=base, fragment='').geturl())}"
        self.server = server_of(parts)
        query = f"?{parts.query}" if parts.query else ""
        self._targets = [f"{base}{path}{query}" for path in self.paths]
        self._fetcher = Fetcher(url, insecure=insecure, headers=headers, timeout=timeout)

    def scrape(self) -> list[Scrape]:
        answer = self._get()
        refuse_status(answer, self.hint)
        text = Exposition()
        try:
            self.add(json.loads(answer.body), text)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError, OverflowError):
            raise SourceError(f"the answer is not that of {self.hint}") from None
        return [Scrape(answer.time, bytes(text))]

    def close(self) -> None:
        self._fetcher.close()

    def _get(self) -> Fetched:
        """Get the first path that exists. It is the only one from then on."""
        answer = self._fetcher.get(self._targets[0], accept="application/json")
        while answer.status == 404 and len(self._targets) > 1:
            del self._targets[0]
            answer = self._fetcher.get(self._targets[0], accept="application/json")
        return answer

    @abstractmethod
    def add(self, document: Any, text: Exposition) -> None:
        """Add the values of a document to a text. May raise the errors of a document with another structure."""


class OllamaModels(JsonEndpoint):
    """Ollama's list of loaded models."""

    kind, paths = "ollama", ("/api/ps",)
    hint = "Ollama's /api/ps"

    def add(self, document: Any, text: Exposition) -> None:
        models = document["models"] or []
        text.add("ollama_models_loaded", len(models))
        for model in models:
            text.add("ollama_model_bytes", int(model["size"]), model=model["name"], place="all")
            text.add("ollama_model_bytes", int(model.get("size_vram") or 0), model=model["name"], place="vram")


class GradioQueue(JsonEndpoint):
    """The queue of a Gradio app."""

    kind, paths = "gradio", ("/gradio_api/queue/status", "/queue/status")
    hint = "Gradio's /gradio_api/queue/status"

    def add(self, document: Any, text: Exposition) -> None:
        text.add("gradio_queue_size", int(document["queue_size"]))


class SglangLoads(JsonEndpoint):
    """SGLang's loads, which it reports also without --enable-metrics."""

    kind, paths = "loads", ("/v1/loads",)
    hint = "SGLang's /v1/loads"

    def add(self, document: Any, text: Exposition) -> None:
        for load in document["loads"]:
            rank = load["dp_rank"]
            text.add("sglang_loads_running", int(load["num_running_reqs"]), dp_rank=rank)
            text.add("sglang_loads_waiting", int(load["num_waiting_reqs"]), dp_rank=rank)
            if load.get("token_usage") is not None:
                text.add("sglang_loads_token_usage", float(load["token_usage"]), dp_rank=rank)


class LlamaCppSlots(JsonEndpoint):
    """The slots of llama.cpp's server."""

    kind, paths = "slots", ("/slots",)
    hint = "llama.cpp's /slots, which --no-slots switches off"

    def add(self, document: Any, text: Exposition) -> None:
        if not isinstance(document, list):
            raise TypeError
        busy = sum(bool(slot["is_processing"] if "is_processing" in slot else slot["state"]) for slot in document)
        text.add("llamacpp_slots_busy", busy)
        text.add("llamacpp_slots_all", len(document))
