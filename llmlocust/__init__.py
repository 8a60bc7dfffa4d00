"""llmlocust: how many users can an LLM endpoint take, where does it break, why, and can the answer be believed?

The names below load on first use, for they bring Locust with them, and Locust patches Python's standard library.
"""

from importlib import import_module
from typing import Any

_HOMES = {
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

__all__ = list(_HOMES)  # a list it is

_NEED_THE_PLUGIN = ("llmlocust.plugin.users.", "llmlocust.plugin.shapes.")
_PLUGIN = "llmlocust.plugin.events"
"""Importing it turns the plugin on."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _HOMES[name].startswith(_NEED_THE_PLUGIN):
        import_module(_PLUGIN)
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
