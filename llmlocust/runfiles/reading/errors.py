"""Errors for files that cannot be read as a run."""

from __future__ import annotations

from llmlocust.text.message import Message, message


class RunError(Exception):
    """The files cannot be read as a run. `text` is one line that says what to do."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class ForeignFile(RunError):
    """A file has the name of one of a run's files, but other content."""


def note_of(error: RunError) -> Message:
    """Return the note on a file that a report is made without."""
    return message("{sentence}.", sentence=error.text)
