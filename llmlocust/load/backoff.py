"""`Backoff`: when a client's SDK tries a failed request again, and how long it waits before. Pure.

The notation is `0.5s x2 max 8s jitter 25% retry-after 120s until head`: the first wait, the factor of each further one,
their maximum, the share by which a random wait is shorter, the longest Retry-After that is obeyed, and the point up to which
a stream is tried again. Parts after the first wait may be left out.

The defaults and rules are those of OpenAI's Python SDK 3.57.0 (_constants.py; _should_retry and _calculate_retry_timeout in
_base_client.py), whose generator makes the SDKs of other vendors, too. Version 1 obeyed a Retry-After of up to 60 s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import random

from llmlocust.metrics.vocabulary import ABORTED
from llmlocust.stream.record import Record
from llmlocust.stream.timeline import Timeline

HEAD, TOKEN = "head", "token"
"""The points up to which a failed stream is tried again: the head of its response, or its first token. The SDK returns a
stream as soon as it has the head."""
OPENAI = "0.5s x2 max 8s jitter 25% retry-after 120s until head"
_STATUSES = (408, 409, 429)
_NOT_RETRIED = (ABORTED, "not_sent", "too_large")
"""Failures that another attempt would repeat, or that end the user."""
_MAX_STEPS = 50
"""Retries after which every wait has the maximum: powers of a factor of 1,000,000 are then still numbers."""

_NUMBER = r"[0-9]{1,6}(?:\.[0-9]{1,6})?"
_TIME = rf"{_NUMBER} ?m?s"
_NOTATION = re.compile(
    rf"(?P<initial>{_TIME})(?: x ?(?P<factor>{_NUMBER}))?(?: max (?P<max>{_TIME}))?(?: jitter (?P<jitter>{_NUMBER}) ?%)?"
    rf"(?: retry-after (?P<retry_after>{_TIME}))?(?: until (?P<until>{HEAD}|{TOKEN}))?"
)


@dataclass(frozen=True)
class Backoff:
    """Waits in seconds, and the failures after which a request is tried again."""

    initial: float = 0.5
    factor: float = 2.0
    max: float = 8.0
    jitter: float = 0.25
    """Maximum share by which a wait is shorter."""
    max_retry_after: float = 120.0
    until: str = HEAD

    @classmethod
    def parse(cls, text: str) -> Backoff:
        """Read the notation. Raises ValueError in one line."""
        match = _NOTATION.fullmatch(" ".join(text.lower().split()))
        if match is None:
            raise ValueError(f"write it like '{OPENAI}', or only its beginning — got {text[:80]!r}")
        given = {name: value for name, value in match.groupdict().items() if value is not None}
        backoff = cls(
            initial=_seconds(given["initial"]),
            factor=float(given.get("factor", cls.factor)),
            max=_seconds(given["max"]) if "max" in given else cls.max,
            jitter=float(given["jitter"]) / 100.0 if "jitter" in given else cls.jitter,
            max_retry_after=_seconds(given["retry_after"]) if "retry_after" in given else cls.max_retry_after,
            until=given.get("until", cls.until),
        )
        backoff._check()
        return backoff

    def _check(self) -> None:
        if self.factor < 1.0:
            raise ValueError(f"the factor must be 1 or more, such as x2 — got x{self.factor:g}")
        if self.max < self.initial:
            raise ValueError(
                f"the maximum of {self.max:g} s is below the first wait: write '{self.initial:g}s x{self.factor:g} max "
                f"{self.initial * self.factor:g}s'"
            )
        if self.jitter > 1.0:
            raise ValueError("the jitter must be 100 % or less, such as jitter 25%")

    def may_retry(self, record: Record, timeline: Timeline, *, is_stream: bool) -> bool:
        """Return whether the SDK tries a request again after an attempt."""
        if timeline.status >= 400:
            return self._repeats_status(timeline)
        if record.ok or not timeline.failure or timeline.failure in _NOT_RETRIED:
            return False
        has_begun = timeline.status > 0 if self.until == HEAD else record.ttft is not None
        return not (is_stream and has_begun)  # the SDK returns an answer in one piece when it is complete

    def _repeats_status(self, timeline: Timeline) -> bool:
        if timeline.retry_after is not None and timeline.retry_after > self.max_retry_after:
            return False
        if timeline.should_retry in ("true", "false"):
            return timeline.should_retry == "true"
        return timeline.status in _STATUSES or timeline.status >= 500

    def wait(self, retries: int, retry_after: float | None = None) -> float:
        """Return the seconds to wait after this number of retries, with the server's Retry-After if it sent one."""
        if retry_after is not None and 0.0 < retry_after <= self.max_retry_after:
            return retry_after
        longest = self.max if retries > _MAX_STEPS else min(self.initial * self.factor**retries, self.max)
        return longest * (1.0 - self.jitter * random())


def _seconds(text: str) -> float:
    return float(text[:-2]) / 1000.0 if text.endswith("ms") else float(text[:-1])
