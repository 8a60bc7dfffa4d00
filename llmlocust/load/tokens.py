"""Texts of a chosen number of tokens, counted by a model's tokenizer where one is given, else estimated."""

from __future__ import annotations

import hashlib
import random
import re
from array import array
from bisect import bisect_right
from collections.abc import Callable
from functools import cache
from pathlib import Path

from llmlocust.load.builtin_prompts import built_in

Count = Callable[[str], int]

_LETTERS_A_TOKEN = 4
"""Of ASCII; in other scripts about every character is a token."""


_TIKTOKEN = "tiktoken:"
_DRAWS = 1 << 16
"""Values of two bytes."""


def estimate(text: str) -> int:
    plain = len(text.encode("ascii", "ignore"))
    return -(-plain // _LETTERS_A_TOKEN) + len(text) - plain


@cache
def counter(tokenizer: str) -> Count:
    """Counts tokens by a model's `tokenizer.json`, by a model's name that is fetched from Hugging Face's hub, or by
    `tiktoken:` and the name of one of its encodings or models; by an estimate where none is named. ValueError in one line.
    """
    if not tokenizer:
        return estimate
    if tokenizer.startswith(_TIKTOKEN):
        return _by_tiktoken(tokenizer.removeprefix(_TIKTOKEN))
    return _by_tokenizers(tokenizer)


def _by_tokenizers(tokenizer: str) -> Count:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise ValueError("--llm-tokenizer needs the package tokenizers: pip install 'llmlocust[tokenizer]'") from None
    try:
        found = Tokenizer.from_file(tokenizer) if Path(tokenizer).is_file() else Tokenizer.from_pretrained(tokenizer)
    except Exception as problem:  # the library raises plain Exceptions
        raise ValueError(
            f"--llm-tokenizer: no tokenizer.json and no model's name: {tokenizer[:60]!r} ({_words(problem)})"
        ) from None
    return lambda text: len(found.encode(text, add_special_tokens=False).ids)


def _by_tiktoken(name: str) -> Count:
    try:
        import tiktoken
    except ImportError:
        raise ValueError("--llm-tokenizer needs the package tiktoken: pip install 'llmlocust[tiktoken]'") from None
    try:
        known = name in tiktoken.list_encoding_names()
        encoding = tiktoken.get_encoding(name) if known else tiktoken.encoding_for_model(name)
    except KeyError:
        names = ", ".join(tiktoken.list_encoding_names())
        raise ValueError(f"--llm-tokenizer: tiktoken knows no {name[:60]!r}: name a model, or one of {names}") from None
    except Exception as problem:  # it fetches its encodings, and a package that adds some may fail in any way
        raise ValueError(
            f"--llm-tokenizer: tiktoken cannot read {name[:60]!r} ({_words(problem)}): "
            "where nothing can be fetched, TIKTOKEN_CACHE_DIR names a folder with what was fetched before"
        ) from None
    return lambda text: len(encoding.encode_ordinary(text))


def _words(problem: Exception) -> str:
    return " ".join(str(problem).split())[:160]


def cut(text: str, tokens: int, count: Count) -> str:
    """As many words from the beginning of a text as have so many tokens."""
    ends = [word.end() for word in re.finditer(r"\S+", text)]
    kept = bisect_right(ends, tokens, key=lambda end: count(text[:end]))
    return text[: ends[kept - 1]] if kept else ""


def prose(tokens: int, source: random.Random, count: Count) -> str:
    """Sentences of so many tokens, in a random order; a long text says a sentence more than once.

    The whole is not counted again: a tokenizer takes a tenth of a second for a long context, and the load would wait.
    """
    if tokens <= 0:
        return ""
    sentences, sizes = _sentences(count)
    mean = sum(sizes) / len(sizes)
    chosen: list[int] = []
    left = float(tokens)
    while left > 0:
        for each in source.choices(range(len(sizes)), k=int(left / mean) + 1):
            chosen.append(each)
            left -= sizes[each]
            if left <= 0:
                break
    last = chosen.pop()
    rest = cut(sentences[last], round(left + sizes[last]), count)
    return " ".join([*(sentences[each] for each in chosen), rest]).rstrip()


def jumble(tokens: int, seed: str, count: Count) -> str:
    """Return words in random order, about `tokens` long. Each seed gives other words. It is fast: it counts no tokens."""
    words, sizes = _words_and_sizes(count)
    chosen: list[str] = []
    left = float(tokens)
    for draw in array("H", hashlib.shake_128(seed.encode()).digest(8 * tokens)):
        chance, place = divmod(draw, len(words))
        size = sizes[place]
        if left < size and chance * len(words) * size >= left * _DRAWS:  # the last one, so that the mean is right
            break
        chosen.append(words[place])
        left -= size
        if left <= 0.0:
            break
    return " ".join(chosen)


@cache
def _words_and_sizes(count: Count) -> tuple[list[str], list[float]]:
    """The words of prose, and how many tokens each has between others."""
    words = sorted({word for sentence in _sentences(count)[0] for word in sentence.split()})
    alone = [count(word) for word in words]
    scale = count(" ".join(words)) / sum(alone)
    return words, [each * scale for each in alone]


@cache
def _sentences(count: Count) -> tuple[list[str], list[float]]:
    """What prose is made of, and how many tokens each sentence has between others."""
    texts = (re.sub(r"\s+", " ", text.partition("\n\n")[2]) for text in built_in()["long"])
    found = [each for text in texts for each in re.split(r"(?<=[.!?]) (?=[A-Z])", text) if len(each) > 20]
    alone = [count(each) for each in found]
    scale = count(" ".join(found)) / sum(alone)
    return found, [each * scale for each in alone]
