"""`ENGINES`: how the metrics of each known server, proxy and exporter are translated into the vocabulary of telemetry.

`servers` has the engines of language models, `proxies` the programs in front of them, `gpus` and `machines` the exporters
beside them, and `hints` the options that expose metrics. To add an exporter, add an `Engine` to one of these modules.
"""

from __future__ import annotations

from collections.abc import Iterable

from llmlocust.observe.engines.gpus import GPUS
from llmlocust.observe.engines.hints import HINTS
from llmlocust.observe.engines.machines import MACHINES
from llmlocust.observe.engines.proxies import PROXIES
from llmlocust.observe.engines.servers import SERVERS
from llmlocust.observe.rules import Engine

__all__ = ["ENGINES", "HINTS", "engines_of"]

ENGINES: tuple[Engine, ...] = (*SERVERS, *PROXIES, *GPUS, *MACHINES)
"""The known exporters. If one exposition is of several, the first that has a value for a metric gives it: a Dynamo worker
passes the metrics of its engine on, and both count the same requests."""


def engines_of(names: Iterable[str]) -> tuple[Engine, ...]:
    """Return the exporters that an exposition with these names of metrics is of, in the order of ENGINES."""
    names = tuple(names)
    return tuple(engine for engine in ENGINES if any(engine.renamed(name).startswith(engine.signs) for name in names))
