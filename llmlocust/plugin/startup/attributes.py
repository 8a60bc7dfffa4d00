"""Checks of the attributes of a locustfile's user and shape classes, by the rules of the options that they replace.

Without these checks Locust would start the load, and each user would fail with a traceback.
"""

from __future__ import annotations

import inspect
import math
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from types import SimpleNamespace
from typing import Any

from locust.env import Environment

from llmlocust.plugin.findings import HasOptions
from llmlocust.plugin.options import AUTO, DEFAULTS, InvalidValue, option
from llmlocust.plugin.startup.option_checks import RULES, check_value
from llmlocust.plugin.users.users import LLMUser
from llmlocust.stream.dialects import Dialect

_OF_A_USER = (
    *("model", "prompts", "unique", "prefix_tokens", "prefix_share", "prompt_tokens", "turns", "max_tokens"),
    *("temperature", "system"),
)
_OF_A_SHAPE = {
    **{name: name for name in ("shape", "warmup", "hold", "drain", "requests", "arrivals", "max_in_flight")},
    **{name: name for name in ("trace", "trace_speed", "trace_from", "trace_seconds")},
    **{name: f"shape_{name}" for name in ("base", "peak", "seconds")},
    **{name: f"search_{name}" for name in ("limits", "start", "precision")},
    "max_load": "search_max",
    "longest": "search_hold",
}
"""Attributes of a shape, and the options that they replace."""


def own_users(environment: Environment) -> list[type[LLMUser]]:
    """Return the user classes that derive from LLMUser."""
    return [user for user in environment.user_classes if issubclass(user, LLMUser)]


def check_user(user: type[LLMUser], environment: HasOptions) -> None:
    """Check the attributes of a user class. Raises ValueError in one line that names the class and the attribute."""
    prompts = _own(user, "prompts")
    if prompts is not None and not isinstance(prompts, str):
        _refuse_unless(
            _are_questions(prompts), user, "prompts", "a file, names of sets, or a list of questions", prompts
        )
    names = {name: name for name in _OF_A_USER if name != "prompts" or isinstance(prompts, str)}
    _check_like_options(user, names, environment)
    for name, (is_met, wanted) in _USER_RULES.items():
        value = _own(user, name)
        if value is not None:
            _refuse_unless(is_met(value), user, name, wanted, value)


def check_users(environment: Environment) -> None:
    """Check that each user class has valid attributes, a known dialect, and headers whose values this node has.
    Raises ValueError in one line.
    """
    for user in own_users(environment):
        check_user(user, environment)
        if option(environment, "dialect") != AUTO:
            try:
                user.headers_of(environment).of(user.resolve_dialect(environment))
            except ValueError as problem:
                raise ValueError(f"{user.__name__}: {problem}") from None


def check_shape(shape: Any, environment: HasOptions) -> None:
    """Check the attributes of a shape. Raises ValueError in one line that names the class and the attribute."""
    _check_like_options(shape, _OF_A_SHAPE, environment)
    for name in ("surge", "soak", "shortest"):
        value = _own(shape, name)
        if value is not None:
            _refuse_unless(_is_number(value) and 0.0 < value < math.inf, shape, name, "a number above 0", value)


def _own(owner: Any, name: str) -> Any:
    """Return a class attribute; None for a property or a method."""
    fixed = inspect.getattr_static(owner, name, None)
    return None if hasattr(fixed, "__get__") else fixed


def _check_like_options(owner: Any, names: Mapping[str, str], environment: HasOptions) -> None:
    own = {name: value for name in names if (value := _own(owner, name)) is not None}
    for name, value in own.items():
        is_met, wanted = _KINDS[type(DEFAULTS[f"llm_{names[name]}"])]
        _refuse_unless(is_met(value), owner, name, wanted, value)
    # an option whose value is text accepts numbers as an attribute: max_tokens = 64
    texts = {name: isinstance(DEFAULTS[f"llm_{names[name]}"], str) for name in own}
    given = {f"llm_{names[name]}": str(value) if texts[name] else value for name, value in own.items()}
    merged = Namespace(**{**vars(environment.parsed_options or Namespace()), **given})
    for name in own:
        if names[name] in RULES:
            try:
                check_value(SimpleNamespace(parsed_options=merged), names[name])
            except InvalidValue as invalid:
                raise ValueError(f"{_name(owner)}.{name}{invalid.problem}") from None


def _refuse_unless(is_met: bool, owner: Any, name: str, wanted: str, value: Any) -> None:
    if not is_met:
        raise ValueError(f"{_name(owner)}.{name} must be {wanted} — got {repr(value)[:60]}")


def _name(owner: Any) -> str:
    return str((owner if isinstance(owner, type) else type(owner)).__name__)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or _is_number(value)


_KINDS: dict[type, tuple[Callable[[Any], bool], str]] = {
    bool: (lambda value: isinstance(value, bool), "True or False"),
    int: (_is_number, "a number"),
    float: (_is_number, "a number"),
    str: (_is_text, "text or a number"),
}
"""The check of an attribute, and the words for it, by the type of the option that the attribute replaces."""


def _are_timeouts(value: Any) -> bool:
    fields = ("connect", "first_token", "stall", "total")
    return all(_is_number(seconds := getattr(value, name, math.nan)) and 0 < seconds < math.inf for name in fields)


def _are_questions(value: Any) -> bool:
    """Return whether these are prompts. Only the entries of lists and tuples are checked: others may load them lazily."""
    if not isinstance(value, Sequence) or not len(value):
        return False
    return not isinstance(value, list | tuple) or all(
        isinstance(entry, str | list | tuple) and entry for entry in value
    )


_USER_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "dialect": (lambda value: isinstance(value, str | Dialect), "the name of a dialect, or a Dialect"),
    "headers": (lambda value: isinstance(value, Mapping), 'names with their values, such as {"api-key": "$API_KEY"}'),
    "stream": (lambda value: isinstance(value, bool), "True or False"),
    "timeouts": (_are_timeouts, "Timeouts(…), of seconds above 0"),
    "stall": (lambda value: _is_number(value) and value > 0, "seconds above 0"),
    "pause_after_failure": (lambda value: _is_number(value) and 0 <= value < math.inf, "0 seconds or more"),
}
