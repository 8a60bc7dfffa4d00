"""`StopCondition`: the condition on which a run lifts its faults and ends, and its notation. Pure.

    errors > 90% for 30s      waiting > 500 for 1m      cpu > 95%

Errors are the share of the requests that ended in this time. A value of telemetry must be beyond the limit all the time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmlocust.metrics.seconds import Seconds
from llmlocust.metrics.thresholds import Threshold

DEFAULT_SECONDS = 10.0
_SHAPE = re.compile(
    r"\s*(?P<name>[^<>]+?)\s*(?P<comparison>[<>])\s*(?P<amount>[^<>=]+?)"
    r"(?:\s+for\s+(?P<number>[0-9]{1,6}(?:\.[0-9]{1,3})?)\s*(?P<unit>s|m))?\s*",
    re.IGNORECASE,
)
_EXAMPLES = "'errors > 90% for 30s' or 'waiting > 500 for 1m'"
_FLIPPED = {"<": ">=", ">": "<="}


@dataclass(frozen=True)
class StopCondition:
    """A limit that is exceeded for some seconds."""

    text: str
    threshold: Threshold
    """The condition that a run must meet to go on: the opposite of the one in `text`."""
    seconds: float

    @classmethod
    def parse(cls, text: str) -> StopCondition:
        """Read a condition. Raises ValueError with a one-line message that has a valid example."""
        match = _SHAPE.fullmatch(text)
        shown = " ".join(text.split())
        if match is None:
            raise ValueError(f"cannot read the stop condition {shown!r}; write it like {_EXAMPLES}")
        try:
            threshold = Threshold.parse(f"{match['name']} {_FLIPPED[match['comparison']]} {match['amount']}")
        except ValueError:
            threshold = None
        if threshold is None or not ((threshold.metric == "errors" and threshold.is_ceiling) or threshold.is_telemetry):
            raise ValueError(
                f"stop condition {shown!r}: it must be on errors or a metric of telemetry; write it like {_EXAMPLES}"
            )
        factor = 60.0 if (match["unit"] or "").lower() == "m" else 1.0
        seconds = float(match["number"]) * factor if match["number"] else DEFAULT_SECONDS
        if seconds < 1.0:
            raise ValueError(f"stop condition {shown!r}: the time must be 1 s or more; write it like {_EXAMPLES}")
        return cls(shown, threshold, seconds)

    def too_many_errors(self, seconds: Seconds, until: int) -> bool:
        """Return whether too large a share of the requests failed that ended in the last seconds before `until`."""
        since = until - round(self.seconds)
        if since < 0:
            return False
        ended, failed = (sum(seconds.reported(name, since, until)) for name in ("ended", "failed"))
        return ended > 0 and not self.threshold.met_by(failed / ended)
