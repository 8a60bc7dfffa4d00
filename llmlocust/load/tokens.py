"""Texts of a given number of tokens. A model's tokenizer counts them if one is given; otherwise they are estimated."""

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

_CHARACTERS_PER_TOKEN = 4
"""ASCII characters per token. In other scripts, about every character is a token."""


_TIKTOKEN = "tiktoken:"
_DRAWS = 1 << 16
"""Number of values of two bytes."""


def estimate(text: str) -> int:
    """Return the estimated number of tokens of a text."""
    ascii_count = len(text.encode("ascii", "ignore"))
    return -(-ascii_count // _CHARACTERS_PER_TOKEN) + len(text) - ascii_count


@cache
def counter(tokenizer: str) -> Count:
    """Return a function that counts tokens. `tokenizer` is a path to a `tokenizer.json`, the name of a model on Hugging
    Face's hub, or `tiktoken:` with the name of an encoding or model; if it is empty, tokens are estimated. Raises ValueError
    with a one-line message.
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
        raise ValueError("it needs the package tokenizers: pip install 'llmlocust[tokenizer]'") from None
    try:
        model = Tokenizer.from_file(tokenizer) if Path(tokenizer).is_file() else Tokenizer.from_pretrained(tokenizer)
    except Exception as problem:  # the library raises plain Exceptions
        raise ValueError(
            f"neither a tokenizer.json nor the name of a model: {tokenizer[:60]!r} ({_words(problem)})"
        ) from None
    return lambda text: len(model.encode(text, add_special_tokens=False).ids)


def _by_tiktoken(name: str) -> Count:
    try:
        import tiktoken
    except ImportError:
        raise ValueError("it needs the package tiktoken: pip install 'llmlocust[tiktoken]'") from None
    try:
        known = name in tiktoken.list_encoding_names()
        encoding = tiktoken.get_encoding(name) if known else tiktoken.encoding_for_model(name)
    except KeyError:
        names = ", ".join(tiktoken.list_encoding_names())
        raise ValueError(f"tiktoken does not know {name[:60]!r}: give a model, or one of {names}") from None
    except Exception as problem:  # it downloads encodings, and packages that add encodings may raise any exception
        raise ValueError(
            f"tiktoken cannot read {name[:60]!r} ({_words(problem)}): "
            "without network access, set TIKTOKEN_CACHE_DIR to a folder with downloaded encodings"
        ) from None
    return lambda text: len(encoding.encode_ordinary(text))


def _words(problem: Exception) -> str:
    return " ".join(str(problem).split())[:160]


def cut(text: str, tokens: int, count: Count) -> str:
    """Return the longest beginning of a text, in whole words, that has at most this number of tokens."""
    ends = [word.end() for word in re.finditer(r"\S+", text)]
    kept = bisect_right(ends, tokens, key=lambda end: count(text[:end]))
    return text[: ends[kept - 1]] if kept else ""


def prose(tokens: int, source: random.Random, count: Count) -> str:
    """Return about this number of tokens of sentences in random order. A long text repeats sentences.

    The result is not counted again: a tokenizer takes 0.1 s for a long context, which would delay the load.
    """
    if tokens <= 0:
        return ""
    sentences, sizes = _sentences(count)
    mean = sum(sizes) / len(sizes)
    chosen: list[int] = []
    left = float(tokens)
    while left > 0:
        for place in source.choices(range(len(sizes)), k=int(left / mean) + 1):
            chosen.append(place)
            left -= sizes[place]
            if left <= 0:
                break
    last = chosen.pop()
    rest = cut(sentences[last], round(left + sizes[last]), count)
    return " ".join([*(sentences[place] for place in chosen), rest]).rstrip()


def jumble(tokens: int, seed: str, count: Count) -> str:
    """Return about `tokens` tokens of words in random order, different for each seed. Fast: it does not count tokens."""
    words, sizes = _words_and_sizes(count)
    chosen: list[str] = []
    left = float(tokens)
    for draw in array("H", hashlib.shake_128(seed.encode()).digest(8 * tokens)):
        chance, place = divmod(draw, len(words))
        size = sizes[place]
        if (
            left < size and chance * len(words) * size >= left * _DRAWS
        ):  # omits the last word at random, so that the mean is right
            break
        chosen.append(words[place])
        left -= size
        if left <= 0.0:
            break
    return " ".join(chosen)


@cache
def _words_and_sizes(count: Count) -> tuple[list[str], list[float]]:
    """Return the words of prose, and the mean tokens of each inside a text."""
    words = sorted({word for sentence in _sentences(count)[0] for word in sentence.split()})
    alone = [count(word) for word in words]
    scale = count(" ".join(words)) / sum(alone)
    return words, [size * scale for size in alone]


@cache
def _sentences(count: Count) -> tuple[list[str], list[float]]:
    """Return the sentences of prose, and the mean tokens of each inside a text."""
    texts = (re.sub(r"\s+", " ", text.partition("\n\n")[2]) for text in built_in()["long"])
    pieces = (piece for text in texts for piece in re.split(r"(?<=[.!?]) (?=[A-Z])", text))
    sentences = [piece for piece in pieces if len(piece) > 20]
    alone = [count(sentence) for sentence in sentences]
    scale = count(" ".join(sentences)) / sum(alone)
    return sentences, [size * scale for size in alone]
