"""Several answers in one stream (OpenAI's `n`): who reads one of them waits for its chunks, and not for the others'."""

from __future__ import annotations

from itertools import pairwise

import msgspec

from llmlocust.stream.record import Merged, Record

FIRST = "0"
"""The choice of chunks that say nothing else."""


class Said(msgspec.Struct):
    """What was said in one of them, in its pieces, and of its end."""

    answer: list[str] = msgspec.field(default_factory=list)
    reasoning: list[str] = msgspec.field(default_factory=list)
    answer_chunks: list[int] = msgspec.field(default_factory=list)
    """Which chunk of the stream brought each piece of the answer."""
    tools: int = 0
    """Pieces of calls of tools."""
    finish: str = ""
    """The last reason to finish,"""
    ended_at: int | None = None
    """and how many pieces had come then; None before."""

    @property
    def pieces(self) -> int:
        return len(self.answer) + len(self.reasoning) + self.tools

    @property
    def has_ended(self) -> bool:
        """Whether a reason to finish is the last thing that came."""
        return self.pieces == self.ended_at


class Several:
    """Which choice each chunk belongs to, and what was said in each."""

    def __init__(self, first: Said, record: Record) -> None:
        self._said = {FIRST: first}
        self._record = record
        self._choices: dict[int, list[str]] = {}
        """By chunk, where it is not of the first choice alone."""
        self._noted = len(record.gaps) + 1 if record.gaps else 0
        """Chunks whose gaps were told,"""
        self._newest = {FIRST: record.arrivals[len(record.gaps)]} if record.gaps else {}
        """and when the newest of them arrived, by choice."""

    @property
    def count(self) -> int:
        """How many brought something."""
        return len(self._newest)

    def said(self, choice: str) -> Said:
        return self._said.setdefault(choice, Said())

    def all(self) -> list[Said]:
        """What was said in each."""
        return list(self._said.values())

    def first(self) -> str:
        """The first that says something; some servers count from one."""
        return next((choice for choice, said in self._said.items() if said.answer or said.reasoning), FIRST)

    def note_chunk(self, chunks: int, choice: str, *, begun: bool) -> None:
        """The next chunk is of a choice; or, where it has `begun`, the last one is of this choice too."""
        if begun:
            self._choices.setdefault(chunks - 1, [FIRST]).append(choice)
        else:
            self._choices[chunks] = [choice]

    def gaps(self, chunks: int) -> list[float]:
        """Gaps inside each choice between so many chunks, as far as they were not told yet."""
        gaps = []
        for chunk in range(self._noted, chunks):
            arrived = self._record.arrivals[chunk]
            for choice in self._choices.get(chunk, (FIRST,)):
                if choice in self._newest:
                    gaps.append(arrived - self._newest[choice])
                self._newest[choice] = arrived
        self._noted = max(self._noted, chunks)
        return gaps

    def merged(self, first: int, empty: float) -> list[Merged]:
        """What is known of the gaps that end in a read of which this chunk is the first, and the gaps before it are
        told: of each choice, what their sum is not above.
        """
        arrivals: dict[str, list[float]] = {}
        for chunk in range(first, len(self._record.arrivals)):
            for choice in self._choices.get(chunk, (FIRST,)):
                arrivals.setdefault(choice, []).append(self._record.arrivals[chunk])
        found = []
        for choice, moments in arrivals.items():
            known = [self._newest[choice], *moments] if choice in self._newest else moments
            guesses = [later - earlier for earlier, later in pairwise(known)]
            if guesses:
                since = self._newest.get(choice, empty)
                found.append(Merged(self._record.arrivals[-1] - since, guesses, exact=False))
        return found
