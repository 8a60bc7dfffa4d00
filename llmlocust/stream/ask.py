"""`Ask`: the content of one request, independent of the wire protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec


class Ask(msgspec.Struct, frozen=True):
    messages: list[dict[str, Any]] | None = None
    """A conversation, in OpenAI's shape: [{"role": "user", "content": "…"}, …]. Images are parts of a content:
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}}."""
    prompt: str = ""
    """Plain text to complete, where there are no messages; for a ranking, the query."""
    inputs: Sequence[str] = ()
    """Texts to embed or documents to rank."""
    model: str = ""
    max_tokens: int | None = None
    max_tokens_field: str = "max_tokens"
    """The name of the field for it: OpenAI's newer models require max_completion_tokens."""
    temperature: float | None = None
    stream: bool = True
    usage: bool = True
    """Ask for the server's own token counts at the end of a stream (some old servers reject the field)."""
    extra: dict[str, Any] = msgspec.field(default_factory=dict)
    """Further fields of the body; they override all of the above."""
    label: str = ""
    """The request's name in tables."""

    def conversation(self) -> list[dict[str, Any]]:
        """Return the content as messages."""
        return self.messages or [{"role": "user", "content": self.prompt}]

    def text(self) -> str:
        """Return the content as plain text. ValueError where that would lose an image."""
        return self.prompt or "\n\n".join(only_text(message.get("content")) for message in self.messages or ())

    def echoes(self) -> set[str]:
        """Return texts that a server may repeat before its answer: the whole question, and its last message."""
        contents = [self.prompt, *(message.get("content") for message in self.messages or ())]
        texts = [content for content in contents if isinstance(content, str)]
        return {"\n\n".join(texts), texts[-1]}


def only_text(content: object) -> str:
    """Return the text of a message's content, which is a text or a list of parts. ValueError for parts that are not text."""
    if not isinstance(content, list):
        return str(content or "")
    if any(not isinstance(part, dict) or "text" not in part for part in content):
        raise ValueError("this dialect takes text only: leave out the images, or set another --llm-dialect")
    return "".join(str(part["text"]) for part in content)


def image_of(part: dict[str, Any]) -> tuple[str, str, str] | None:
    """Return a part's image as (media type, base64 data, URL), with either the data or the URL empty; None without one."""
    if part.get("type") != "image_url":
        return None
    image = part.get("image_url")
    url = str(image.get("url", "") if isinstance(image, dict) else image)
    if not url.startswith("data:"):
        return "", "", url
    media_type, _, data = url.removeprefix("data:").partition(";base64,")
    return media_type, data, ""
