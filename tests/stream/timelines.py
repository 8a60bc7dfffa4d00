"""Timelines in the form of a transport."""

from collections.abc import Iterable, Sequence

from llmlocust.stream.timeline import Poll, Timeline

MS = 1_000_000
SENT = 5_000 * MS
"""The time at which requests are sent, in nanoseconds."""


def timeline_of(
    body: bytes,
    cuts: Iterable[int] = (),
    *,
    after: Sequence[float] = (),
    windows: Sequence[float] = (),
    status: int = 200,
    content_type: str = "text/event-stream",
    complete: bool = True,
    failure: str = "",
    detail: str = "",
) -> Timeline:
    """Return the timeline of a body in one read, or in several that end at the cuts.

    The reads arrive 1, 2, 3, … ms after sending, or `after` milliseconds. All bytes of a read arrive at once, or within
    the milliseconds of its window.
    """
    ends = sorted({cut for cut in cuts if 0 < cut < len(body)}) + ([len(body)] if body else [])
    times = [SENT + round(ms * MS) for ms in (after or range(1, len(ends) + 1))]
    return Timeline(
        requested_ns=SENT - 2 * MS,
        sent_ns=SENT,
        ended_ns=max(times, default=SENT) + MS,
        status=status,
        content_type=content_type,
        body=bytearray(body),
        ends=ends,
        times=times,
        **polls_of(times, [round(ms * MS) for ms in windows] or [0] * len(times)),
        complete=complete,
        failure=failure,
        detail=detail,
    )


def polls_of(times: Sequence[int], windows: Sequence[int]) -> dict[str, list]:
    """Return lags and polls of a timeline whose socket was empty a window before the arrival of each read."""
    empty = [time - window for time, window in zip(times, windows, strict=True)]
    # a poll that finds bytes at once only shows that the previous poll found none
    return {
        "lags": [0] * len(times),
        "polls": [Poll(moment, time, time) for moment, time in zip(empty, times, strict=True)],
    }
