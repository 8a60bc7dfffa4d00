"""Errors for files that cannot be read as a run."""

from __future__ import annotations


class RunError(Exception):
    """The files cannot be read as a run. The text is one line that says what to do."""


class ForeignFile(RunError):
    """A file that has the name of one of a run's files but other content."""
