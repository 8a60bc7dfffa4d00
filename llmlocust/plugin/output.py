"""Output that never waits: a thread writes what goes to standard output and standard error.

A terminal that is stopped (Ctrl-S), a pager, or a log collector that hangs takes no more bytes at some time. A write
from the event loop would then stop all users, ours and Locust's own lines alike. The thread waits instead; what does
not fit into the queue meanwhile is dropped, and the output says so once it goes on.
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
"""Characters that may wait for a console. A run with Locust's tables prints some 2 kB every two seconds."""
_EXIT_WITHIN = 5.0
"""Seconds that a process waits at its end for its console to take what is left."""
_RETRY_AFTER = 0.05

_sleep = get_original("time", "sleep")


class Writer:
    """Writes text to file descriptors, in order, in a native thread: gevent's own threads would be greenlets."""

    def __init__(self) -> None:
        self._queue = get_original("queue", "SimpleQueue")()
        # each of the two counters is written by one thread alone
        self._put = self._done = 0
        self._dropped = 0
        get_original("_thread", "start_new_thread")(self._run, ())

    def put(self, stream: Stream, text: str) -> None:
        """Have whole lines written. Returns at once. Where too much waits, lines are dropped until half of it is written."""
        most = _MAX_WAITING // 2 if self._dropped else _MAX_WAITING
        if self._put - self._done + len(text) > most:
            self._dropped += text.count("\n")
            return
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            text = f"… {dropped} lines are missing here: the console did not take them in time\n{text}"
        self._put += len(text)
        self._queue.put((stream, text))

    def wait(self, seconds: float) -> None:
        """Wait until all is written, for at most so many seconds."""
        until = time.monotonic() + seconds
        while self._done < self._put and time.monotonic() < until:
            _sleep(_RETRY_AFTER)

    def _run(self) -> None:
        while True:
            stream, text = self._queue.get()
            with suppress(OSError, ValueError):  # the reader is gone, the disk is full, the descriptor is closed
                _write_all(stream.fileno(), text.encode(stream.encoding or "utf-8", "replace"))
            self._done += len(text)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            _sleep(_RETRY_AFTER)


class Stream:
    """Stands for a text stream of the process, and gives what is written to a `Writer`."""

    def __init__(self, stream: TextIO, writer: Writer) -> None:
        self._stream, self._writer = stream, writer
        self._line = ""
        """A line that has no end yet."""

    def write(self, text: str) -> int:
        """Have a text written, line by line. Returns at once."""
        *lines, self._line = (self._line + text).split("\n")
        if lines:
            self._writer.put(self, "\n".join([*lines, ""]))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Have lines written. Returns at once."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Have a line that has no end yet written, too. Returns at once."""
        line, self._line = self._line, ""
        if line:
            self._writer.put(self, line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def never_wait() -> None:
    """Have all output of this process written by a thread from now on, Locust's log and tables included.

    Streams without a file descriptor stay as they are.
    """
    writer = Writer()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            stream.flush()
            stream.fileno()
        except (AttributeError, OSError, ValueError):
            continue
        made = Stream(stream, writer)
        setattr(sys, name, made)
        _redirect_loggers(stream, made)
    atexit.register(writer.wait, _EXIT_WITHIN)


def _redirect_loggers(stream: TextIO, made: Stream) -> None:
    """Have loggers that write to a stream write to another one."""
    loggers = [logging.getLogger(), *logging.root.manager.loggerDict.values()]
    for handler in {handler for logger in loggers for handler in getattr(logger, "handlers", ())}:
        if isinstance(handler, logging.StreamHandler) and handler.stream is stream:
            handler.stream = made
