"""Right answers: the file with the expected answer of each prompt, and the search for it in the model's answer."""

from __future__ import annotations

import re
from functools import cache, partial
from typing import IO, Any

import msgspec

from llmlocust.load.text_files import read_utf8

_NEEDS = 'a line of right answers needs "prompt" and "answer", a text or a list of texts'


class RightAnswers:
    """The right answers of each prompt, in memory."""

    def __init__(self, known: dict[str, list[str]]) -> None:
        self._known = known

    def __len__(self) -> int:
        return len(self._known)

    def judge(self, question: str, answer: str) -> bool | None:
        """Whether the model's answer contains one of the prompt's right answers, as whole words, in any case. None for a
        prompt that is not in the file.
        """
        expected = self._known.get(question.strip())
        return None if expected is None else any(_pattern(text).search(_plain(answer)) for text in expected)


@cache
def load(path: str) -> RightAnswers:
    """Read a file of right answers. ValueError in one line."""
    try:
        known = read_utf8(path, partial(_entries, path))
    except OSError as problem:
        raise ValueError(f"cannot read the right answers in {path}: {problem}") from None
    if not known:
        raise ValueError(f"no right answers in {path}")
    return RightAnswers(known)


def _entries(path: str, file: IO[bytes]) -> dict[str, list[str]]:
    with file:
        lines = ((number, line.decode()) for number, line in enumerate(file, 1))
        return dict(_entry(line, f"{path}:{number}") for number, line in lines if line.strip())


def _entry(line: str, where: str) -> tuple[str, list[str]]:
    try:
        entry = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        entry = None
    fields: dict[str, Any] = entry if isinstance(entry, dict) else {}
    question, right = fields.get("prompt"), fields.get("answer", fields.get("answers"))
    texts = right if isinstance(right, list) else [right]
    if not isinstance(question, str) or not texts or not all(map(_is_answer, texts)):
        raise ValueError(f"{where}: {_NEEDS}")
    return question.strip(), [str(text) for text in texts]


def _is_answer(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and bool(value.strip()))


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


@cache
def _pattern(right: str) -> re.Pattern[str]:
    """Return a pattern for whole words and numbers, in scripts with spaces between words: 42 is not in 142 or 42.5."""
    words = _plain(right)
    before = r"(?<![a-z0-9_])(?<!\d[.,])" if re.match(r"[a-z0-9_]", words) else ""
    after = r"(?![a-z0-9_]|[.,]\d)" if re.search(r"[a-z0-9_]\Z", words) else ""
    return re.compile(before + re.escape(words) + after)
