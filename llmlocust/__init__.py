"""llmlocust: how many users can an LLM endpoint take, where does it break, why, and can the answer be believed?

The names below load on first use, for they bring Locust with them, and Locust patches Python's standard library.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "ChatUser": "llmlocust.plugin.users",
    "CompletionUser": "llmlocust.plugin.users",
    "LLMUser": "llmlocust.plugin.users",
    "LinearRamp": "llmlocust.plugin.shapes",
    "PlanPart": "llmlocust.plugin.shapes",
    "Progressive": "llmlocust.plugin.shapes",
    "RateRamp": "llmlocust.plugin.shapes",
    "Search": "llmlocust.plugin.shapes",
    "Soak": "llmlocust.plugin.shapes",
    "Spike": "llmlocust.plugin.shapes",
    "SteppedRamp": "llmlocust.plugin.shapes",
    "Surge": "llmlocust.plugin.shapes",
    "Wave": "llmlocust.plugin.shapes",
    "TraceReplay": "llmlocust.plugin.shapes",
    "Timeouts": "llmlocust.plugin.connection",
    "Record": "llmlocust.stream.record",
}

__all__ = list(_HOMES)  # a list it is


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
