"""Output that never blocks: a thread writes standard output and standard error.

A stopped terminal (Ctrl-S), a pager, or a log collector that hangs accepts no more bytes at some point. A write from
the event loop, by us or by Locust, would then block all users. Here only the thread blocks. Lines that do not fit into
its queue are dropped, and their number is printed once the output continues.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from contextlib import suppress
from typing import Any, TextIO

from gevent.monkey import get_original

_MAX_WAITING = 1 << 20
"""Maximum characters in the queue. A run with Locust's tables prints about 2 kB every two seconds."""
_EXIT_WITHIN = 5.0
"""Seconds that a process waits at its end for the queue to be written."""
_RETRY_AFTER = 0.05

_sleep = get_original("time", "sleep")


class Writer:
    """A queue of text, and a native thread that writes it in order. A thread of Python's would be a greenlet under gevent."""

    def __init__(self) -> None:
        self._queue = get_original("queue", "SimpleQueue")()
        # each counter is changed by one thread only
        self._put = self._done = 0
        self._dropped = 0
        get_original("_thread", "start_new_thread")(self._run, ())

    def put(self, stream: Stream, text: str) -> None:
        """Add whole lines to the queue, without blocking. When it is full, lines are dropped until half of it is written."""
        limit = _MAX_WAITING // 2 if self._dropped else _MAX_WAITING
        if self._put - self._done + len(text) > limit:
            self._dropped += text.count("\n")
            return
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            text = f"… {dropped} lines are missing here: the console did not take them in time\n{text}"
        self._put += len(text)
        self._queue.put((stream, text))

    def wait(self, seconds: float) -> None:
        """Wait until the queue is written, or for `seconds` at most."""
        until = time.monotonic() + seconds
        while self._done < self._put and time.monotonic() < until:
            _sleep(_RETRY_AFTER)

    def _run(self) -> None:
        while True:
            stream, text = self._queue.get()
            with suppress(OSError, ValueError):  # the reader has ended, the disk is full, or the descriptor is closed
                _write_all(stream.fileno(), text.encode(stream.encoding or "utf-8", "replace"))
            self._done += len(text)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            _sleep(_RETRY_AFTER)


class Stream:
    """A replacement for a text stream of the process that passes its text to a `Writer`."""

    def __init__(self, stream: TextIO, writer: Writer) -> None:
        self._stream, self._writer = stream, writer
        self._line = ""
        """The beginning of a line that is not complete yet."""

    def write(self, text: str) -> int:
        """Pass on the complete lines, without blocking."""
        *lines, self._line = (self._line + text).split("\n")
        if lines:
            self._writer.put(self, "\n".join([*lines, ""]))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Pass on several texts, without blocking."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Pass on a line that is not complete, without blocking."""
        line, self._line = self._line, ""
        if line:
            self._writer.put(self, line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def never_block() -> None:
    """Replace the process's output streams, those of Locust's log included, so that a thread writes them.

    A stream without a file descriptor is not replaced.
    """
    writer = Writer()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            stream.flush()
            stream.fileno()
        except (AttributeError, OSError, ValueError):
            continue
        replacement = Stream(stream, writer)
        setattr(sys, name, replacement)
        _redirect_loggers(stream, replacement)
    atexit.register(writer.wait, _EXIT_WITHIN)


def _redirect_loggers(stream: TextIO, replacement: Stream) -> None:
    """Change the stream of all log handlers that write to `stream`."""
    loggers = [logging.getLogger(), *logging.root.manager.loggerDict.values()]
    for handler in {handler for logger in loggers for handler in getattr(logger, "handlers", ())}:
        if isinstance(handler, logging.StreamHandler) and handler.stream is stream:
            handler.stream = replacement
