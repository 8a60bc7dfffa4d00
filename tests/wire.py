"""A wire between workers and their master: it keeps what passes, and can be cut."""

import contextlib
import selectors
import socket
import threading
from typing import Self


class Wire:
    """Listens on a port of its own and passes on to another, both on this machine."""

    def __init__(self, to_port: int) -> None:
        self.to_port = to_port
        self.passed = bytearray()
        """All bytes, of both directions."""
        self.is_cut = False
        self._is_free = threading.Event()
        self._is_free.set()
        self.loses = b""
        """The next message with these bytes does not get through, and its connection breaks."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = str(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._other: dict[socket.socket, socket.socket] = {}
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._pass_on)

    def __enter__(self) -> Self:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._wake.close()
        self._thread.join()
        for each in (self._listener, self._woken, *self._other):
            each.close()
        self._selector.close()

    def cut(self) -> None:
        """Every connection is closed, and no new one comes through."""
        self.is_cut = True
        self._wake.send(b"!")

    def heal(self) -> None:
        self.is_cut = False
        self._is_free = threading.Event()
        self._is_free.set()

    def hold(self) -> None:
        """Nothing comes through, and no connection is closed: as where a cable is pulled."""
        self._is_free.clear()
        self._wake.send(b"!")

    def release(self) -> None:
        """What was sent meanwhile comes through now."""
        self._is_free.set()

    def _pass_on(self) -> None:
        while True:
            self._is_free.wait()
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    if not self._woken.recv(1):
                        return
                    for each in list(self._other) if self.is_cut else ():
                        self._close(each)
                elif key.fileobj is self._listener:
                    self._connect()
                elif key.fileobj in self._other:
                    self._pass(key.fileobj)

    def _connect(self) -> None:
        near, _ = self._listener.accept()
        if self.is_cut:
            near.close()
            return
        try:
            far = socket.create_connection(("127.0.0.1", self.to_port))
        except OSError:  # the master does not listen yet
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            self._other[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass(self, end: socket.socket) -> None:
        try:
            data = end.recv(65536)
            if self.loses and self.loses in data:
                self.loses = data = b""
            else:
                self._other[end].sendall(data)
        except OSError:
            data = b""
        self.passed += data
        if not data:
            self._close(end)

    def _close(self, end: socket.socket) -> None:
        other = self._other.pop(end, None)
        if other is None:
            return
        self._selector.unregister(end)
        with contextlib.suppress(OSError):
            end.close()
        self._close(other)
