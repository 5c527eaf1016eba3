"""The relay of a test network: the program o7s-relay, and what one says to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import weakref
from collections.abc import Iterable
from typing import Any, Optional

from ..errors import EIRMD, NodeError
from ..node import find_program

_relays: weakref.WeakSet[Relay] = weakref.WeakSet()


def _after_fork() -> None:
    for relay in list(_relays):
        relay._forked()


os.register_at_fork(after_in_child=_after_fork)


class Relay:
    """A running relay. It ends, and removes the guarded namespaces, when this process does."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._lock = threading.Lock()
        program = find_program("o7s-relay")
        self._socket: Optional[socket.socket]
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        _relays.add(self)
        try:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [str(program)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                # Ctrl-C is for the program; the relay is ended by it.
                start_new_session=True,
            )
        except OSError as error:
            self._socket.close()
            raise NodeError(error.errno, f"cannot run {program}: {error.strerror}") from error
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """The relay's process id."""
        return self._process.pid

    def ask(
        self, op: str, sockets: Iterable[socket.socket] = (), **arguments: Any
    ) -> dict[str, Any]:
        """Gives a command; its answer."""
        line = json.dumps({"op": op, **arguments}).encode() + b"\n"
        with self._lock:
            if self._socket is None:
                raise NodeError(EIRMD, "the relay is not running")
            try:
                rest = line
                descriptors = [each.fileno() for each in sockets]
                if descriptors:
                    rest = line[socket.send_fds(self._socket, [line], descriptors) :]
                self._socket.sendall(rest)
                text = b""
                while not text.endswith(b"\n"):
                    part = self._socket.recv(1 << 16)
                    if not part:
                        raise ConnectionResetError
                    text += part
            except OSError as error:
                # Answers would belong to earlier commands from now on.
                self._socket.close()
                self._socket = None
                reason = "does not answer" if isinstance(error, socket.timeout) else "has ended"
                raise NodeError(
                    EIRMD, f"the relay of the links {reason}; leave the testbed and start it anew"
                ) from error
        answer: dict[str, Any] = json.loads(text)
        if not answer["ok"]:
            raise ValueError(answer["error"])
        return answer

    def close(self) -> None:
        """Ends the relay. When this returns, the namespaces that it guards are gone."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
        try:
            self._process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _forked(self) -> None:
        """In a forked child: the relay is the parent's and lives and ends with that."""
        self._lock = threading.Lock()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if hasattr(self, "_process"):
            self._process.returncode = 0
