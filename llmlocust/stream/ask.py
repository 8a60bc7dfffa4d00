"""`Ask`: what one request asks for, whatever the wire protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec


class Ask(msgspec.Struct, frozen=True):
    messages: list[dict[str, Any]] | None = None
    """A conversation, in OpenAI's shape: [{"role": "user", "content": "…"}, …]. Images are parts of a content:
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}}."""
    prompt: str = ""
    """Plain text to go on from, where there are no messages; for a ranking, what documents are ranked by."""
    inputs: Sequence[str] = ()
    """Texts to embed or documents to rank."""
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

    def conversation(self) -> list[dict[str, Any]]:
        """Messages, whichever way it was asked."""
        return self.messages or [{"role": "user", "content": self.prompt}]

    def text(self) -> str:
        """Plain text, whichever way it was asked. ValueError where that would lose an image."""
        return self.prompt or "\n\n".join(only_text(message.get("content")) for message in self.messages or ())

    def echoes(self) -> set[str]:
        """Texts that a server may repeat before its answer: all that was asked, and what was asked last."""
        contents = [self.prompt, *(message.get("content") for message in self.messages or ())]
        texts = [each for each in contents if isinstance(each, str)]
        return {"\n\n".join(texts), texts[-1]}


def only_text(content: object) -> str:
    """The text of a message's content, which is a text or a list of parts. ValueError for parts that are no text."""
    if not isinstance(content, list):
        return str(content or "")
    if any(not isinstance(part, dict) or "text" not in part for part in content):
        raise ValueError("this dialect takes text only: leave out the images, or set another --llm-dialect")
    return "".join(str(part["text"]) for part in content)


def image_of(part: dict[str, Any]) -> tuple[str, str, str] | None:
    """A part's image as its media type, its data in base64 and its URL, of which one is empty; None: it has none."""
    if part.get("type") != "image_url":
        return None
    image = part.get("image_url")
    url = str(image.get("url", "") if isinstance(image, dict) else image)
    if not url.startswith("data:"):
        return "", "", url
    media_type, _, data = url.removeprefix("data:").partition(";base64,")
    return media_type, data, ""
