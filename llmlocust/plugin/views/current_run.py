"""`CurrentRun`: the newest run of an environment, for the live page and for /metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gevent.pywsgi import WSGIServer
from locust.env import Environment
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import Metric

from llmlocust.analysis.live import Live
from llmlocust.plugin import options
from llmlocust.plugin.run.companion import Companion
from llmlocust.plugin.run.state import RunState
from llmlocust.plugin.views.prometheus import Collector


class CurrentRun(Companion):
    """The live view of the newest run. It is a companion of each run of an environment, one after the other."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._run: RunState | None = None
        self._live: Live | None = None
        self._collector = Collector(None)
        environment.events.reset_stats.add_listener(self._reset)

    def begins(self, run: RunState) -> None:
        self._run = run
        if self._environment.web_ui is None:  # no page shows charts of the run
            run.ledger.spans = None

    def tick(self, moment: float) -> None:
        # without a page, nothing shows charts, and the run needs no history
        live = self.live() if self._environment.web_ui is not None else None
        if live is not None:
            live.sample()

    def live(self) -> Live | None:
        """Return the live view of the newest run; None before the first run."""
        run = self._run
        if run is not None and (self._live is None or self._live.run is not run):
            self._live = Live(run)
        return self._live

    def _reset(self, **kwargs: Any) -> None:
        live = self.live()
        if live is not None:
            self._live = Live(live.run, live.resets + 1)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics for Prometheus."""
        live = self.live()
        if self._collector.live is not live:
            self._collector = Collector(live)
        yield from self._collector.collect()

    def serve(self, port: int) -> None:
        """Serve the metrics on a separate port, at any path. Raises OSError if the port is not available."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        address = options.option(self._environment, "metrics_host"), port
        WSGIServer(address, make_wsgi_app(registry), log=None, error_log=None).start()
