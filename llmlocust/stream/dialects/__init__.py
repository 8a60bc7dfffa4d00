"""Dialects: one wire protocol each, both ways. `Ask` → path and body; events and documents → `Delta`s.

A dialect of one's own is a small class (docs/dialects.md).
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
    """The dialect of a name, at another path than its own where one is given. ValueError in one line."""
    for dialect in DIALECTS:
        if dialect.name == name:
            made = dialect()
            made.path = path or made.path
            return made
    raise ValueError(f"no dialect {name!r}: it is one of {', '.join(each.name for each in DIALECTS)}")
