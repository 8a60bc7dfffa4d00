"""How a trace is replayed: windows of time as levels, and prompts of a row's length. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from llmlocust.load.curves import DONE, DRAIN, ENDED, HOLD, RAMP, SETTLED, Change, Staircase
from llmlocust.load.tokens import Count, cut, jumble, prose
from llmlocust.load.traces import Replay, Row

NEXT = "next"
"""A level ended, and at the same moment the next one began and settled."""

_MOST_WINDOWS = 20
_AFTER = 1.0
"""Seconds for which the last window outlasts the last row: load processes begin some milliseconds apart."""
_BLOCKS_KEPT = 2000
"""Of some 2 kB each."""
_PROSE_FROM = 128
"""Tokens. Shorter blocks of prose would often be the same sentence."""


def windows(replay: Replay, hold: float) -> tuple[float, list[float]]:
    """Equal windows of about `hold` seconds, 20 at most: how long each is, and how many rows a second are due in it."""
    seconds = replay.seconds + _AFTER
    number = min(_MOST_WINDOWS, max(1, round(seconds / hold)))
    length = seconds / number
    ends = [place * length for place in range(number + 1)]
    return length, [replay.count(since, until) / length for since, until in pairwise(ends)]


@dataclass
class Windows(Staircase):
    """Levels that follow each other without a gap, on a clock that begins when the streams are there."""

    began: float = field(default=0.0, init=False)
    """When the first window did."""

    @property
    def target(self) -> float:
        """A window in which nothing is due needs its streams too."""
        return 0.0 if self.phase in (DRAIN, DONE) else 1.0

    @property
    def step(self) -> float:
        return 1.0

    @property
    def next_change(self) -> float:
        """When the present window ends; only while there is one."""
        return self.began + (self.level + 1) * self.hold

    def advance(self, now: float, there: float) -> list[Change]:
        changes: list[Change] = []
        if self.level < 0:
            changes.append(self._begin(0, now))
        if self.phase == RAMP and self._is_there(now, there):
            self._enter(HOLD, now)
            self.began = now
            changes.append(Change(SETTLED, self.level, self._reached))
        while self.phase == HOLD and now >= self.next_change:
            if self.level + 1 == len(self.levels):
                self._enter(DRAIN, now)
                changes.append(Change(ENDED, self.level))
            else:
                self.level += 1
                self.since = now
                changes.append(Change(NEXT, self.level))
        if self.phase == DRAIN:
            self._drain(now, there)
        return changes


def shared_text(row: Row, salt: str, count: Count, source: random.Random) -> str:
    """A prompt of a row with blocks: rows that begin with the same ids begin with the same text, and go on with
    another. Of another salt, all texts are others.
    """
    size = row.block_tokens
    whole, rest = divmod(row.prompt_tokens, size)
    texts = [block(each, size, salt, count) for each in row.blocks[:whole]]
    if rest:
        last = row.blocks[whole : whole + 1]
        texts.append(cut(block(last[0], size, salt, count), rest, count) if last else prose(rest, source, count))
    return " ".join(texts)


@lru_cache(maxsize=_BLOCKS_KEPT)
def block(number: int | str, tokens: int, salt: str, count: Count) -> str:
    source = f"block {number} {salt}"
    return prose(tokens, random.Random(source), count) if tokens >= _PROSE_FROM else jumble(tokens, source, count)
