"""What is asked: built-in sets of questions, files of one's own, each made unique unless told otherwise."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

Messages = list[dict[str, Any]]
Question = str | Messages


def built_in() -> dict[str, list[str]]:
    """The sets that come with the package, by name."""
    text = resources.files("llmlocust.load").joinpath("questions.json").read_text(encoding="utf-8")
    sets: dict[str, list[str]] = json.loads(text)
    return sets


def load(source: str) -> list[Question]:
    """Questions from names of built-in sets ("short,reasoning") or a file's path. ValueError in one line.

    A file is text with a question a line, or JSONL whose lines hold {"prompt": "…"}, {"messages": [...]} or a string.
    """
    sets = built_in()
    names = [name.strip() for name in source.split(",") if name.strip()]
    if names and all(name in sets for name in names):
        return [question for name in names for question in sets[name]]
    if not os.path.isfile(source):  # noqa: PTH113  # Path's own raises for a name that is too long
        raise ValueError(f"no prompts {source[:60]!r}: give a file, or sets out of {', '.join(sets)}")
    try:
        # JSON may hold line separators of other kinds, at which splitlines would cut it
        lines = [line.strip() for line in Path(source).read_text(encoding="utf-8-sig").split("\n")]
    except (OSError, UnicodeDecodeError) as problem:
        raise ValueError(f"cannot read the prompts in {source}: {problem}") from None
    questions = [_question(line, f"{source}:{number}") for number, line in enumerate(lines, 1) if line]
    if not questions:
        raise ValueError(f"no prompts in {source}: it needs one a line")
    return questions


def _question(line: str, where: str) -> Question:
    if not re.match(r'[{"]', line):
        return line
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        if line.startswith('"'):  # a sentence may begin with a quotation
            return line
        raise ValueError(f"{where}: begins like JSON but is not: {line[:60]}") from None
    if isinstance(entry, str):
        return entry
    messages = entry.get("messages")
    if messages and isinstance(messages, list) and all(isinstance(message, dict) for message in messages):
        return messages
    if isinstance(entry.get("prompt"), str):
        prompt: str = entry["prompt"]
        return prompt
    raise ValueError(f'{where}: a JSON line needs "prompt" or "messages"')


@dataclass
class Prompts:
    """An endless supply of questions, in a random order that differs from user to user.

    Unique ones begin with a few random letters. They stand at the very beginning because a prefix cache matches from
    there: a ramp that asks the same questions again measures the cache and not the model.
    """

    questions: Sequence[Question]
    unique: bool = True
    random: random.Random = field(default_factory=random.Random)

    def next(self) -> Question:
        question = self.random.choice(self.questions)
        return self._mark(question) if self.unique else question

    def _mark(self, question: Question) -> Question:
        mark = f"[{self.random.getrandbits(40):010x}] "
        if isinstance(question, str):
            return mark + question
        first, *rest = question
        return [{**first, "content": _marked(first.get("content"), mark)}, *rest]


def _marked(content: Any, mark: str) -> Any:
    """Content is text, or a list of parts of which some are text."""
    if isinstance(content, list):
        return [{"type": "text", "text": mark}, *content]
    return f"{mark}{content or ''}"
