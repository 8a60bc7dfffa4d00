"""The interface of a session for users and load shapes."""

from __future__ import annotations

from typing import Protocol

from locust.env import Environment

from llmlocust.plugin.generator.collector import Collector
from llmlocust.plugin.views.otel import GenAIMetrics


class SessionInterface(Protocol):
    """The part of a session that users and load shapes use."""

    collector: Collector | None
    otel: GenAIMetrics | None

    def refuse(self, why: str) -> None:
        """Refuse the test that starts, so that it sends no requests."""


def session_of(environment: Environment) -> SessionInterface:
    """Return the session of an environment. Raises RuntimeError if a script made the environment without firing events.init."""
    session: SessionInterface | None = getattr(environment, "llmlocust", None)
    if session is None:
        raise RuntimeError(
            "llmlocust does not know this Environment: make it with Environment(events=locust.events, …), and call "
            "locust.events.init.fire(environment=environment, runner=runner, web_ui=None) before the runner starts"
        )
    return session
