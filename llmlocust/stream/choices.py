"""Several answers in one stream (OpenAI's `n`). A reader of one answer waits for its chunks only."""

from __future__ import annotations

from itertools import pairwise

import msgspec

from llmlocust.stream.record import Merged, Record

FIRST = "0"
"""The choice of chunks without a number."""


class ChoiceText(msgspec.Struct):
    """The pieces of one answer, and its end."""

    answer: list[str] = msgspec.field(default_factory=list)
    reasoning: list[str] = msgspec.field(default_factory=list)
    answer_chunks: list[int] = msgspec.field(default_factory=list)
    """The index of the chunk that contained each piece of the answer."""
    tools: int = 0
    """Number of pieces of tool calls."""
    finish: str = ""
    """The last finish reason."""
    ended_at: int | None = None
    """Number of pieces before it; None without a finish reason."""

    @property
    def pieces(self) -> int:
        return len(self.answer) + len(self.reasoning) + self.tools

    @property
    def has_ended(self) -> bool:
        """Whether the finish reason came last."""
        return self.pieces == self.ended_at


class Choices:
    """The answers of one stream: their text, and the answer that each chunk belongs to."""

    def __init__(self, first: ChoiceText, record: Record) -> None:
        self._texts = {FIRST: first}
        self._record = record
        self._of_chunk: dict[int, list[str]] = {}
        """The choices of each chunk; chunks of only the first choice are missing."""
        self._noted = len(record.itls) + 1 if record.itls else 0
        """Number of chunks whose ITLs `itls` has returned."""
        self._newest = {FIRST: record.arrivals[len(record.itls)]} if record.itls else {}
        """By choice, the arrival of the newest of them."""

    @property
    def count(self) -> int:
        """Number of answers with at least one chunk."""
        return len(self._newest)

    def text_of(self, choice: str) -> ChoiceText:
        return self._texts.setdefault(choice, ChoiceText())

    def all(self) -> list[ChoiceText]:
        """Return the text of each answer."""
        return list(self._texts.values())

    def first(self) -> str:
        """Return the first choice with text; some servers count from one."""
        return next((choice for choice, text in self._texts.items() if text.answer or text.reasoning), FIRST)

    def note_chunk(self, chunks: int, choice: str, *, begun: bool) -> None:
        """Note that the next chunk belongs to a choice. `begun`: the last chunk belongs to this choice, too."""
        if begun:
            self._of_chunk.setdefault(chunks - 1, [FIRST]).append(choice)
        else:
            self._of_chunk[chunks] = [choice]

    def itls(self, chunks: int) -> list[float]:
        """Return the ITLs inside each choice between the first `chunks` chunks, without those returned before."""
        itls = []
        for chunk in range(self._noted, chunks):
            arrived = self._record.arrivals[chunk]
            for choice in self._of_chunk.get(chunk, (FIRST,)):
                if choice in self._newest:
                    itls.append(arrived - self._newest[choice])
                self._newest[choice] = arrived
        self._noted = max(self._noted, chunks)
        return itls

    def merged(self, first: int, empty: float) -> list[Merged]:
        """Return for each choice an upper bound for the sum of the ITLs that end in the newest read. `first` is the read's
        first chunk. `itls` must have returned the ITLs before it.
        """
        arrivals: dict[str, list[float]] = {}
        for chunk in range(first, len(self._record.arrivals)):
            for choice in self._of_chunk.get(chunk, (FIRST,)):
                arrivals.setdefault(choice, []).append(self._record.arrivals[chunk])
        merged = []
        for choice, moments in arrivals.items():
            known = [self._newest[choice], *moments] if choice in self._newest else moments
            estimates = [later - earlier for earlier, later in pairwise(known)]
            if estimates:
                since = self._newest.get(choice, empty)
                merged.append(Merged(self._record.arrivals[-1] - since, estimates, exact=False))
        return merged
