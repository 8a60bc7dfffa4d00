"""`Ask`: what one request asks for, whatever the wire protocol."""

from __future__ import annotations

from typing import Any

import msgspec


class Ask(msgspec.Struct, frozen=True):
    messages: list[dict[str, Any]] | None = None
    """A conversation, in OpenAI's shape: [{"role": "user", "content": "…"}, …]."""
    prompt: str = ""
    """Plain text to go on from, where there are no messages."""
    model: str = ""
    max_tokens: int | None = None
    max_tokens_field: str = "max_tokens"
    """What the server calls it: OpenAI's newer models want max_completion_tokens."""
    temperature: float | None = None
    stream: bool = True
    usage: bool = True
    """Ask for the server's own token counts at the end of a stream (some old servers refuse the question)."""
    extra: dict[str, Any] = msgspec.field(default_factory=dict)
    """Further fields of the body, as they are; they win over all of the above."""
    label: str = ""
    """What the request is called in tables."""
