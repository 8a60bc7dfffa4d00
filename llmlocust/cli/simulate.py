"""`llmlocust simulate`: an LLM server of known capacity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from llmlocust.cli.shared import OneLine


def _with_knobs(command: Callable[..., None]) -> Callable[..., None]:
    """An option for every setting of the simulator."""
    from llmlocust.simulator.settings import knobs

    for knob in reversed(list(knobs())):
        if knob.kind is bool:
            command = click.option(knob.option, is_flag=True, help=knob.help)(command)
        else:
            command = click.option(
                knob.option, type=knob.kind, default=knob.default, show_default=bool(str(knob.default)), help=knob.help
            )(command)
    return command


@click.command()
@_with_knobs
def simulate(**settings: Any) -> None:
    """Serve a simulated LLM of known capacity, over OpenAI's API.

    It behaves like continuous batching: every step gives each running request a token, and takes longer the more
    run; --slots of them run at once and the rest wait. It says the truth about itself at /truth: when it received
    each request and when it wrote each token. Its defaults never exceed 3,333 tokens/s.

    A key is demanded where LLMLOCUST_SIMULATOR_KEY is set.
    """
    from llmlocust.simulator.server import serve
    from llmlocust.simulator.settings import Settings

    try:
        checked = Settings(**settings)
    except ValueError as problem:
        raise OneLine(str(problem)) from None
    serve(checked)
