"""Points of a calibration whose errors are known."""

import math

from llmlocust.calibration.errors import Latencies, Point

NOTHING = Latencies()


def point(tokens_per_s: float, error: float = 0.0, streams: int = 100) -> Point:
    """Return a point whose p99 ITL has this error in seconds, and whose mean TTFT has twice that error."""
    true = Latencies(ttft_mean=0.05, ttft_p99=0.06, itl_p50=0.01, itl_p99=0.012)
    measured = Latencies(0.05 + 2 * error, 0.06 + 3 * error, 0.01, 0.012 + error)
    return Point(streams, 0.01, tokens_per_s, true, measured, 20e-6, 0.2, 0.0015, 0.001)


POINTS = [point(500, streams=10), point(10_000, 0.0004), point(20_000, 0.0015, 200), point(30_000, 0.08, 300)]
UNKNOWN = Point(400, 0.01, 0.0, NOTHING, NOTHING, math.nan, math.nan, math.nan, math.nan)
