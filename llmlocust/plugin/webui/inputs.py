"""`Inputs`: the settings that a request to the web UI may change. All others stay as Locust was started.

Locust's /swarm stores every posted field that has the name of an option, output files included. Its /user sets any
attribute of a user class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from locust import User, argument_parser
from locust.env import Environment
from locust.runners import MasterRunner
from werkzeug.datastructures import ImmutableMultiDict, MultiDict

from llmlocust.load.answer_key import load as load_answers
from llmlocust.load.builtin_prompts import built_in
from llmlocust.load.huggingface import PREFIX as HUB
from llmlocust.load.prompts import load as load_prompts
from llmlocust.load.tokens import counter
from llmlocust.load.traces import open_trace
from llmlocust.metrics.thresholds import Gate, load_toml
from llmlocust.plugin import console
from llmlocust.plugin.http.client import Endpoint
from llmlocust.plugin.http.headers import api_key
from llmlocust.plugin.options import listed, option
from llmlocust.plugin.settings import ramp_setting
from llmlocust.plugin.users.users import LLMUser
from llmlocust.stream.dialects import DIALECTS

FILES: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {
        "prompts": load_prompts,
        "tokenizer": counter,
        "right_answers": load_answers,
        "thresholds": partial(load_toml, parse=Gate.parse),
        "trace": open_trace,
    }
)
"""Options that may name a file, with their loaders."""
_FIELDS = frozenset(("user_count", "spawn_rate", "host", "user_classes", "shape_class", "run_time", "profile"))
"""Locust's own fields in its start form."""
_OF_A_CLASS = frozenset(("user_class_name", "host", "weight", "fixed_count", "tasks"))
"""Attributes of a user class that Locust's page can change."""
_TIKTOKEN = "tiktoken:"


class Inputs:
    """The files, hosts and fields that a request may name, recorded when Locust starts."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._folder = Path.cwd().resolve()
        self._given = {name: option(environment, name) for name in FILES}
        self._is_insecure = option(environment, "insecure")
        self._servers = {_server(host) for host in _hosts(environment)} - {None}

    def fields(self, form: MultiDict[str, str]) -> ImmutableMultiDict[str, str]:
        """Return the posted values of the form's own fields, without any others."""
        known = _FIELDS | _custom_fields()
        return ImmutableMultiDict((name, value) for name, value in form.items(multi=True) if name in known)

    def check_files(self, posted: Any) -> None:
        """Raise ValueError if the options name a file that a form may not name, or that cannot be read. The reason may
        quote the file, so it goes to the terminal and not to the web.
        """
        for name in FILES:
            value = option(posted, name)
            if value and not self._may_name(name, value):
                raise ValueError(
                    f"--llm-{name.replace('_', '-')}: the form accepts the value that Locust was started with, built-in "
                    "names, and regular files below the folder that Locust was started in, except hidden ones — got "
                    f"{value[:60]!r}"
                )
        for name, read in FILES.items():
            if value := ramp_setting(posted, name) if name == "trace" else option(posted, name):
                _try_to_read(f"--llm-{name.replace('_', '-')}", value, read)

    def check_host(self, host: str | None) -> None:
        """Raise ValueError if keys would be sent to a server other than the one that Locust was started with."""
        if not host:
            return
        if any(letter in host for letter in "<>\\ ") or not host.isprintable():
            raise ValueError("the host must be a URL such as http://localhost:8000")
        if self._keeps_keys() and _server(host) not in self._servers:
            raise ValueError(
                "API keys and headers are sent only to the host that Locust was started with: start it with --host, or "
                "allow every host with --llm-any-host"
            )

    def check_certificate(self, posted: Any) -> None:
        """Raise ValueError if keys would be sent to a server whose certificate is not verified."""
        if option(posted, "insecure") and not self._is_insecure and self._keeps_keys():
            raise ValueError(
                "--llm-insecure: API keys are sent only to a server whose certificate is verified. To allow this, give "
                "the option to the command that starts Locust"
            )

    def check_user_class(self, settings: Any) -> None:
        """Raise ValueError if a request to /user sets an attribute that Locust's page does not offer."""
        if not isinstance(settings, dict):
            raise ValueError("settings of a user class must be a JSON object")  # noqa: TRY004  # every bad input is one
        if not settings.keys() <= _OF_A_CLASS:
            raise ValueError(f"only these attributes of a user class can be set: {', '.join(sorted(_OF_A_CLASS))}")
        self.check_host(str(settings.get("host") or ""))

    def _may_name(self, name: str, value: str) -> bool:
        if value == self._given[name]:
            return True
        if name == "prompts" and all(entry in built_in() for entry in listed(value)):
            return True
        if name == "tokenizer" and value.startswith(_TIKTOKEN):
            return True
        return not value.startswith(HUB) and self._is_below(value)

    def _is_below(self, value: str) -> bool:
        """Whether a path, with symbolic links resolved, is a regular file below the start folder. If that folder is the
        root of the file system, no file is accepted: every file is below it.
        """
        with suppress(OSError, ValueError, RuntimeError):
            path = Path(value).resolve(strict=True)
            parts = path.relative_to(self._folder).parts
            is_hidden = any(part.startswith(".") for part in parts)
            return path.is_file() and not is_hidden and self._folder != Path(self._folder.anchor)
        return False

    def _keeps_keys(self) -> bool:
        """Whether keys are bound to the start's host: this process has a key or headers, or has workers, which may have
        keys of their own.
        """
        environment = self._environment
        if option(environment, "any_host"):
            return False
        classes = _user_classes(environment)
        return (
            isinstance(environment.runner, MasterRunner)
            or bool(option(environment, "header"))
            or any(getattr(user, "headers", None) for user in classes)
            or any(map(api_key, _key_variables(environment, classes)))
        )


def _custom_fields() -> frozenset[str]:
    """Return the form fields that are not Locust's own: the plugin's and those of locustfiles."""
    parser = argument_parser.get_parser(default_config_files=[])
    return frozenset(parser.args_included_in_web_ui) - frozenset(argument_parser.default_args_dict())


def _try_to_read(flag: str, value: str, read: Callable[[str], Any]) -> None:
    try:
        read(value)
    except Exception as problem:  # the text of any exception may quote the file
        console.error(f"{flag}: {problem}")
        raise ValueError(f"{flag}: {value[:60]!r} cannot be used. The reason is on Locust's terminal") from None


def _user_classes(environment: Environment) -> list[type[User]]:
    available: dict[str, Any] = environment.available_user_classes or {}  # Locust's type says users, not their classes
    return [*environment.user_classes, *available.values()]


def _hosts(environment: Environment) -> Iterator[str]:
    """Yield the hosts that the command line and the locustfile name."""
    classes = _user_classes(environment)
    yield from filter(None, (environment.host, *(user.host for user in classes)))


def _server(host: str) -> tuple[bool, str, int] | None:
    """Return TLS or not, host name and port of a host's URL; None if it is no URL."""
    try:
        endpoint = Endpoint(host)
    except ValueError:
        return None
    return endpoint.tls, endpoint.host.lower(), endpoint.port


def _key_variables(environment: Environment, classes: list[type[User]]) -> Iterator[str]:
    yield from (dialect.key_variable for dialect in DIALECTS)
    for user in classes:
        with suppress(ValueError):
            if issubclass(user, LLMUser):
                yield user.resolve_dialect(environment).key_variable
