"""Start the process that asks the sources of telemetry (llmlocust.observe)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from locust.env import Environment

from llmlocust.observe.setup import NONE, Config, values_of
from llmlocust.plugin.child_process import ChildProcess
from llmlocust.plugin.options import option
from llmlocust.plugin.run.locust_settings import hosts_of


def config_of(environment: Environment) -> Config | None:
    """Return the configuration of an environment's options; None if nothing is to be observed."""
    values = values_of(option(environment, "observe"))
    if values == [NONE]:
        return None
    return Config(
        hosts=hosts_of(environment),
        observe=values,
        interval=option(environment, "observe_interval"),
        insecure=option(environment, "insecure"),
        headers=_headers_of(environment),
    )


def _headers_of(environment: Environment) -> dict[str, str]:
    """Return the headers of the first user class that differ from those of every request, such as a key."""
    users: list[Any] = [user for user in environment.user_classes if hasattr(user, "headers_of")]
    with suppress(ValueError):  # a variable is missing: the load itself reports it
        for user in users:
            own: dict[str, str] = user.headers_of(environment).own(user.resolve_dialect(environment))
            return own
    return {}


def start(config: Config) -> ChildProcess:
    """Start the observing process. It has nothing to clean up, so it may be killed."""
    return ChildProcess("llmlocust.observe.setup", config)
