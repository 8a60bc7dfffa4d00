"""`Delta`: one parsed piece of an answer."""

from __future__ import annotations

import msgspec

from llmlocust.stream.tolerant import valid_count

ANSWER = "answer"
REASONING = "reasoning"
TOOL = "tool"
USAGE = "usage"
END = "end"
ERROR = "error"
CHOICE = "choice"
"""A mark before and after the pieces of one of several answers. Its text is the answer's number before, and empty after."""
BAD = "bad"
"""Something that does not belong to this protocol."""
WORDS = "words"
"""A text outside the protocol, which may be a server's last message before it gives up."""
EMPTY = "empty"
"""A document of the protocol that is empty, or contains less than the request asked for. Its text says what is missing."""
OUTPUTS = "outputs"
"""The number of vectors or ranks in a document."""

TOKEN_BEARING = frozenset((ANSWER, REASONING, TOOL))
WHOLE = {"whole answer": ANSWER, "whole reasoning": REASONING, "whole tool": TOOL}
"""Kinds of deltas that contain the whole text so far; `Reading` determines what is new in it."""
WHOLE_ANSWER, WHOLE_REASONING, WHOLE_TOOL = WHOLE
SOME_TOKEN = TOKEN_BEARING | WHOLE.keys()


class Usage(msgspec.Struct, frozen=True):
    """The server's own count of tokens, from one or several of its events."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    """Reasoning included."""
    reasoning_tokens: int | None = None
    cache_read: int | None = None
    """Tokens of the prompt that the server counts separately from `input_tokens`: those read from its cache."""
    cache_written: int | None = None

    @property
    def prompt_tokens(self) -> int | None:
        """Return the tokens of the whole prompt; None where the server reported none."""
        reported = (self.input_tokens, self.cache_read, self.cache_written)
        counts = [count for count in map(valid_count, reported) if count is not None]
        return sum(counts) if counts else None

    def merged_with(self, before: Usage) -> Usage:
        """Return this usage, with the counts of earlier events where this one has none or a zero."""
        if self.input_tokens and self.output_tokens and before.cache_read is before.cache_written is None:
            return self  # nearly always
        return Usage(*map(_later, msgspec.structs.astuple(self), msgspec.structs.astuple(before)))


def _later(count: int | None, before: int | None) -> int | None:
    return count if count or before is None else before


class Delta(msgspec.Struct, gc=False):
    """A parsed piece. `end` is the offset in the body of the byte that completed it; the Timeline has its arrival time."""

    kind: str
    end: int
    text: str = ""
    """The piece itself; for END the finish reason, for ERROR and BAD a description of the error."""
    usage: Usage | None = None
    """Set for USAGE, and for token-bearing pieces of servers that report a count with each."""
