"""Prompts: built-in sets of questions, and files. Each prompt is made unique, unless an option says otherwise."""

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
    """Questions from names of built-in sets ("short,reasoning"), a file's path, or a set of Hugging Face's ("hf:…").
    ValueError in one line.

    What files may hold says `load.files`.
    """
    sets = built_in()
    names = [name.strip() for name in source.split(",") if name.strip()]
    if names and all(name in sets for name in names):
        return [question for name in names for question in sets[name]]
    if huggingface.is_set(source):
        return huggingface.open_set(source)
    if not os.path.isfile(source):  # noqa: PTH113  # Path's own raises for a name that is too long
        raise ValueError(f"no prompts {source[:60]!r}: give a file, or sets out of {', '.join(sets)}")
    return open_file(source)


def limit_of(question: Question) -> int | None:
    """How many tokens the answer may have, where the question's row says so."""
    return question.max_tokens if isinstance(question, Limited) else None


class Turn(NamedTuple):
    """What is said in one turn of a conversation, without what the model answered."""

    said: Messages
    words: str
    """What was asked, before it was made unique."""
    max_tokens: int | None
    """Of the answer, where the question's row says so."""


@cache
def shared_prefix(tokens: int, count: Count = estimate, seed: str = "") -> str:
    """A text of so many tokens that every process makes alike: of another seed, another text."""
    return prose(tokens, random.Random(f"shared prefix {seed}"), count)


@cache
def _tokens_of(prefix: str, count: Count) -> int:
    return count(prefix)


@dataclass
class Prompts:
    """An endless supply of questions, by chance.

    Unique ones begin with a few random letters. They stand at the very beginning because a prefix cache matches from
    there: a ramp that asks the same questions again measures the cache and not the model.
    """

    questions: Sequence[Question]
    unique: bool = True
    tokens: Distribution | None = None
    """Of a whole prompt: prose is put before the question, or it is cut. None: prompts are as they are."""
    prefix: str = ""
    """What prompts share, to test a prefix cache on purpose. Before the letters that make them unique,"""
    prefix_share: float = 1.0
    """and only in so large a share of them."""
    count: Count = estimate

    def pick(self, source: random.Random) -> Question:
        """One as it was written."""
        return source.choice(self.questions)

    def dress(self, question: Question, source: random.Random, tokens: int | None = None) -> Messages | str:
        """The same as it is sent. Of a talk, its first turn. `tokens`: of this many instead of what is drawn."""
        before = f"{self.prefix}\n\n" if self.prefix and source.random() < self.prefix_share else ""
        mark = before + (f"[{source.getrandbits(40):010x}] " if self.unique else "")
        if isinstance(question, Limited):
            question = question.question
        if isinstance(question, Talk):
            question = question[0]
        if isinstance(question, str):
            return mark + self._sized(question, mark, source, tokens)
        first, *rest = question
        return [{**first, "content": _marked(first.get("content"), mark)}, *rest] if mark else question

    def turns(self, question: Question, most: int, source: random.Random) -> list[Turn]:
        """The turns of a conversation.

        A conversation from a file has its own turns, so many at most; after a single question, others follow.
        """
        limit = limit_of(question)
        if isinstance(question, Limited):
            question = question.question
        if isinstance(question, str):
            more = [self.pick(source) for _ in range(most - 1)]
            asked = [(question, limit), *((words_of(each), limit_of(each)) for each in more)]
        elif isinstance(question, Talk):
            asked = [(words, limit) for words in question[:most]]
        else:
            plain, dressed = _split(question), _split(self.dress(question, source))
            return [Turn(turn, words_of(said), limit) for turn, said in zip(dressed, plain, strict=True)][:most]
        sent = [self.dress(asked[0][0], source), *(words for words, _ in asked[1:])]
        turns = zip(sent, asked, strict=True)
        return [Turn([{"role": "user", "content": each}], words, tokens) for each, (words, tokens) in turns]

    def _sized(self, question: str, before: str, source: random.Random, tokens: int | None) -> str:
        if tokens is None:
            if self.tokens is None:
                return question
            tokens = self.tokens.whole(source)
        own = before.removeprefix(self.prefix)
        shared = _tokens_of(self.prefix, self.count) if len(own) < len(before) else 0
        left = max(1, tokens - shared - self.count(own))
        spare = left - self.count(question)
        if spare < 0:
            return cut(question, left, self.count)
        return f"{prose(spare, source, self.count)}\n\n{question}" if spare else question


def _split(messages: Messages | str) -> list[Messages]:
    """A list of messages cut behind each of the user's. The model's are left out: it is asked for its own."""
    assert isinstance(messages, list)
    turns: list[Messages] = [[]]
    for message in messages:
        if message.get("role") not in ("assistant", "tool"):
            turns[-1].append(message)
        if message.get("role") == "user":
            turns.append([])
    return [turn for turn in turns if turn]


def _marked(content: Any, mark: str) -> Any:
    """Content is text, or a list of parts of which some are text."""
    if isinstance(content, list):
        return [{"type": "text", "text": mark}, *content]
    return f"{mark}{content or ''}"
