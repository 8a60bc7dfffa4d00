"""The built-in sets of prompts."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources


@cache
def built_in() -> dict[str, list[str]]:
    """Return the sets by name."""
    text = resources.files("llmlocust.load").joinpath("questions.json").read_text(encoding="utf-8")
    sets: dict[str, list[str]] = json.loads(text)
    return sets
