"""Any endpoint in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Mapping

from llmlocust.observe.sources.exposition import checked
from llmlocust.observe.sources.fetching import Fetched, Fetcher, checked_url, place_of, server_of
from llmlocust.observe.sources.headers import VARIABLE
from llmlocust.observe.sources.source import TIMEOUT, Scrape, Source, SourceError
from llmlocust.text.urls import shown

_ACCEPT = "text/plain;version=0.0.4"
"""OpenMetrics is not requested: prometheus_client would replace the colon in names, as in `sglang:token_usage`."""
_CREDENTIALS = f"write http://USER:PASSWORD@HOST, or set {VARIABLE}='Authorization: Bearer $TOKEN'"
_STATUS = {
    401: f"it needs credentials: {_CREDENTIALS}",
    403: f"access is not allowed: {_CREDENTIALS}",
    404: "no metrics at this path",
    407: "the proxy needs credentials: set HTTP_PROXY=http://USER:PASSWORD@HOST, or NO_PROXY",
    501: "the server's metrics are switched off; llama.cpp's server needs --metrics",
}
_WITH_HINT = (404, 405, 501)


def refuse_status(answer: Fetched, hint: str = "") -> None:
    """Raise SourceError unless the status is 200. `hint` is the remedy if the path does not exist or is switched off."""
    if answer.status == 200:
        return
    reason = (hint if hint and answer.status in _WITH_HINT else "") or _STATUS.get(answer.status, "")
    raise SourceError(f"HTTP {answer.status}: {reason}" if reason else f"HTTP {answer.status}")


class PrometheusText(Source):
    """An endpoint in Prometheus' text format, over HTTP or HTTPS."""

    def __init__(
        self,
        url: str,
        *,
        insecure: bool = False,
        headers: Mapping[str, str] | None = None,
        hint: str = "",
        timeout: float = TIMEOUT,
    ) -> None:
        """A URL without a path gets /metrics. `hint` is the remedy if the server has no metrics at the path. Raises
        ValueError in one line.
        """
        parts = checked_url(url)
        if parts.path in ("", "/"):
            parts = parts._replace(path="/metrics")
        self.url = shown(parts._replace(fragment="").geturl())
        self.name = place_of(parts) + ("" if parts.path == "/metrics" else shown(parts.path))
        self.server = server_of(parts)
        self._hint = hint
        self._fetcher = Fetcher(parts.geturl(), insecure=insecure, headers=headers, timeout=timeout)

    def scrape(self) -> list[Scrape]:
        answer = self._fetcher.get(accept=_ACCEPT)
        refuse_status(answer, self._hint)
        return [Scrape(answer.time, checked(answer.body, answer.content_type, has_length=answer.has_length))]

    def close(self) -> None:
        self._fetcher.close()
