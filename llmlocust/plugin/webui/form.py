"""Checks of the values that the start form posts."""

from __future__ import annotations

from argparse import Namespace
from types import SimpleNamespace
from typing import Any

from locust.env import Environment
from locust.runners import MasterRunner

from llmlocust.plugin.findings import forget
from llmlocust.plugin.options import DEFAULTS, OPTIONS
from llmlocust.plugin.startup import option_checks
from llmlocust.plugin.webui.inputs import Inputs


def check_workers(environment: Environment) -> None:
    """Raise ValueError if a master has no workers: Locust would report a start, and then wait for ever or drop the test."""
    runner = environment.runner
    if isinstance(runner, MasterRunner) and not runner.worker_count:
        raise ValueError("no worker is connected: start one (locust --worker --master-host …), then start the test")


def check_form(environment: Environment, form: Any, inputs: Inputs) -> None:
    """Check the options together with a form's values. Raises ValueError in one line."""
    if private := [f"--llm-{known.name}" for known in OPTIONS if known.is_private and known.dest in form]:
        raise ValueError(f"{private[0]} is not a field of the form: give it to the command that starts Locust")
    inputs.check_host(form.get("host"))
    fields = inputs.fields(form)
    values = vars(environment.parsed_options or Namespace()) | {
        name: _typed(name, fields[name]) for name in DEFAULTS if name in fields
    }
    posted = SimpleNamespace(parsed_options=Namespace(**values), shape_class=_shape(environment, form))
    forget(posted)
    inputs.check_certificate(posted)
    inputs.check_files(posted)
    option_checks.check(posted)


def _shape(environment: Environment, form: Any) -> Any:
    """Return the form's ramp: with --class-picker the form names it, or "Default" if none is picked."""
    if environment.web_ui is None or not environment.web_ui.userclass_picker_is_active:
        return environment.shape_class
    return (environment.available_shape_classes or {}).get(form.get("shape_class", ""))


def _typed(name: str, text: str) -> Any:
    """Return a value as Locust would read it. Raises ValueError in one line."""
    kind = type(DEFAULTS[name])
    if kind is bool:
        return text == "true"
    try:
        return kind(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise ValueError(f"--{name.replace('_', '-')} must be {expected} — got {text!r}") from None
