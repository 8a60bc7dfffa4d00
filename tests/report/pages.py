"""The text and the structure of a page, and the English that is left in a translated page."""

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input", "hr"}
SPOKEN_ATTRIBUTES = {"title", "aria-label", "data-dark", "data-light"}
"""Attributes that a screen reader reads out or a browser shows."""
LATIN_WORDS = re.compile(
    r"(?<![A-Za-z])(?:\S+\.(?:csv|json)|[A-Za-z]+_[A-Za-z_]+|--[a-z-]+|stream: true|stream = False|N = X·\(R \+ Z\)|"
    r"llmlocust plan|TTFT|TTFO|TPOT|ITL|SLO|HTTP|TLS|IP|DNS|CSV|GPU|CPU|UTC|vLLM|llmlocust|Locust|Linux|KV|TCP|GiB|MHz|Retry-After|ChatUser|ulimit|backlog|"
    r"locustfile|worker|token|ttft|e2e|errors|p\d+|ms|s|BASE|NEW|Holm|URL|/metrics|/prometheus/metrics|llmlocust observe|"
    r"SGLang|TGI|llama\.cpp|Ollama|TensorRT-LLM|fp8)(?![A-Za-z])"
)
"""Words that stay in Latin letters on a Chinese page: names, units, terms, options, names of files."""


class ParsedPage(HTMLParser):
    """The structure of a page and its text; `open` has the elements around the current text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.headings, self.tags, self.words, self.open, self.attributes = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag[0] == "h" and tag[1:].isdigit():
            self.headings.append(int(tag[1:]))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)


class Prose(ParsedPage):
    """The text and the spoken attributes of a page, without code and without elements marked translate="no"."""

    def __init__(self, text):
        self.untranslated = 0
        super().__init__(text)

    def handle_starttag(self, tag, attrs):
        super().handle_starttag(tag, attrs)
        untranslated = tag in ("code", "pre") or ("translate", "no") in attrs
        if not self.untranslated and not untranslated:
            self.words += [value for name, value in attrs if name in SPOKEN_ATTRIBUTES and value]
        if (self.untranslated or untranslated) and tag not in VOID:
            self.untranslated += 1

    def handle_endtag(self, tag):
        super().handle_endtag(tag)
        self.untranslated = max(0, self.untranslated - 1)

    def handle_data(self, data):
        if not self.untranslated:
            super().handle_data(data)


def english_in(page, names=()):
    """Return the texts of a page that have words in Latin letters, except LATIN_WORDS and `names`."""
    any_name = "|".join(sorted(map(re.escape, names), key=len, reverse=True)) or "(?!)"
    names = re.compile(rf"(?<![A-Za-z])(?:{any_name})(?![A-Za-z])")
    texts = {text.strip() for text in Prose(page).words}
    return {text for text in texts if re.search("[A-Za-z]{2}", LATIN_WORDS.sub("", names.sub("", text)))}
