"""A Prometheus server: the samples of a selector, or the values of an expression."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from typing import Any
from urllib.parse import quote, unquote

from llmlocust.observe.sources.exposition import quoted, render
from llmlocust.observe.sources.fetching import Fetched, Fetcher, checked_url, place_of
from llmlocust.observe.sources.prometheus_text import refuse_status
from llmlocust.observe.sources.source import TIMEOUT, Scrape, Source, SourceError
from llmlocust.text.media import one_line
from llmlocust.text.urls import shown

_SELECTOR = re.compile(
    r"""(?=\S)(?:[A-Za-z_:][\w:]*)?\s*(?:\{(?:[^{}"'`]|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)*\})?""", re.ASCII
)
"""A name, labels in braces, or both. Everything else is an expression."""
_WINDOW = "1m"
"""The part of the past that a query for samples covers. Prometheus scrapes its targets at least this often."""
_MAX_NAME = 60
EXAMPLE = 'prometheus:http://prometheus:9090?query=vllm:num_requests_running{job="vllm"}'

Series = dict[str, str]
"""The labels of a series, with its name as `__name__`."""
Samples = list[tuple[Series, list[tuple[float, str]]]]


class PrometheusServer(Source):
    """Samples that a Prometheus server has scraped, with their own times.

    A selector returns the samples themselves: an instant query with a range returns each once, at the time of its scrape.
    An expression is evaluated at whole seconds, so its values repeat until Prometheus has scraped again. Times are those
    of the clock of the Prometheus server.
    """

    def __init__(self, url: str, *, insecure: bool = False, timeout: float = TIMEOUT) -> None:
        """Raises ValueError in one line if the URL has no query."""
        address, query = _divided(url)
        parts = checked_url(address, EXAMPLE)
        self._query = query
        self._fallback_name = re.sub(r"\W*[^\w:]+\W*", "_", query, flags=re.ASCII)[:_MAX_NAME].strip("_")
        self._is_selector = bool(_SELECTOR.fullmatch(query))
        self.name = f"prometheus {place_of(parts)} {one_line(query[:_MAX_NAME])}"
        self.url = f"prometheus:{shown(parts.geturl())}{'&' if parts.query else '?'}query={one_line(query)}"
        base = re.sub(r"/api/v1(/query(_range)?)?$", "", parts.path.rstrip("/"))
        self._api, self._fields = f"{base}/api/v1", f"&{parts.query}" if parts.query else ""
        self._fetcher = Fetcher(address, insecure=insecure, timeout=timeout)
        self._newest: dict[frozenset[tuple[str, str]], float] = {}
        """The time of the newest sample by series that was returned."""
        self._is_first = True

    def scrape(self) -> list[Scrape]:
        samples = self._samples() if self._is_selector else self._values()
        lines: dict[float, list[str]] = defaultdict(list)
        newest = {}
        for series, points in samples:
            key = frozenset(series.items())
            newest[key] = max([moment for moment, _ in points], default=0.0)
            after = newest[key] - 1e-3 if self._is_first else self._newest.get(key, 0.0)
            for moment, value in points:
                if moment > after:
                    lines[moment].append(self._line(series, value))
        self._newest, self._is_first = newest if self._is_selector else self._newest | newest, False
        return [Scrape(moment, "".join(lines[moment]).encode()) for moment in sorted(lines)]

    def close(self) -> None:
        self._fetcher.close()

    def _line(self, series: Series, value: str) -> str:
        labels = {label: text for label, text in series.items() if label != "__name__"}
        name = series.get("__name__") or self._fallback_name
        return render(name, labels, value)

    def _samples(self) -> Samples:
        return self._ask(f"query?query={_encoded(f'{self._query}[{_WINDOW}]')}")

    def _values(self) -> Samples:
        """Evaluate the expression at each whole second since the last time."""
        end = int(time.time())
        begin = min(end, int(max(self._newest.values(), default=end - 1)) + 1)
        begin = max(begin, end - 60)
        return self._ask(f"query_range?query={_encoded(self._query)}&start={begin}&end={end}&step=1")

    def _ask(self, query: str) -> Samples:
        answer = self._fetcher.get(f"{self._api}/{query}{self._fields}", accept="application/json")
        document = self._document(answer)
        data = document.get("data")
        if document.get("status") != "success" or not isinstance(data, dict):
            raise SourceError(self._reason(document) or f"HTTP {answer.status}: not an answer of Prometheus")
        if data.get("resultType") != "matrix":
            raise SourceError(
                f"the query returns a {quoted(str(data.get('resultType')))}, not series: give a selector, such as {EXAMPLE}"
            )
        if not data.get("result"):
            raise SourceError("the query returns no series: check its names, and that Prometheus scrapes their target")
        try:
            return [
                (
                    {str(label): str(text) for label, text in series["metric"].items()},
                    [(float(moment), _number(value)) for moment, value in series.get("values", ())],
                )
                for series in data["result"]
            ]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise SourceError("the answer is not that of Prometheus' query API") from None

    def _document(self, answer: Fetched) -> dict[str, Any]:
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            refuse_status(answer, "this address has no query API of Prometheus, which is /api/v1/query below it")
            raise SourceError("the answer is not JSON: is this the address of a Prometheus server?")
        return document

    def _reason(self, document: dict[str, Any]) -> str:
        """Return Prometheus' own reason, such as that of an error in the query."""
        reason = self._fetcher.quoted(str(document.get("error") or ""))
        return f"Prometheus refuses the query: {reason}" if reason else ""


def _divided(url: str) -> tuple[str, str]:
    """Return the address, and the query, which is everything after `query=`: it may contain & and ?."""
    for mark in ("?query=", "&query="):
        address, found_mark, query = url.partition(mark)
        if found_mark and query.strip():
            return address, unquote(query).strip()
    raise ValueError(f"prometheus: needs an address and a query, such as {EXAMPLE}")


def _number(value: str) -> str:
    """Return a value as it was sent. Raises ValueError if it is not a number."""
    float(value)
    return value.strip().replace("_", "")


def _encoded(query: str) -> str:
    return quote(query, safe="")
