"""Whether answers are right: what a file says of each prompt, looked for in what the model said."""

from __future__ import annotations

import re
from functools import cache, partial
from typing import IO, Any

import msgspec

from llmlocust.load.text_files import read_utf8

_NEEDS = 'a line of right answers needs "prompt" and "answer", a text or a list of texts'


class RightAnswers:
    """Right answers by prompt, all of them in memory."""

    def __init__(self, known: dict[str, list[str]]) -> None:
        self._known = known

    def __len__(self) -> int:
        return len(self._known)

    def judge(self, question: str, said: str) -> bool | None:
        """Whether one of a prompt's right answers stands in what was said, as whole words, in any case. None for a
        prompt that the file does not have.
        """
        right = self._known.get(question.strip())
        return None if right is None else any(_pattern(each).search(_plain(said)) for each in right)


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
    told: dict[str, Any] = entry if isinstance(entry, dict) else {}
    question, right = told.get("prompt"), told.get("answer", told.get("answers"))
    texts = right if isinstance(right, list) else [right]
    if not isinstance(question, str) or not texts or not all(_is_answer(each) for each in texts):
        raise ValueError(f"{where}: {_NEEDS}")
    return question.strip(), [str(each) for each in texts]


def _is_answer(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and bool(value.strip()))


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


@cache
def _pattern(right: str) -> re.Pattern[str]:
    """Whole words and numbers, where a script has spaces between words: 42 is not in 142 and not in 42.5."""
    words = _plain(right)
    before = r"(?<![a-z0-9_])(?<!\d[.,])" if re.match(r"[a-z0-9_]", words) else ""
    after = r"(?![a-z0-9_]|[.,]\d)" if re.search(r"[a-z0-9_]\Z", words) else ""
    return re.compile(before + re.escape(words) + after)
