"""The replay of a trace: windows of time as levels, and prompts of the recorded length. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from llmlocust.load.curves import DONE, DRAIN, ENDED, HOLD, RAMP, WARMED_UP, Change, Staircase
from llmlocust.load.tokens import Count, cut, jumble, prose
from llmlocust.load.traces import Replay, Row

NEXT = "next"
"""A level ended, and at the same moment the next one began, without a warm-up."""

_MAX_WINDOWS = 20
_AFTER = 1.0
"""Seconds of the last window after the last row: workers begin some milliseconds apart."""
_BLOCKS_KEPT = 2000
"""Maximum number of blocks in the cache, of about 2 kB each."""
_PROSE_FROM = 128
"""Tokens. Shorter blocks of prose would often be the same sentence."""


def windows(replay: Replay, hold: float) -> tuple[float, list[float]]:
    """Return the length of equal windows of about `hold` seconds, 20 at most, and the rows per second due in each."""
    seconds = replay.seconds + _AFTER
    number = min(_MAX_WINDOWS, max(1, round(seconds / hold)))
    length = seconds / number
    ends = [place * length for place in range(number + 1)]
    return length, [replay.count(since, until) / length for since, until in pairwise(ends)]


@dataclass
class Windows(Staircase):
    """Levels without a pause between them, on a clock that begins when the streams are ready."""

    began: float = field(default=0.0, init=False)
    """The moment at which the first window began."""

    @property
    def target(self) -> float:
        """The number of streams: a window in which nothing is due needs its streams, too."""
        return 0.0 if self.state in (DRAIN, DONE) else 1.0

    @property
    def step(self) -> float:
        return 1.0

    @property
    def next_change(self) -> float:
        """The moment at which the present window ends."""
        return self.began + (self.level + 1) * self.hold

    def advance(self, now: float, actual: float) -> list[Change]:
        changes: list[Change] = []
        if self.level < 0:
            changes.append(self._begin(0, now))
        if self.state == RAMP and self._is_reached(now, actual):
            self._enter(HOLD, now)
            self.began = now
            changes.append(Change(WARMED_UP, self.level, self._reached))
        while self.state == HOLD and now >= self.next_change:
            if self.level + 1 == len(self.levels):
                self._enter(DRAIN, now)
                changes.append(Change(ENDED, self.level))
            else:
                self.level += 1
                self.since = now
                changes.append(Change(NEXT, self.level))
        if self.state == DRAIN:
            self._drain(now, actual)
        return changes


def shared_text(row: Row, salt: str, count: Count, source: random.Random) -> str:
    """Return a prompt for a row with blocks. Rows that begin with the same ids begin with the same text and continue with
    different text. Another salt gives other texts.
    """
    size = row.block_tokens
    whole, rest = divmod(row.prompt_tokens, size)
    texts = [block(number, size, salt, count) for number in row.blocks[:whole]]
    if rest:
        last = row.blocks[whole : whole + 1]
        texts.append(cut(block(last[0], size, salt, count), rest, count) if last else prose(rest, source, count))
    return " ".join(texts)


@lru_cache(maxsize=_BLOCKS_KEPT)
def block(number: int | str, tokens: int, salt: str, count: Count) -> str:
    source = f"block {number} {salt}"
    return prose(tokens, random.Random(source), count) if tokens >= _PROSE_FROM else jumble(tokens, source, count)
