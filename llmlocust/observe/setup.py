"""The sources of a run: those that its options name, and those of the server under test."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import BinaryIO

import msgspec

from llmlocust.observe.engines import ENGINES
from llmlocust.observe.program import Program
from llmlocust.observe.sources.discovery import discovered
from llmlocust.observe.sources.parse import source_of
from llmlocust.observe.sources.source import Source

NONE = "none"
"""The value of --llm-observe that stops the search for sources at the server under test."""
SEPARATOR = r"\n"
"""The separator of several values in one text: an address may contain commas."""


class Config(msgspec.Struct):
    """The configuration of the observing process."""

    hosts: list[str] = []
    """The addresses under test."""
    observe: list[str] = []
    """The values of --llm-observe."""
    interval: float = 1.0
    insecure: bool = False
    headers: dict[str, str] = {}
    """The headers of requests to the server under test, such as its key."""


def values_of(text: str) -> list[str]:
    """Return the values of the option --llm-observe."""
    return [line.strip() for line in text.replace(SEPARATOR, "\n").splitlines() if line.strip()]


def check(text: str) -> None:
    """Check the values of the option. Raises ValueError in one line."""
    for value in values_of(text):
        if value != NONE:
            source_of(value)


def shown(text: str) -> str:
    """Return the values for the run's files, without credentials."""
    return SEPARATOR.join(value if value == NONE else source_of(value).url for value in values_of(text))


def sources_of(config: Config) -> tuple[list[Source], list[str]]:
    """Return the sources, and lines for the console."""
    sources: list[Source] = [source_of(value, insecure=config.insecure) for value in config.observe if value != NONE]
    lines = []
    for host in config.hosts if NONE not in config.observe else ():
        of_host, line = discovered(host, insecure=config.insecure, headers=config.headers)
        sources += of_host
        lines.append(line)
    return _distinct(sources), lines


def _distinct(sources: Sequence[Source]) -> list[Source]:
    """Return the sources without a second one of the same address."""
    return list({source.url: source for source in reversed(sources)}.values())[::-1]


def serve(config: Config, commands: BinaryIO, out: BinaryIO) -> None:
    """Observe until the run ends."""
    sources, lines = sources_of(config)
    out.writelines(msgspec.json.encode({"says": line}) + b"\n" for line in lines)
    out.flush()
    Program(sources, ENGINES, config.interval, out).run(commands)


def main() -> None:
    """Run the process, with the configuration in the first line of the input."""
    config = msgspec.json.decode(sys.stdin.buffer.readline(), type=Config)
    out = sys.stdout.buffer
    sys.stdout = sys.stderr  # a library that prints must not disturb the messages
    serve(config, sys.stdin.buffer, out)


if __name__ == "__main__":
    main()
