"""Reads the settings of a run from Locust's environment."""

from __future__ import annotations

from locust.env import Environment

from llmlocust.load.distributions import think_time, think_time_in_words
from llmlocust.plugin.http.addresses import shown
from llmlocust.plugin.options import option, written
from llmlocust.plugin.run.settings import RunSettings
from llmlocust.plugin.settings import limits, planned_users, thresholds


def settings_of(environment: Environment) -> RunSettings:
    """Read the present settings. Raises ValueError, in one line, if the plan is invalid."""
    return RunSettings(
        limits=limits(environment),
        thresholds=thresholds(environment),
        planned_users=planned_users(environment),
        target={
            "host": ", ".join(map(shown, hosts_of(environment))),
            "model": option(environment, "model"),
            "dialect": ", ".join(sorted({_dialect(user, environment) for user in environment.user_classes} - {""})),
        },
        options=written(environment),
        user_classes={user.__name__: _think_time(user, environment) for user in environment.user_classes},
    )


def hosts_of(environment: Environment) -> list[str]:
    """Return the hosts that receive requests: the environment's, or those of the user classes."""
    own = {user.host for user in environment.user_classes if user.host}
    return [environment.host] if environment.host else sorted(own)


def _dialect(user: type, environment: Environment) -> str:
    return user.resolve_dialect(environment).name if hasattr(user, "resolve_dialect") else ""


def _think_time(user: type, environment: Environment) -> str:
    """Return the think time of a user class as text. A class that does not use the option has code for it."""
    if getattr(user, "wait_time", None) is not getattr(user, "think_time_option", user):
        return "its own wait_time"
    return think_time_in_words(think_time(option(environment, "think_time")))
