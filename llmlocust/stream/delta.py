"""`Delta`: one parsed piece of an answer."""

from __future__ import annotations

import msgspec

from llmlocust.stream.tolerant import believable

ANSWER = "answer"
REASONING = "reasoning"
TOOL = "tool"
USAGE = "usage"
END = "end"
ERROR = "error"
CHOICE = "choice"
"""Around the pieces of one of several answers: its number stands before them, and no text behind them."""
BAD = "bad"
"""Something that is no piece of this protocol."""
WORDS = "words"
"""A text outside the protocol, which may be the last thing that a server says before it gives up."""
EMPTY = "empty"
"""A document of the protocol with nothing in it, or less than was asked for; what is missing."""
OUTPUTS = "outputs"
"""How many vectors or ranks a document has."""

TOKEN_BEARING = frozenset((ANSWER, REASONING, TOOL))
WHOLE = {"whole answer": ANSWER, "whole reasoning": REASONING, "whole tool": TOOL}
"""All that was said of a kind from the beginning on: `Reading` finds out what is new of it."""
WHOLE_ANSWER, WHOLE_REASONING, WHOLE_TOOL = WHOLE
SOME_TOKEN = TOKEN_BEARING | WHOLE.keys()


class Usage(msgspec.Struct, frozen=True):
    """The server's own count of tokens, as one or several of its events report it."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    """Reasoning included."""
    reasoning_tokens: int | None = None
    cache_read: int | None = None
    """Tokens of the prompt that are counted apart from `input_tokens`,"""
    cache_written: int | None = None

    @property
    def prompt_tokens(self) -> int | None:
        """All of the prompt. None where nothing was reported of it."""
        told = (self.input_tokens, self.cache_read, self.cache_written)
        counts = [count for count in map(believable, told) if count is not None]
        return sum(counts) if counts else None

    def and_before(self, before: Usage) -> Usage:
        """With what earlier events reported, where this one does not report it, or reports a zero for it."""
        if self.input_tokens and self.output_tokens and before.cache_read is before.cache_written is None:
            return self  # nearly always
        return Usage(*map(_later, msgspec.structs.astuple(self), msgspec.structs.astuple(before)))


def _later(count: int | None, before: int | None) -> int | None:
    return count if count or before is None else before


class Delta(msgspec.Struct, gc=False):
    """Which bytes brought it is told by `end`, an offset into the body; when they came is the Timeline's to say."""

    kind: str
    end: int
    text: str = ""
    """The piece itself; for END the finish reason, for ERROR and BAD what was wrong."""
    usage: Usage | None = None
    """For USAGE; also on a token-bearing piece where the server counts along."""
