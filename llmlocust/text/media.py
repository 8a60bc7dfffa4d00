"""Text from outside (a server, a worker, a run's file), cleaned for a medium: terminal, CSV, Markdown, JSON, XML or HTML. Pure.

Each writer passes all of its text through the function of its medium.
"""

from __future__ import annotations

import json
import re
from typing import Any

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff0-\ufffb\ufffe\uffff\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)
"""Characters that a reader does not see and a program acts on: controls but for the tab and the line feed, marks of
direction, format characters, halves of surrogate pairs, and what XML 1.0 forbids. The joiners of Indic and Persian words
and of emoji are none of them.
"""
_BREAKS = re.compile(r"[\t\n]")
_FORMULA = tuple("=+-@＝＋－＠")
_LOOKED_AT = (" ", "=", "+", "-", "@")
_MEANS_SOMETHING = re.compile(r"([\\`*_{}\[\]<>#|~$])")
MAX_LINE = 2000
"""Characters of a line on a terminal."""


def document(text: str) -> str:
    """Return a text of several lines, such as a page or an XML document, without unseen characters."""
    return _UNSEEN.sub(_REPLACEMENT, text)


def one_line(text: str) -> str:
    """Return a text without unseen characters and without line breaks."""
    return _BREAKS.sub(" ", document(text))


def terminal(line: str) -> str:
    """Return a line that contains nothing that a terminal would execute, cut to MAX_LINE characters."""
    return one_line(line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}…")


def csv_cell(value: Any) -> Any:
    """Return a cell that a spreadsheet shows as text: one that looks like a formula gets an apostrophe in front.
    Numbers stay as they are.
    """
    if not isinstance(value, str) or _is_plain(value):
        return value
    text = one_line(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) and not _is_number(text) else text


def _is_plain(text: str) -> bool:
    """Whether a cell needs no cleaning. This quick test exists because a run writes tens of thousands of cells a second."""
    return text.isascii() and text.isprintable() and not text.startswith(_LOOKED_AT)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def markdown(text: object) -> str:
    """Return text as one line of Markdown, with every character escaped that has a meaning in Markdown."""
    plain = one_line(" ".join(str(text).split())).replace("&", "&amp;")
    return _MEANS_SOMETHING.sub(r"\\\1", plain).replace("\\<", "&lt;").replace("\\>", "&gt;")


def markdown_code(text: str) -> str:
    """Return text as code in a cell of a Markdown table."""
    return "`` " + one_line(" ".join(text.split())).replace("`", "'").replace("|", "\\|") + " ``"


def as_json(value: Any, *, allow_nan: bool = False) -> str:
    """Return a value as a JSON document in which unseen characters are escape sequences. Reading it gives the same value."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=allow_nan)
    return _UNSEEN.sub(lambda match: json.dumps(match[0])[1:-1], text) + "\n"
