"""llmlocust: load tests of LLM servers. How many users can a server take, where does it break, why, and is the result valid?

The names below load on first use, because they import Locust, which patches Python's standard library.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "ChatUser": "llmlocust.plugin.users.users",
    "CompletionUser": "llmlocust.plugin.users.users",
    "LLMUser": "llmlocust.plugin.users.users",
    "LinearRamp": "llmlocust.plugin.shapes.shapes",
    "PlanPhase": "llmlocust.plugin.shapes.shapes",
    "Progressive": "llmlocust.plugin.shapes.shapes",
    "RateRamp": "llmlocust.plugin.shapes.shapes",
    "Search": "llmlocust.plugin.shapes.shapes",
    "Soak": "llmlocust.plugin.shapes.shapes",
    "Spike": "llmlocust.plugin.shapes.shapes",
    "SteppedRamp": "llmlocust.plugin.shapes.shapes",
    "Surge": "llmlocust.plugin.shapes.shapes",
    "Wave": "llmlocust.plugin.shapes.shapes",
    "TraceReplay": "llmlocust.plugin.shapes.shapes",
    "Timeouts": "llmlocust.plugin.http.connection",
    "Record": "llmlocust.stream.record",
}

__all__ = list(_MODULES)

_NEED_THE_PLUGIN = ("llmlocust.plugin.users.", "llmlocust.plugin.shapes.")
_PLUGIN = "llmlocust.plugin.events"
"""Importing it turns the plugin on."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _MODULES[name].startswith(_NEED_THE_PLUGIN):
        import_module(_PLUGIN)
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
