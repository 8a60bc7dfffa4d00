"""Prometheus' text format, version 0.0.4: written from values, checked, merged, and made from OpenMetrics. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from llmlocust.observe.sources.source import SourceError
from llmlocust.text.media import document, one_line

_SAMPLE = re.compile(rb"(?:[A-Za-z_:][\w:]*(?:\s*\{.*\})?|\{\s*\".*\})\s+[-+.\w]+")
"""The beginning of a line with a value. Only the first such line of an answer is checked."""
_OPENMETRICS_SAMPLE = re.compile(
    rb'([A-Za-z_:][\w:]*|(?=\{))((?:\{(?:[^"{}]|"(?:\\.|[^"\\])*")*\})?) +(\S+)(?: +([-+.\deE]+))?(?: +#.*)?'
)
"""Name, labels, value and time of a line, before an exemplar."""
_TYPES = {b"unknown": b"untyped", b"info": b"gauge", b"stateset": b"gauge", b"gaugehistogram": b"untyped"}
"""Types of OpenMetrics with the nearest type of the text format."""
_SUFFIXES = {b"counter": b"_total", b"info": b"_info"}
_NOT_IN_NAMES, _NOT_IN_LABELS = re.compile(r"[^\w:]", re.ASCII), re.compile(r"\W", re.ASCII)
_MAX_QUOTED = 200


class Exposition:
    """A text in Prometheus' format that grows sample by sample. Names that end in `_total` are counters, others gauges."""

    def __init__(self) -> None:
        self._families: dict[str, list[str]] = {}

    def add(self, name: str, value: float, /, **labels: object) -> None:
        """Add a sample."""
        inside = ",".join(f'{label}="{_escaped(str(text))}"' for label, text in labels.items())
        self._families.setdefault(name, []).append(f"{name}{{{inside}}} {value}" if inside else f"{name} {value}")

    def __bytes__(self) -> bytes:
        lines: list[str] = []
        for name, samples in self._families.items():
            lines += [f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}", *samples]
        return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def _escaped(text: str) -> str:
    """Return a text for a label. Characters that a reader does not see, such as a carriage return, could end a line."""
    return document(text).replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def merged(texts: Iterable[bytes]) -> bytes:
    """Merge texts of `Exposition`: each family and each series occurs once. The first of several equal series is kept."""
    families: dict[bytes, dict[bytes, bytes]] = {}
    for text in texts:
        samples: dict[bytes, bytes] = {}
        for line in text.splitlines():
            if line.startswith(b"# TYPE "):
                samples = families.setdefault(line, {})
            else:
                samples.setdefault(line.rpartition(b" ")[0], line)
    lines = (line for header, samples in families.items() for line in (header, *samples.values()))
    return b"".join(line + b"\n" for line in lines)


def quoted(text: str) -> str:
    """Return the beginning of a text from outside, in one line."""
    line = one_line(text[:_MAX_QUOTED]).strip()
    return line if len(text) <= _MAX_QUOTED else f"{line}…"


def checked(body: bytes, content_type: str, *, has_length: bool = True) -> bytes:
    """Return an answer as text in Prometheus' format. Raises SourceError if it is another document, or is not complete.

    `has_length` tells whether the end of the answer is known from HTTP. Otherwise a connection that closed too early
    looks like the end, and only an unfinished last line shows it.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise SourceError("the answer is not text in UTF-8: is it the address of a metrics endpoint?") from None
    _refuse_other_documents(text, content_type)
    if body and not body.endswith(b"\n"):
        if not has_length:
            raise SourceError("the answer ends in the middle of a line: the connection closed too early")
        body += b"\n"
    if "openmetrics" in content_type.lower():
        body = from_openmetrics(body)
    _refuse_other_text(body)
    return body


def _refuse_other_documents(text: str, content_type: str) -> None:
    begin = text[:1000].lstrip("\ufeff \t\r\n")
    if begin.startswith("<") or "html" in content_type.lower():
        raise SourceError("answered an HTML page, not metrics: is the path right? It is usually /metrics")
    if begin[:1] in ("{", "[") and (_is_json(text) or "json" in content_type.lower()):
        raise SourceError(
            "answered JSON, not Prometheus' text. trtllm-serve has its metrics at /prometheus/metrics; "
            "Ollama, Gradio and others are read with ollama:URL, gradio:URL, slots:URL or loads:URL"
        )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_other_text(body: bytes) -> None:
    samples = (line for line in map(bytes.strip, body.splitlines()) if line and not line.startswith(b"#"))
    line = next(samples, None)
    if line is not None and not _SAMPLE.match(line):
        raise SourceError(f"answered text that is not metrics: {quoted(line.decode('utf-8', 'replace'))!r}")


def has_samples(text: bytes) -> bool:
    """Return whether a text in Prometheus' format contains a value."""
    return any(line and not line.startswith(b"#") for line in map(bytes.strip, text.splitlines()))


def from_openmetrics(body: bytes) -> bytes:
    """Return OpenMetrics as text of version 0.0.4: without exemplars and units, and with times in milliseconds.

    Raises SourceError if the line is missing that ends every such answer.
    """
    lines = body.splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines or lines.pop().strip() != b"# EOF":
        raise SourceError("the answer is not complete: the last line of OpenMetrics, # EOF, is missing")
    converted = (_comment(line) if line.startswith(b"#") else _sample(line) for line in lines)
    return b"".join(line + b"\n" for line in converted if line)


def _comment(line: bytes) -> bytes:
    words = line.split(b" ", 3)
    if len(words) < 4 or words[1] not in (b"TYPE", b"HELP"):
        return b""
    if words[1] == b"HELP":
        return line
    name, kind = words[2], words[3].strip()
    suffix = _SUFFIXES.get(kind, b"")
    whole = name if name.endswith(suffix) else name + suffix
    return b"# TYPE %b %b" % (whole, _TYPES.get(kind, kind))


def _sample(line: bytes) -> bytes:
    if line.count(b" ") == 1:  # almost every line, and the expression costs much more
        return line
    match = _OPENMETRICS_SAMPLE.fullmatch(line.strip())
    if not match:
        return line
    name, labels, value, seconds = match.groups()
    return name + labels + b" " + value + (b" %d" % round(float(seconds) * 1000) if _is_number(seconds) else b"")


def _is_number(text: bytes | None) -> bool:
    try:
        return text is not None and abs(float(text)) < 1e12
    except ValueError:
        return False


def render(name: str, labels: dict[str, str], value: str) -> str:
    """Return the line of a sample whose name and labels come from outside."""
    inside = ",".join(f'{_NOT_IN_LABELS.sub("_", label)}="{_escaped(text)}"' for label, text in labels.items())
    name = _NOT_IN_NAMES.sub("_", name)
    return f"{name}{{{inside}}} {value}\n"
