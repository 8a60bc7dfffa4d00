"""Dialects, one per wire protocol: they convert an `Ask` to path and body, and events and documents to `Delta`s.

A custom dialect is a small class (docs/dialects.md).
"""

from __future__ import annotations

from llmlocust.stream.dialects.anthropic import AnthropicMessages
from llmlocust.stream.dialects.base import Dialect
from llmlocust.stream.dialects.gradio import GradioCall, GradioRun
from llmlocust.stream.dialects.llamacpp import LlamaCppCompletion
from llmlocust.stream.dialects.ollama import OllamaChat, OllamaGenerate
from llmlocust.stream.dialects.openai import OpenAIChat, OpenAICompletions
from llmlocust.stream.dialects.responses import OpenAIResponses
from llmlocust.stream.dialects.tgi import TGIGenerate
from llmlocust.stream.dialects.vectors import CohereEmbed, OpenAIEmbeddings, Rerank, TEIEmbed, TEIRerank

DIALECTS: tuple[type[Dialect], ...] = (
    OpenAIChat,
    OpenAICompletions,
    OpenAIResponses,
    AnthropicMessages,
    OllamaChat,
    OllamaGenerate,
    LlamaCppCompletion,
    TGIGenerate,
    GradioCall,
    GradioRun,
    OpenAIEmbeddings,
    Rerank,
    CohereEmbed,
    TEIEmbed,
    TEIRerank,
)

__all__ = ["DIALECTS", "Dialect", "named"]


def named(name: str, path: str = "") -> Dialect:
    """Return the dialect of a name, with another path if one is given. Raises ValueError with a one-line message."""
    for dialect in DIALECTS:
        if dialect.name == name:
            instance = dialect()
            instance.path = path or instance.path
            return instance
    raise ValueError(f"no dialect {name!r}: it is one of {', '.join(dialect.name for dialect in DIALECTS)}")
