"""Records as `llmlocust.stream.record.read` returns them, made from a few values."""

from collections.abc import Sequence
from itertools import pairwise

from llmlocust.stream.record import OK, Record


def record_of(
    arrivals: Sequence[float] = (),
    *,
    name: str = "chat",
    outcome: str = OK,
    tokens: int | None = None,
    duration: float | None = None,
    **more,
) -> Record:
    """Return the record of a request whose chunks arrived these numbers of seconds after it was sent."""
    arrivals = list(arrivals)
    return Record(
        name=name,
        outcome=outcome,
        duration=duration if duration is not None else arrivals[-1] if arrivals else 0.0,
        e2e=arrivals[-1] if arrivals else None,
        ttft=arrivals[0] if arrivals else None,
        ttfo=arrivals[0] if arrivals else None,
        arrivals=arrivals,
        itls=[later - earlier for earlier, later in pairwise(arrivals)],
        output_tokens=len(arrivals) if tokens is None and arrivals else tokens,
        token_source="usage",
        **more,
    )
