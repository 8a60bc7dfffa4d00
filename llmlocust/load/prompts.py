"""Prompts from built-in sets of questions and from files. By default, each prompt is made unique."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from llmlocust.load import huggingface
from llmlocust.load.builtin_prompts import built_in
from llmlocust.load.distributions import Distribution
from llmlocust.load.prompt_files import open_file
from llmlocust.load.rows import Limited, Messages, Question, Talk, words_of
from llmlocust.load.tokens import Count, cut, estimate, prose

__all__ = [
    "Limited",
    "Messages",
    "Prompts",
    "Question",
    "Talk",
    "Turn",
    "limit_of",
    "load",
    "shared_prefix",
    "words_of",
]


def load(source: str) -> Sequence[Question]:
    """Load questions from built-in sets ("short,reasoning"), a file (`load.prompt_files`), or a Hugging Face data set
    ("hf:…"). Raises ValueError with a one-line message.
    """
    sets = built_in()
    names = [name.strip() for name in source.split(",") if name.strip()]
    if names and all(name in sets for name in names):
        return [question for name in names for question in sets[name]]
    if huggingface.is_set(source):
        return huggingface.open_set(source)
    if not os.path.isfile(source):  # noqa: PTH113  # Path.is_file raises an error for a name that is too long
        raise ValueError(f"no prompts {source[:60]!r}: give a file, or sets of {', '.join(sets)}")
    return open_file(source)


def limit_of(question: Question) -> int | None:
    """Return the maximum tokens of the answer if the row of the question has a limit; None otherwise."""
    return question.max_tokens if isinstance(question, Limited) else None


class Turn(NamedTuple):
    """One turn of a conversation, without the answers of the model."""

    messages: Messages
    """Messages of the turn."""
    words: str
    """Text of the question before it was made unique."""
    max_tokens: int | None
    """Maximum tokens of the answer if the row of the question has a limit."""


@cache
def shared_prefix(tokens: int, count: Count = estimate, seed: str = "") -> str:
    """Return a text of this number of tokens. It depends only on the arguments: all processes have the same text."""
    return prose(tokens, random.Random(f"shared prefix {seed}"), count)


@cache
def _tokens_of(prefix: str, count: Count) -> int:
    return count(prefix)


@dataclass
class Prompts:
    """An endless supply of random questions.

    Unique prompts begin with random characters. They are at the very beginning because a prefix cache compares prompts
    from there: with repeated prompts, a ramp measures the cache and not the model.
    """

    questions: Sequence[Question]
    unique: bool = True
    tokens: Distribution | None = None
    """Tokens of a whole prompt: prose is added before the question, or the question is cut. None: no change."""
    prefix: str = ""
    """Shared beginning of prompts, to test a prefix cache. It precedes the characters that make a prompt unique."""
    prefix_share: float = 1.0
    """Share of prompts that have the prefix."""
    count: Count = estimate

    def pick(self, source: random.Random) -> Question:
        """Return a random question, unchanged."""
        return source.choice(self.questions)

    def prepare(self, question: Question, source: random.Random, tokens: int | None = None) -> Messages | str:
        """Return a question as it is sent; for a talk, its first turn. `tokens` replaces the drawn number of tokens."""
        prefix = f"{self.prefix}\n\n" if self.prefix and source.random() < self.prefix_share else ""
        mark = prefix + (f"[{source.getrandbits(40):010x}] " if self.unique else "")
        if isinstance(question, Limited):
            question = question.question
        if isinstance(question, Talk):
            question = question[0]
        if isinstance(question, str):
            return mark + self._sized(question, mark, source, tokens)
        first, *rest = question
        return [{**first, "content": _marked(first.get("content"), mark)}, *rest] if mark else question

    def turns(self, question: Question, max_turns: int, source: random.Random) -> list[Turn]:
        """Return the turns of a conversation, at most `max_turns`.

        A conversation from a file has its own turns. Other random questions follow a single question.
        """
        limit = limit_of(question)
        if isinstance(question, Limited):
            question = question.question
        if isinstance(question, str):
            more = [self.pick(source) for _ in range(max_turns - 1)]
            questions = [(question, limit), *((words_of(another), limit_of(another)) for another in more)]
        elif isinstance(question, Talk):
            questions = [(words, limit) for words in question[:max_turns]]
        else:
            plain, prepared = _split(question), _split(self.prepare(question, source))
            return [Turn(turn, words_of(text), limit) for turn, text in zip(prepared, plain, strict=True)][:max_turns]
        sent = [self.prepare(questions[0][0], source), *(words for words, _ in questions[1:])]
        turns = zip(sent, questions, strict=True)
        return [Turn([{"role": "user", "content": content}], words, tokens) for content, (words, tokens) in turns]

    def _sized(self, question: str, mark: str, source: random.Random, tokens: int | None) -> str:
        """Return a question that has, with its mark, this number of tokens, or a drawn one."""
        if tokens is None:
            if self.tokens is None:
                return question
            tokens = self.tokens.whole(source)
        own = mark.removeprefix(self.prefix)
        shared = _tokens_of(self.prefix, self.count) if len(own) < len(mark) else 0
        left = max(1, tokens - shared - self.count(own))
        spare = left - self.count(question)
        if spare < 0:
            return cut(question, left, self.count)
        return f"{prose(spare, source, self.count)}\n\n{question}" if spare else question


def _split(messages: Messages | str) -> list[Messages]:
    """Split messages after each message of the user. The model's messages are omitted: it gives its own answers."""
    assert isinstance(messages, list)
    turns: list[Messages] = [[]]
    for message in messages:
        if message.get("role") not in ("assistant", "tool"):
            turns[-1].append(message)
        if message.get("role") == "user":
            turns.append([])
    return [turn for turn in turns if turn]


def _marked(content: Any, mark: str) -> Any:
    """Return content with a mark before it. Content is text, or a list of parts."""
    if isinstance(content, list):
        return [{"type": "text", "text": mark}, *content]
    return f"{mark}{content or ''}"
