"""Types of the extension (module.c)."""

from typing import final

@final
class Framing:
    """Where the body of one answer is, in the bytes of HTTP. It decides nothing: a complete parser does."""

    def take(self, data: bytes, ends: list[int], /) -> list[int] | None:
        """Return the bytes of the body in this piece up to each of these offsets, without the framing; None if the framing
        is unusual, from then on. Raises ValueError if the offsets do not rise.
        """

@final
class Reader:
    """The thread and its connections. Times are nanoseconds of CLOCK_MONOTONIC, like those of `perf_counter_ns`."""

    def __new__(cls, most: int) -> Reader:
        """Start the thread. `most` bytes of unread data may be kept, beyond 64 KB for each connection. Raises OSError."""

    def wakeup(self) -> int:
        """Return the descriptor that is readable when `ready` has something to return."""

    def add(self, fd: int, encrypted: bool, /) -> int:
        """Read a connection from now on. Returns its number. Raises OSError."""

    def remove(self, number: int, /) -> None:
        """Do not touch the connection's descriptor again. It may be closed, and used for something else, afterwards."""

    def begin(self, number: int, request: bytes | bytearray | memoryview, due: int, wake: int, /) -> int | None:
        """Send a request, at `due` or, if that has passed, at once. Returns the moment of sending, 0 if it is later, and
        None if something has arrived since the last answer: take it first. Raises MemoryError.
        """

    def send(self, number: int, data: bytes, /) -> None:
        """Send more, after what is not sent yet. Raises OSError."""

    def set_wake(self, number: int, wake: int, /) -> None:
        """Change how the connection wakes Python."""

    def take(self, number: int, /) -> tuple[bytes, list[int], list[int], list[int], list[int], int, int, int, int]:
        """Return what has arrived since the last call: the bytes; for each read, the offset after it, its arrival, how much
        later it was read, and the last moment before at which the socket is known to have been empty; the moments of
        sending and of the last read; the errno of a failure; and flags.

        With the flag FRAMED, offsets are those of the body without its framing, and only reads with bytes of it are listed.
        """

    def end(self, number: int, /) -> None:
        """End the request. Bytes that arrive afterwards do not wake Python."""

    def ready(self) -> list[int]:
        """Return the connections that have something new, each once."""

    def close(self) -> None:
        """End the thread. The descriptors of connections stay open."""

    def abandon(self) -> None:
        """Close the reader's own descriptors in a forked process, in which its thread does not exist."""
