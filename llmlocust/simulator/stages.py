"""The stages before and behind the engine: rate limit, front end, network, prefix cache. Pure: time is an argument, in seconds.

Each stage handles one thing after another, in the order of arrival, so the time at which it is done is known at once.
"""

import math
from collections.abc import Hashable

from llmlocust.simulator.settings import Settings

_EVENT_BYTES, _WORD_BYTES, _HEAD_BYTES = 240, 5, 400
"""Bytes on the wire: of a token's event in a stream, of a token in an answer in one piece, and of what surrounds it."""
_BUFFER_S, _LOSS = 0.2, 0.02
"""Seconds of waiting bytes at which the link's buffer is full, and the share of segments that are then lost."""


class FrontEnd:
    """One process that handles every request and every token, on one core."""

    def __init__(self, settings: Settings) -> None:
        self._request_seconds = settings.front_end_ms / 1e3
        self._token_seconds = settings.front_end_ms_per_token / 1e3
        self.handles_singly = self._token_seconds > 0
        """Whether a token is handled later than the one before it. Otherwise all tokens of a step are handled at once."""
        self.is_instant = not self._request_seconds and not self._token_seconds
        self._free_at, self._busy = 0.0, 0.0

    def request(self, now: float) -> float:
        """Return when the process has handled a request that arrives now."""
        return self._handle(now, self._request_seconds)

    def token(self, now: float) -> float:
        """Return when the process has handled a token that the engine produces now."""
        return self._handle(now, self._token_seconds)

    def cpu_seconds(self, now: float) -> float:
        """Return the CPU time until now."""
        return self._busy - max(self._free_at - now, 0.0)

    def _handle(self, now: float, seconds: float) -> float:
        self._busy += seconds
        self._free_at = max(self._free_at, now) + seconds
        return self._free_at


class Link:
    """The network on the way to the clients, which sends one answer's bytes after another's."""

    def __init__(self, settings: Settings) -> None:
        self._seconds_per_byte = 8 / (settings.network_mbit * 1e6) if settings.network_mbit else 0.0
        self.delay = settings.network_ms / 1e3
        self.is_instant = not self._seconds_per_byte
        self._free_at = 0.0
        self.bytes, self._overflowed = 0, 0
        """Bytes since the start, and segments that came while the buffer was full."""

    @property
    def resent(self) -> int:
        """Segments that TCP sent again."""
        return int(self._overflowed * _LOSS)

    def event(self, now: float) -> float:
        """Return when the last byte of a token's event has left, if it is written now."""
        return self._send(now, _EVENT_BYTES)

    def whole(self, now: float, tokens: int) -> float:
        """Return when the last byte of an answer in one piece has left."""
        return self._send(now, _HEAD_BYTES + _WORD_BYTES * tokens)

    def _send(self, now: float, size: int) -> float:
        self.bytes += size
        if not self._seconds_per_byte:
            return now
        # the time that lost segments take is left out
        self._overflowed += self._free_at - now > _BUFFER_S
        self._free_at = max(self._free_at, now) + size * self._seconds_per_byte
        return self._free_at


class RateLimit:
    """A token bucket of requests."""

    def __init__(self, settings: Settings) -> None:
        self._rate, self._burst = settings.rate_limit, float(settings.rate_burst)
        self._level, self._filled_until = self._burst, 0.0

    def retry_after(self, now: float) -> int:
        """Return 0 and take one from the bucket; if it is empty, return after how many whole seconds it will not be."""
        if not self._rate:
            return 0
        self._level = min(self._level + (now - self._filled_until) * self._rate, self._burst)
        self._filled_until = now
        if self._level >= 1.0 - 1e-9:  # sums of fractions
            self._level -= 1.0
            return 0
        return max(math.ceil((1.0 - self._level) / self._rate), 1)


class PrefixCache:
    """The prompts that the server remembers, and forgets if they have not been used for long."""

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.cache_prompts if settings.prefix_cache else 0
        self._prompts: dict[Hashable, None] = {}

    def contains(self, prompt: Hashable) -> bool:
        """Return whether a prompt is remembered, and remember it."""
        if not self._limit:
            return False
        is_known = prompt in self._prompts
        if is_known:
            del self._prompts[prompt]  # to the end of the order
        self._prompts[prompt] = None
        if len(self._prompts) > self._limit:
            del self._prompts[next(iter(self._prompts))]
        return is_known
