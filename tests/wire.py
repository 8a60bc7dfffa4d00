"""A connection between workers and their master that records the traffic and can be cut."""

import contextlib
import selectors
import socket
import threading
from typing import Self


class Wire:
    """Forwards connections from its own port to another one, both on this machine."""

    def __init__(self, to_port: int) -> None:
        self.to_port = to_port
        self.traffic = bytearray()
        """All bytes in both directions."""
        self.is_cut = False
        self._is_free = threading.Event()
        self._is_free.set()
        self.drops = b""
        """The next message with these bytes is dropped, and its connection breaks."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = str(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._other: dict[socket.socket, socket.socket] = {}
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._wake.close()
        self._thread.join()
        for sock in (self._listener, self._woken, *self._other):
            sock.close()
        self._selector.close()

    def cut(self) -> None:
        """Close every connection, and refuse new ones."""
        self.is_cut = True
        self._wake.send(b"!")

    def heal(self) -> None:
        self.is_cut = False
        self._is_free = threading.Event()
        self._is_free.set()

    def hold(self) -> None:
        """Stop forwarding without closing connections, as with an unplugged cable."""
        self._is_free.clear()
        self._wake.send(b"!")

    def release(self) -> None:
        """Forward again, also the bytes that were sent in the meantime."""
        self._is_free.set()

    def _run(self) -> None:
        while True:
            self._is_free.wait()
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    if not self._woken.recv(1):
                        return
                    for sock in list(self._other) if self.is_cut else ():
                        self._close(sock)
                elif key.fileobj is self._listener:
                    self._connect()
                elif key.fileobj in self._other:
                    self._forward(key.fileobj)

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

    def _forward(self, end: socket.socket) -> None:
        try:
            data = end.recv(65536)
            if self.drops and self.drops in data:
                self.drops = data = b""
            else:
                self._other[end].sendall(data)
        except OSError:
            data = b""
        self.traffic += data
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
