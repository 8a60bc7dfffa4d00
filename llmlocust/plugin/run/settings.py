"""`RunSettings`: the settings with which a run begins. The web UI's form may change the options before the run ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llmlocust.metrics.thresholds import Threshold


@dataclass(frozen=True)
class RunSettings:
    """The settings of one run."""

    limits: str = ""
    """The thresholds of a level, as text."""
    thresholds: Sequence[Threshold] = ()
    """The thresholds of a level, parsed."""
    planned_users: float = 0.0
    """The maximum number of planned users; 0 if not known."""
    target: dict[str, str] = field(default_factory=dict)
    """Host, model and dialect."""
    options: dict[str, Any] = field(default_factory=dict)
    """All options, by their names in the files, without secrets."""
    user_classes: dict[str, str] = field(default_factory=dict)
    """The think time of each user class as text, by the name of the class."""
    think_times: dict[str, float | None] = field(default_factory=dict)
    """The mean think time of each user class in seconds; None if not known."""
