"""`llmlocust simulate`: start an LLM server of known capacity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from llmlocust.cli.shared import OneLine


def _with_knobs(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for every setting of the simulator."""
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
    """Serve a simulated LLM of known capacity, with OpenAI's API.

    The server simulates continuous batching. Each step gives every running request one token, and takes longer if more
    requests run. At most --slots requests run at once; the others wait. /truth lists when each request arrived and when
    each token was written. With the default settings, the server never exceeds 3,333 tokens/s.

    The server requires a key if LLMLOCUST_SIMULATOR_KEY is set.
    """
    from llmlocust.simulator.server import serve
    from llmlocust.simulator.settings import Settings

    try:
        checked = Settings(**settings)
    except ValueError as problem:
        raise OneLine(str(problem)) from None
    serve(checked)
