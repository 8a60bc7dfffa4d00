"""The check of what the start form posts."""

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
    """ValueError where a master has none: Locust says that the test starts, and waits for ever, or forgets about it."""
    runner = environment.runner
    if isinstance(runner, MasterRunner) and not runner.worker_count:
        raise ValueError("no worker is connected: start one (locust --worker --master-host …), then start the test")


def check_form(environment: Environment, form: Any, inputs: Inputs) -> None:
    """Whether the options, with what a form posts, can be meant. ValueError in one line where not."""
    if private := [f"--llm-{each.name}" for each in OPTIONS if each.is_private and each.dest in form]:
        raise ValueError(f"{private[0]} is no field of the form: give it to the command that starts Locust")
    inputs.check_host(form.get("host"))
    fields = inputs.fields(form)
    told = vars(environment.parsed_options or Namespace()) | {
        name: _typed(name, fields[name]) for name in DEFAULTS if name in fields
    }
    meant = SimpleNamespace(parsed_options=Namespace(**told), shape_class=_shape(environment, form))
    forget(meant)
    inputs.check_certificate(meant)
    inputs.check_files(meant)
    option_checks.check(meant)


def _shape(environment: Environment, form: Any) -> Any:
    """The ramp that is meant: with --class-picker the form names it, and names "Default" where none is picked."""
    if environment.web_ui is None or not environment.web_ui.userclass_picker_is_active:
        return environment.shape_class
    return (environment.available_shape_classes or {}).get(form.get("shape_class", ""))


def _typed(name: str, text: str) -> Any:
    """As Locust would read it."""
    kind = type(DEFAULTS[name])
    if kind is bool:
        return text == "true"
    try:
        return kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise ValueError(f"--{name.replace('_', '-')} must be {wanted} — got {text!r}") from None
