"""`RunSettings`: what was asked for as a run begins. The web UI's form may ask for something else before it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llmlocust.metrics.thresholds import Threshold


@dataclass(frozen=True)
class RunSettings:
    """The settings of one run."""

    limits: str = ""
    """What a level must keep, as it was written."""
    thresholds: Sequence[Threshold] = ()
    """The same, parsed."""
    planned_users: float = 0.0
    """The most users that are planned; 0 where that is not known."""
    target: dict[str, str] = field(default_factory=dict)
    """Host, model and dialect."""
    options: dict[str, Any] = field(default_factory=dict)
    """All options by their names in the files, without secrets."""
    user_classes: dict[str, str] = field(default_factory=dict)
    """The think time of each class of users, by its name."""
