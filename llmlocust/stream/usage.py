"""The server's count of tokens in fields outside the protocol, where some gateways put it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from llmlocust.stream import tolerant
from llmlocust.stream.delta import Usage
from llmlocust.stream.tolerant import valid_count

REPORTS_TOKENS = re.compile(rb"[Tt]oken(s|_?[cC]ount)\"")
"""Matches in an event that may report a count of tokens."""
_INPUT = ("prompt_tokens", "input_tokens", "prompttokens", "inputtokens", "prompt_token_count", "prompttokencount")
_OUTPUT = (
    "completion_tokens",
    "output_tokens",
    "completiontokens",
    "outputtokens",
    "generated_tokens",
    "output_token_count",
    "outputtokencount",
    "candidatestokencount",
)
_MAX_DEPTH = 6


def usage_in(data: bytes) -> Usage | None:
    """Return the counts of the first object in an event that reports tokens of the answer; None without one."""
    try:
        value = tolerant.decoded(data)
    except ValueError:
        return None
    return next(_usages(value), None)


def _usages(value: Any, depth: int = _MAX_DEPTH) -> Iterator[Usage]:
    if isinstance(value, dict):
        fields = {str(name).lower(): count for name, count in value.items()}
        output = _count(fields, _OUTPUT)
        if output is not None:
            yield Usage(_count(fields, _INPUT), output)
    if depth and isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _usages(item, depth - 1)


def _count(fields: dict[str, Any], names: tuple[str, ...]) -> int | None:
    return next((count for name in names if (count := valid_count(fields.get(name))) is not None), None)
