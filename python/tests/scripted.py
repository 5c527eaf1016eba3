"""A daemon that answers as a test says, and remembers what it was asked.

The control protocol in a few lines: frames of length and protobuf (crates/o7s/src/control).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional, Union

from ouroboros import _native

# Numbers of the messages (control/message.rs).
HELLO, CREATE, DESTROY, BOOTSTRAP, ENROLL, CONNECT, DISCONNECT, LIST_IPCPS = 3, *range(20, 27)
BIND_PROGRAM, UNBIND_PROGRAM, BIND, UNBIND, CREATE_NAME, DESTROY_NAME, LIST_NAMES = range(27, 34)
REG, UNREG, SHOW = 34, 35, 37
DONE, FAILURE, HELLO_OK, PID, IPCPS, NAMES, LAYER = 40, 41, 42, 44, 45, 46, 48
IPCP_STATUS = 56

Value = Union[int, bytes]
Message = dict[int, list[Value]]
#: A message's number and content.
Body = tuple[int, bytes]


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def encode(fields: dict[int, Any]) -> bytes:
    """A message; ints, strings, bytes, messages and lists of these."""
    out = b""
    for tag, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                out += varint(tag << 3) + varint(one)
                continue
            if isinstance(one, dict):
                one = encode(one)
            if isinstance(one, str):
                one = one.encode()
            out += varint(tag << 3 | 2) + varint(len(one)) + one
    return out


def decode(data: bytes) -> Message:
    """The fields of a message."""
    fields: Message = {}
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = number()
        value: Value
        if key & 7 == 0:
            value = number()
        elif key & 7 == 2:
            length = number()
            value = data[at : at + length]
            at += length
        else:
            size, code = {1: (8, "<Q"), 5: (4, "<I")}[key & 7]
            value = struct.unpack(code, data[at : at + size])[0]
            at += size
        fields.setdefault(key >> 3, []).append(value)
    return fields


def get(message: Message, *path: int) -> Optional[Value]:
    """The field at the end of a path of tags; None if it is not there (it has its default)."""
    for tag in path[:-1]:
        inner = message.get(tag, [b""])[0]
        assert isinstance(inner, bytes)
        message = decode(inner)
    return message.get(path[-1], [None])[0]  # type: ignore[list-item]


def ipcp(pid: int, kind: int, name: str, layer: str = "") -> dict[int, Any]:
    return {1: pid, 2: kind, 3: name, 4: layer}


def ipcps(*rows: dict[int, Any]) -> Body:
    return IPCPS, encode({1: list(rows)})


def done() -> Body:
    return DONE, b""


def failure(number: int, message: str = "no such luck") -> Body:
    return FAILURE, encode({1: number, 2: message})


class Daemon:
    """Answers each request as *answer* says; lists are not remembered."""

    def __init__(self, path: Path, answer: Callable[[int, Message], Body]) -> None:
        self.answer = answer
        self.requests: list[tuple[int, Message]] = []
        self._connections: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while len(head := stream.read(4)) == 4:
                (length,) = struct.unpack("<I", head)
                envelope = decode(stream.read(length))
                request = envelope[1][0]
                (tag,) = (tag for tag in envelope if tag >= 3)
                content = envelope[tag][0]
                assert isinstance(content, bytes)
                message = decode(content)
                if tag == HELLO:
                    reply: Body = (HELLO_OK, encode({1: os.getpid()}))
                else:
                    if tag not in (LIST_IPCPS, LIST_NAMES):
                        self.requests.append((tag, message))
                    reply = self.answer(tag, message)
                frame = encode({1: request, reply[0]: reply[1]})
                with contextlib.suppress(OSError):
                    connection.sendall(struct.pack("<I", len(frame)) + frame)

    def tags(self) -> list[int]:
        return [tag for tag, _ in self.requests]

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


@contextlib.contextmanager
def daemon(tmp_path: Path, answer: Callable[[int, Message], Body]) -> Iterator[Daemon]:
    """This process uses a scripted daemon."""
    before = _native.runtime_dir()
    daemon = Daemon(tmp_path / "irm.sock", answer)
    _native.set_runtime_dir(tmp_path)
    try:
        yield daemon
    finally:
        _native.set_runtime_dir(before if before.exists() else None)
        daemon.close()
