"""Messages between processes of one machine, each with its answer.

A call of Ray's to an actor is handed from thread to thread on both sides and takes 2 to 3 ms where caches are cold, as
they are after a step of training; one of these takes 0.7. Ray starts actors, finds and replaces them, and reaches those
on other machines.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable

_LENGTH = struct.Struct("<Q")
_PEER = struct.Struct("3i")  # process, user, group
_AGAIN_S = 0.1

_log = logging.getLogger(__name__)


def serve(answer: Callable[[bytes], bytes]) -> str | None:
    """Answer messages from processes of this user, in threads, until this process ends.

    Returns the name that :class:`Channel` takes; None where the system has no sockets that know their user.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    name = f"\0subnetray-{uuid.uuid4().hex}"  # of no file, so that nothing is left of a process that is killed
    server = socket.socket(socket.AF_UNIX)
    server.bind(name)
    server.listen()
    threading.Thread(target=_accept, args=(server, answer), daemon=True).start()
    return name


def _accept(server: socket.socket, answer: Callable[[bytes], bytes]) -> None:
    said = False
    while True:
        try:
            connection, _ = server.accept()
        except OSError as error:
            # No file descriptor or memory is left, or who asks has gone: whoever waits is served when there is one.
            if not said and error.errno != errno.ECONNABORTED:
                said = True
                _log.warning("a message waits until the system has means to take it: %s", error.strerror)
            time.sleep(_AGAIN_S)
            continue
        try:
            _, user, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
            if user == os.getuid():
                threading.Thread(target=_serve, args=(connection, answer), daemon=True).start()
                continue
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread could be started
            _log.warning("a message could not be taken: %s", error)
        connection.close()


def _serve(connection: socket.socket, answer: Callable[[bytes], bytes]) -> None:
    with connection:
        try:
            while True:
                _send(connection, answer(_receive(connection)))
        except ConnectionError:  # who asks has ended, or asks no more
            return


class Channel:
    """The way to the process that :func:`serve` gave ``name`` in; raises ConnectionError unless it is on this machine.

    Several messages may be under way, each on a connection of its own.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._free: list[socket.socket] = []
        self._free.append(self._connection())

    def send(self, message: bytes, timeout_s: float) -> Reply:
        """Send a message; raises ConnectionError, or TimeoutError if it is not taken."""
        connection = self._free.pop() if self._free else self._connection()
        reply = Reply(self, connection)
        connection.settimeout(timeout_s)
        _send(connection, message)
        return reply

    def release(self, connection: socket.socket) -> None:
        """Have the next message sent on ``connection``, whose last one was answered."""
        self._free.append(connection)

    def _connection(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(self._name)
        except OSError:
            connection.close()
            raise
        return connection

    def __del__(self) -> None:
        for connection in self._free:
            connection.close()


class Reply:
    """The answer to a message. A connection that has brought it is free again, any other is closed with this."""

    def __init__(self, channel: Channel, connection: socket.socket) -> None:
        self._channel = channel
        self._connection: socket.socket | None = connection

    def get(self, timeout_s: float) -> bytes:
        """Wait for it, once; raises TimeoutError, or ConnectionError if the process has ended."""
        connection = self._connection
        assert connection is not None, "an answer comes once"
        connection.settimeout(timeout_s)
        message = _receive(connection)
        self._connection = None
        self._channel.release(connection)
        return message

    def __del__(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _send(connection: socket.socket, message: bytes) -> None:
    connection.sendall(_LENGTH.pack(len(message)) + message)


def _receive(connection: socket.socket) -> bytes:
    (size,) = _LENGTH.unpack(_read(connection, _LENGTH.size))
    return _read(connection, size)


def _read(connection: socket.socket, size: int) -> bytes:
    content = bytearray(size)
    view = memoryview(content)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise ConnectionResetError("the other process closed the connection")
        view = view[count:]
    return bytes(content)
