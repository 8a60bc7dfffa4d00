"""`Exposition`: a source's series over all of its scrapes, read from Prometheus' text format.

Each scrape repeats most of the one before, so a line is parsed only if it changed: 2,000 lines cost well under a
millisecond. prometheus_client's parser takes 20 ms for them, and renames counters (it appends `_total`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

MAX_SERIES = 50_000
"""Series of a source. Further ones are ignored."""
_MAX_LABELS = 1000
"""Characters of the labels of a series, as the files show them."""

_LINE = re.compile(
    rb"""(?P<name>[a-zA-Z_:][\w:.]*)\s*
    (?:\{(?P<labels>(?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?\s*
    (?P<value>\S+)
    (?:\s+-?[\d.eE+]+)?      # the time at which the exporter read the value
    (?:\s+\#.*)?\s*          # an example of OpenMetrics
    """,
    re.VERBOSE,
)
_LABEL = re.compile(rb'([a-zA-Z_][\w:.]*)\s*=\s*"((?:[^"\\]|\\.)*)"')
_ESCAPES = {b"\\n": b"\n", b'\\"': b'"', b"\\\\": b"\\"}
_ESCAPE = re.compile(rb'\\[n"\\]')
_SUFFIXES = ("_bucket", "_sum", "_count", "_created", "_total")


class Series:
    """One series: a name with labels, and its newest value."""

    __slots__ = (
        "base", "epoch", "high", "integral", "kind", "labels", "labels_text", "low", "name", "raw", "scrape", "since",
    )  # fmt: skip

    def __init__(self, name: str, labels: dict[str, str], labels_text: str, kind: str) -> None:
        self.name, self.labels, self.labels_text = name, labels, labels_text
        self.kind = kind
        """counter, gauge, bucket, created (the time at which a counter began), or info for a constant."""
        self.raw = math.nan
        """The newest value, as the source reported it."""
        self.base = 0.0
        """The value of a counter before its last restart. `base + raw` never decreases."""
        self.epoch = 0
        """The number of restarts of the source that the series has seen."""
        self.scrape = -1
        """The number of the last scrape that had the series."""
        self.integral, self.since = 0.0, math.nan
        """The time integral of a gauge up to a moment."""
        self.low, self.high = math.inf, -math.inf
        """The extremes of a gauge since the window of a level began."""

    @property
    def total(self) -> float:
        """The value of a counter, continued over restarts."""
        return self.base + self.raw

    @property
    def is_counter(self) -> bool:
        return self.kind in ("counter", "bucket")


class Exposition:
    """The series of one source."""

    def __init__(self) -> None:
        self.series: dict[bytes, Series] = {}
        """By the text of name and labels."""
        self.scrapes = 0
        self.version = 0
        """Grows when a series appears."""
        self.is_cut = False
        """There were more than MAX_SERIES series."""
        self._types: dict[str, str] = {}
        self._lines: list[bytes] = []
        self._at: list[Series | None] = []
        """The series of each line of the last scrape."""

    def feed(self, text: bytes) -> list[tuple[Series, float]]:
        """Take a scrape. Returns the series whose value changed or that appeared, with the new value, which the caller
        stores in `raw`. Raises ValueError in one line if the text has no metric.
        """
        lines = text.split(b"\n")
        last, at = self._lines, self._at
        if len(last) < len(lines):
            last = last + [b""] * (len(lines) - len(last))
            at = at + [None] * (len(lines) - len(at))
        changed: list[tuple[Series, float]] = []
        placed: list[Series | None] = []
        number = self.scrapes
        for line, before, known in zip(lines, last, at, strict=False):
            if line == before:
                placed.append(known)
                if known is not None:
                    known.scrape = number
                continue
            new = self._parsed(line)
            if new is None:
                placed.append(None)
                continue
            series, value = new
            series.scrape = number
            placed.append(series)
            if value != series.raw:
                changed.append((series, value))
        if not any(placed):
            raise ValueError("the answer has no metric in Prometheus' text format")
        self._lines, self._at = lines, placed
        self.scrapes += 1
        return changed

    def present(self) -> Iterator[Series]:
        """Yield the series of the last scrape."""
        return (series for series in self._at if series is not None)

    def _parsed(self, line: bytes) -> tuple[Series, float] | None:
        """Return the series and the value of a line; None for a comment, or for a line that is not a sample."""
        if line.startswith(b"#"):
            self._note_type(line)
            return None
        head, _, number = line.rpartition(b" ")
        series = self.series.get(head)
        if series is None:
            match = _LINE.fullmatch(line.strip())
            if match is None:
                return None
            head = line[: match.end("labels") + 1] if match["labels"] is not None else match["name"]
            number = match["value"]
            series = self.series.get(head) or self._new(head, match["name"], match["labels"] or b"")
        value = _number(number)
        return None if series is None or math.isnan(value) else (series, value)

    def _new(self, head: bytes, name: bytes, labels: bytes) -> Series | None:
        if len(self.series) >= MAX_SERIES:
            self.is_cut = True
            return None
        text = name.decode("ascii", "replace")
        pairs = {
            key.decode("ascii", "replace"): _ESCAPE.sub(lambda match: _ESCAPES[match[0]], value).decode(
                errors="replace"
            )
            for key, value in _LABEL.findall(labels)
        }
        series = Series(text, pairs, labels.decode(errors="replace")[:_MAX_LABELS], self._kind(text, pairs))
        self.series[head] = series
        self.version += 1
        return series

    def _note_type(self, line: bytes) -> None:
        words = line.split()
        if len(words) == 4 and words[1] == b"TYPE":
            self._types[words[2].decode("ascii", "replace")] = words[3].decode("ascii", "replace").lower()

    def _kind(self, name: str, labels: dict[str, str]) -> str:
        """Return the kind of a series by the type of its family; without one, by its name."""
        family, suffix, kind = self._family(name)
        if kind in ("histogram", "summary"):
            if suffix == "_created":
                return "created"
            if suffix == "_bucket":
                return "bucket"
            return "counter" if suffix in ("_sum", "_count") else "gauge"
        if kind == "counter":
            return "created" if suffix == "_created" and family != name else "counter"
        if kind == "gauge":
            # prometheus_client writes the time at which a counter began as a gauge
            counter = name.removesuffix("_created")
            return "created" if counter != name and {counter, f"{counter}_total"} & self._types.keys() else "gauge"
        if kind == "info" or name.endswith("_info"):
            return "info"
        if name.endswith("_bucket") and "le" in labels:
            return "bucket"
        return "counter" if name.endswith(("_total", "_sum", "_count")) else "gauge"

    def _family(self, name: str) -> tuple[str, str, str]:
        """Return the family of a series, its suffix, and the family's type. The family itself may end like a suffix."""
        if name in self._types:
            return name, "", self._types[name]
        for suffix in _SUFFIXES:
            family = name.removesuffix(suffix)
            if family != name and family in self._types:
                return family, suffix, self._types[family]
        # OpenMetrics writes the type of `x_total` for `x`, and prometheus_client the beginning of `x_total` as `x_created`
        if name.endswith("_created") and (kind := self._types.get(f"{name[:-8]}_total")):
            return f"{name[:-8]}_total", "_created", kind
        return name, "", ""


def _number(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
