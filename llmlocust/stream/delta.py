"""`Delta`: one parsed piece of an answer."""

from __future__ import annotations

import msgspec

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

TOKEN_BEARING = frozenset((ANSWER, REASONING, TOOL))


def said(*places: object) -> str:
    """What the first place that says something says: servers put an error's words into error, message or detail."""
    for place in places:
        told = place.get("message") or place if isinstance(place, dict) else place
        if told:
            try:
                return str(told)
            except RecursionError:
                return "words that are nested too deeply"
    return ""


class Usage(msgspec.Struct, frozen=True):
    """The server's own count of tokens."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    """Reasoning included."""
    reasoning_tokens: int | None = None

    def and_before(self, before: Usage) -> Usage:
        """With what was told before, where this does not tell it: some servers tell of the prompt first."""
        if self.input_tokens is not None and self.output_tokens is not None:
            return self
        return Usage(
            before.input_tokens if self.input_tokens is None else self.input_tokens,
            before.output_tokens if self.output_tokens is None else self.output_tokens,
            before.reasoning_tokens if self.reasoning_tokens is None else self.reasoning_tokens,
        )


class Delta(msgspec.Struct, gc=False):
    """Which bytes brought it is told by `end`, an offset into the body; when they came is the Timeline's to say."""

    kind: str
    end: int
    text: str = ""
    """The piece itself; for END the finish reason, for ERROR and BAD what was wrong."""
    usage: Usage | None = None
    """For USAGE; also on a token-bearing piece where the server counts along."""
