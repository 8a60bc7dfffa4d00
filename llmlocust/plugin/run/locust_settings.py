"""Reads the settings of a run from Locust's environment."""

from __future__ import annotations

from locust.env import Environment

from llmlocust.load.distributions import Distribution, think_time, think_time_in_words
from llmlocust.plugin.options import option, written
from llmlocust.plugin.run.settings import RunSettings
from llmlocust.plugin.settings import limits, planned_users, thresholds
from llmlocust.text.message import message
from llmlocust.text.urls import shown


def settings_of(environment: Environment) -> RunSettings:
    """Read the present settings. Raises ValueError, in one line, if the plan is invalid."""
    think_times = {user.__name__: _think_time(user, environment) for user in environment.user_classes}
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
        user_classes={name: _in_words(seconds) for name, seconds in think_times.items()},
        think_times={name: None if seconds is None else seconds.mean for name, seconds in think_times.items()},
    )


def hosts_of(environment: Environment) -> list[str]:
    """Return the hosts that receive requests: the environment's, or those of the user classes."""
    own = {user.host for user in environment.user_classes if user.host}
    return [environment.host] if environment.host else sorted(own)


def _dialect(user: type, environment: Environment) -> str:
    return user.resolve_dialect(environment).name if hasattr(user, "resolve_dialect") else ""


def _think_time(user: type, environment: Environment) -> Distribution | None:
    """Return the think time of a user class; None for a class that has code for it and does not use the option."""
    if getattr(user, "wait_time", None) is not getattr(user, "think_time_option", user):
        return None
    return think_time(option(environment, "think_time"))


def _in_words(seconds: Distribution | None) -> str:
    return message("its own wait_time") if seconds is None else think_time_in_words(seconds)
