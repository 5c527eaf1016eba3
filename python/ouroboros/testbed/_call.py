"""Functions that run on a node: in a forked child, with the result or the exception back."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import select
import signal
import struct
import sys
import time
import traceback
import warnings
from typing import Any, Callable, NoReturn, Optional

from ..errors import NodeError

_LENGTH = struct.Struct("!Q")


def _readable(descriptors: list[int], timeout: Optional[float]) -> list[int]:
    """Those that can be read, or are at their end, within *timeout* seconds."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [fd for fd, _ in poll.poll(None if timeout is None else timeout * 1000)]


class RemoteTraceback(Exception):
    """Where in the node's process an exception was raised: the cause of what call() raises."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


class Call:
    """A function that runs on a node."""

    def __init__(
        self,
        node: str,
        prepare: Callable[[], None],
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._what = f"{getattr(function, '__qualname__', function)!s} on {node}"
        self._buffer = b""
        self._outcome: Optional[tuple[Any, Optional[BaseException]]] = None
        self._read, write = os.pipe()
        for stream in (sys.stdout, sys.stderr):
            # What is in the buffers would be written by both.
            with contextlib.suppress(Exception):
                stream.flush()
        try:
            with warnings.catch_warnings():
                # Threads of the parent: the child uses none of their locks.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
        except OSError:
            os.close(self._read)
            os.close(write)
            raise
        if pid == 0:
            _child(write, prepare, function, args, kwargs)
        self.pid = pid
        self._owner = os.getpid()
        os.close(write)
        self._process: Optional[int] = os.pidfd_open(pid)

    def result(self, timeout: Optional[float] = None) -> Any:
        """Waits for the function: what it returns, or the exception that it raises.

        After *timeout* seconds TimeoutError is raised; the function runs on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._outcome is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            self._advance(left)
        value, error = self._outcome
        if error is not None:
            raise error
        return value

    def done(self) -> bool:
        """Whether the function has ended."""
        if self._outcome is None:
            with contextlib.suppress(TimeoutError):
                while self._outcome is None:
                    self._advance(0.0)
        return self._outcome is not None

    def kill(self) -> None:
        """Ends the process of the function at once, if it runs."""
        if self._process is None or self._owner != os.getpid():
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        while self._outcome is None:
            self._advance(None)

    def _advance(self, timeout: Optional[float]) -> None:
        assert self._process is not None
        ready = _readable([self._read, self._process], timeout)
        if not ready:
            raise TimeoutError(errno.ETIMEDOUT, f"{self._what} has not ended in time")
        if self._read in ready:
            part = os.read(self._read, 1 << 20)
            self._buffer += part
            length = _LENGTH.size
            if len(self._buffer) >= length:
                length += _LENGTH.unpack_from(self._buffer)[0]
                if len(self._buffer) >= length:
                    self._end(self._buffer[_LENGTH.size :])
                    return
            if part:
                return
        if self._process in ready:
            self._end(None)
        elif self._read in ready:
            # The function closed its end; wait for the process.
            _readable([self._process], None)

    def _end(self, message: Optional[bytes]) -> None:
        assert self._process is not None
        status = os.waitpid(self.pid, 0)[1]
        os.close(self._process)
        os.close(self._read)
        self._process = None
        if message is None:
            code = os.waitstatus_to_exitcode(status)
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited ({code})"
            self._outcome = (
                None,
                NodeError(
                    errno.ECHILD, f"the process of {self._what} {how} before the function returned"
                ),
            )
            return
        good, value, text = pickle.loads(message)
        if good:
            self._outcome = value, None
            return
        error = value if isinstance(value, BaseException) else NodeError(errno.ECHILD, value)
        error.__cause__ = RemoteTraceback(text)
        self._outcome = None, error

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.kill()


def _child(
    write: int,
    prepare: Callable[[], None],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> NoReturn:
    """The life of the child."""
    try:
        try:
            signal.set_wakeup_fd(-1)
            prepare()
            message = _pack_result(function, function(*args, **kwargs))
        except BaseException as error:
            message = _pack_error(function, error)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        rest = memoryview(_LENGTH.pack(len(message)) + message)
        while rest:
            rest = rest[os.write(write, rest) :]
    finally:
        # Nothing of the parent's: no exit handlers, no finalisers.
        os._exit(0)


def _pack_result(function: object, value: object) -> bytes:
    try:
        return pickle.dumps((True, value, ""))
    except Exception as error:
        raise TypeError(
            f"the result of {function!r} cannot be sent back, it cannot be pickled: {error}"
        ) from error


def _pack_error(function: object, error: BaseException) -> bytes:
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if isinstance(error, Exception):
        try:
            message = pickle.dumps((False, error, text))
            pickle.loads(message)
            return message
        except Exception:
            # Told in words instead.
            pass
    description = f"{function!r} raised {type(error).__name__}: {error}"
    return pickle.dumps((False, description, text))
