"""A page in another language: its messages are rendered when the page is made; its other text is looked up afterwards,
sentence by sentence, in a catalogue of English patterns.

Text that no catalogue contains stays English and is reported. Rendered messages, code, and text with translate="no"
(names and words from the run's files) stay unchanged.
"""

from __future__ import annotations

import html
import itertools
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from html.parser import HTMLParser
from importlib.resources import files

from llmlocust.report.languages.catalogue import LANGUAGES, Catalogue, messages_of
from llmlocust.report.templating import BEGINS, ENDS, in_language, tidied

_NUMBER = "(?:[+-]?[0-9][0-9.,\N{NARROW NO-BREAK SPACE}]*|–|∞)"
_HOLES = {"{}": "(.+?)", "{*}": "(.+?)", "{n}": f"({_NUMBER})", "{d}": f"({_NUMBER} m?s|–|never)"}
_WORDS = ("{}", "{*}")
_HOLE = re.compile(r"\{[*nd]?\}")
_PLACE = re.compile(r"\{(\w{2,})\}")
"""A place of a message."""
_MARKS = re.compile(f"[{BEGINS}{ENDS}]")
_RENDERED = re.compile(f"{BEGINS}([^{BEGINS}{ENDS}]*){ENDS}")
_STAND_IN = re.compile("\ue002([0-9]+)\ue003")
"""A placeholder for rendered text while the text around it is looked up."""
_FORGED = re.compile("[\ue002\ue003]")
_JOINTS = (("; ", "；"), (": ", "："), (", ", "，"))
_ENDS = {".": "。", ":": "："}
_LIMIT = r"(?<![a-z_0-9.])[a-z_0-9][a-z_0-9.]*+ (?:<=|>=|<|>) [0-9.e+-]+(?:ms|s|%|/s)?(?: ~ [0-9.e+-]+(?:ms|s|%|/s)?)?"
_SAME = re.compile(
    rf"{_LIMIT}|--[a-z-]+|\bHTTP [0-9]{{3}}\b|\bp[0-9]+(?:\.[0-9]+)?\b|\b(?:TTFT|TPOT|llmlocust|Locust|CSV|UTC|ms|s)\b"
)
"""Words that are the same in every language."""
_LETTER = re.compile(r"[A-Za-z]")
_FEWEST_LETTERS = 10
"""Minimum letters, beside its places, of a template that is used as a pattern."""
_LONGEST = 1000
"""Maximum characters of a text that is looked up. The report's own texts are shorter; a longer one stays English."""
_MOST_PARTS = 400
"""Maximum parts of a text that are looked up. The report's own texts have under 100; text from a file may have any number."""


class _TooManyPartsError(Exception):
    """A text has too many parts to be looked up."""


class PatternCatalogue(Catalogue):
    """A catalogue that also translates finished English, by patterns. The templates of messages are patterns too."""

    def __init__(self, messages: Mapping[str, str], patterns: Mapping[str, str]) -> None:
        super().__init__(messages)
        distinct = {english: said for english, said in messages.items() if _is_distinct(english)}
        entries = dict(map(_as_pattern, distinct, distinct.values())) | dict(patterns)
        self._exact = {_key(english): said for english, said in entries.items()}
        longest = sorted(entries, key=lambda english: -len(_HOLE.sub("", english)))
        self._patterns = [_Pattern(english, entries[english]) for english in longest if _HOLE.search(english)]
        self._find = cache(self._look_up)
        self._parts_left = 0

    def say(self, text: str) -> str:
        """Return the translation; the English, noted in `missing`, if there is none. Rendered text stays."""
        pieces = _RENDERED.split(text)
        rendered = pieces[1::2]
        if not rendered:
            return self._said(text)
        places = itertools.count()
        stood_in = _RENDERED.sub(lambda _: f"\ue002{next(places)}\ue003", _FORGED.sub("", text))
        whole = self._found(_plain(stood_in).strip())
        if whole is not None:
            return tidied(_STAND_IN.sub(lambda match: rendered[int(match[1])], _around(text, whole)))
        return "".join(piece if place % 2 or not piece else self._said(piece) for place, piece in enumerate(pieces))

    def _said(self, english: str) -> str:
        found = self._found(_plain(english).strip())
        if found is None:
            self.missing.append(_plain(english).strip())
            return english
        return tidied(_around(english, found))

    def _found(self, text: str) -> str | None:
        """Return the translation; None if there is none, or if the search for one would take too long."""
        self._parts_left = _MOST_PARTS
        try:
            return self._find(text) if len(text) <= _LONGEST else None
        except _TooManyPartsError:
            return None

    def _look_up(self, text: str) -> str | None:
        self._parts_left -= 1
        if self._parts_left < 0:
            raise _TooManyPartsError
        if not _LETTER.search(_SAME.sub("", text)):
            return text
        exact = self._exact.get(_key(text))
        if exact is not None:
            return exact
        return next((said for said in self._composed(text) if said is not None), None)

    def _composed(self, text: str) -> Iterator[str | None]:
        for pattern in self._patterns:
            if pattern.ends == (text[-1] == "."):  # a hole must not swallow the end of the sentence
                yield pattern.said(text, self._find)
        if text[-1] in _ENDS:
            yield self._joined(text[:-1], _ENDS[text[-1]], "")
        for place in re.finditer(r"\. ", text):
            yield self._joined(text[: place.start() + 1], "", text[place.end() :])
        before, bracket, inside = text[:-1].partition(" (")
        if text[-1] == ")" and before and bracket and inside:
            yield self._joined(before, "（", inside, "）")
        for joint, said in _JOINTS:
            for place in re.finditer(re.escape(joint), text):
                yield self._joined(text[: place.start()], said, text[place.end() :])

    def _joined(self, first: str, joint: str, second: str, end: str = "") -> str | None:
        left = self._find(first)
        right = None if left is None else self._find(second)
        return None if right is None else f"{left}{joint}{right}{end}"


def _plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def _around(text: str, said: str) -> str:
    """Return a translation with the blanks around the text that it is of."""
    plain = _plain(text)
    return plain[: len(plain) - len(plain.lstrip())] + said + plain[len(plain.rstrip()) :]


def _is_distinct(template: str) -> bool:
    """Whether a template has enough words of its own not to match inside other sentences."""
    return not _PLACE.search(template) or len(_LETTER.findall(_PLACE.sub("", template))) >= _FEWEST_LETTERS


def _as_pattern(template: str, said: str) -> tuple[str, str]:
    """Return an entry for messages as one for finished English: its places by number, in their English order."""
    names = _PLACE.findall(template)
    return _PLACE.sub("{}", template), _PLACE.sub(lambda match: f"{{{names.index(match[1])}}}", said)


def _key(text: str) -> str:
    """Return the key of a sentence, whose first letter may be upper or lower case."""
    return text[:1].lower() + text[1:]


class _Pattern:
    def __init__(self, english: str, said: str) -> None:
        self._holes = _HOLE.findall(english)
        literal = [re.escape(part) for part in _HOLE.split(english)]
        if english[0].isalpha():
            literal[0] = f"[{english[0].lower()}{english[0].upper()}]{re.escape(english.partition('{')[0][1:])}"
        self.ends = english.endswith(".")
        self._shape = re.compile(_shape_of(literal, self._holes))
        self._said = _HOLE.sub("{}", said)

    def said(self, text: str, find: Callable[[str], str | None]) -> str | None:
        match = self._shape.fullmatch(text)
        if match is None:
            return None
        parts = []
        for hole, part in zip(self._holes, match.groups(), strict=True):
            known = part if hole in ("{*}", "{n}") else find(part)
            if known is None:
                return None
            parts.append(known)
        return self._said.format(*parts)


def _shape_of(literal: list[str], holes: list[str]) -> str:
    """Return the regular expression of the literals with holes between them.

    A hole for words ends where the following literal first occurs; a later occurrence can match only if the first one
    does. Atomic groups express this, so that the time is proportional to the text.
    """
    pieces = [literal[0]]
    for hole, after in zip(holes, literal[1:], strict=True):
        if hole in _WORDS:
            pieces.append(_HOLES[hole] + after)
        else:
            pieces[-1] += _HOLES[hole] + after
    first, *middle = pieces[:-1] or [""]
    return first + "".join(f"(?>{piece})" for piece in middle) + pieces[-1]


# -- pages


def catalogue(language: str) -> PatternCatalogue:
    """Load the catalogue of a language; not of English."""
    text = files("llmlocust.report").joinpath("languages", f"{language}.toml").read_text(encoding="utf-8")
    return PatternCatalogue(messages_of(language), tomllib.loads(text))


def translated(make_page: Callable[[], str], language: str) -> tuple[str, list[str]]:
    """Make a page in a language. Also return its texts that stayed English because no catalogue contains them."""
    known = catalogue(language)
    walk = _Walk(known, LANGUAGES[language])
    with in_language(known):
        walk.feed(make_page())
    walk.close()
    return _MARKS.sub("", "".join(walk.out)), list(dict.fromkeys(known.missing))


_KEPT = {"script", "style", "code", "pre"}
_VOID = {"meta", "link", "br", "img", "input", "hr"}
_SPOKEN = re.compile(r'\b(title|aria-label|data-dark|data-light)="([^"]*)"')


class _Walk(HTMLParser):
    """A parser that copies a page and translates its text."""

    def __init__(self, known: PatternCatalogue, name: str) -> None:
        super().__init__(convert_charrefs=True)
        self._known, self._name = known, name
        self._open: list[bool] = []
        """For each open element, whether its content stays unchanged."""
        self._raw = False
        self.out: list[str] = []

    def handle_decl(self, decl: str) -> None:
        self.out.append(f"<!{decl}>")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kept = self._kept() or tag in _KEPT or ("translate", "no") in attrs
        if tag not in _VOID:
            self._open.append(kept)
        self._raw = tag in ("script", "style")
        self._write_tag(tag, kept)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._write_tag(tag, self._kept())

    def _write_tag(self, tag: str, kept: bool) -> None:
        text = self.get_starttag_text() or ""
        if tag == "html":
            text = re.sub(r'lang="[^"]*"', f'lang="{self._name}"', text)
        self.out.append(text if kept else _SPOKEN.sub(self._attribute, text))

    def _attribute(self, match: re.Match[str]) -> str:
        return f'{match[1]}="{html.escape(self._known.say(html.unescape(match[2])))}"'

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()
        self._raw = False
        self.out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self._raw:
            self.out.append(data)
            return
        text = data if self._kept() or not data.strip() else self._known.say(data)
        self.out.append(html.escape(text, quote=False))

    def _kept(self) -> bool:
        return bool(self._open) and self._open[-1]
