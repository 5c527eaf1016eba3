"""Listening: accept flows one after the other, in a loop or beside other work.

>>> from ouroboros.dev import listen
>>> with listen() as listener:                          # doctest: +SKIP
...     for flow in listener:
...         with flow:
...             flow.writeline("Hello")
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Optional

from . import _native
from ._owned import Owned
from .dev import Flow
from .errors import FlowNotAllocatedException, FlowTimeout, FlowWouldBlock

__all__ = ["Listener", "listen"]


class Listener(Owned, _native.Listener):
    """Flows to the names of this process, in the order in which they were allocated.

    While it is open the process counts as a server: flows are taken for it, and one that arrives
    is kept until accept(). Unlike flow_accept(), it has a descriptor to wait on: fileno().
    """

    _timeout: Optional[float] = None

    def accept(self, timeo: Optional[float] = None) -> Flow:
        """Waits for the next flow.

        *timeo*: seconds for this call, 0 = do not wait; None = as set with settimeout(). Raises
        TimeoutError when it passes, BlockingIOError when the listener does not wait.
        """
        limit = self._timeout if timeo is None else timeo
        flow = Flow()
        try:
            self._accept(flow, limit)
        except FlowTimeout as error:
            if timeo is None and limit == 0:
                raise FlowWouldBlock(
                    errno.EAGAIN, "no flow to accept is here, and the listener does not wait"
                ) from None
            raise error from None
        return flow

    def settimeout(self, timeo: Optional[float]) -> None:
        """Sets the time limit of accept() in seconds; None = wait for ever, 0 = do not wait."""
        if timeo is not None and not timeo >= 0:
            raise ValueError(f"the time limit must not be negative, it is {timeo}")
        self._timeout = timeo

    def gettimeout(self) -> Optional[float]:
        """The time limit of accept() in seconds, or None."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """Lets accept() wait, or not."""
        self._timeout = None if flag else 0.0

    def getblocking(self) -> bool:
        """Whether accept() waits."""
        return self._timeout != 0

    def __iter__(self) -> Iterator[Flow]:
        """Flows until the listener is closed."""
        while not self.closed:
            try:
                flow = self.accept()
            except FlowNotAllocatedException:
                return
            yield flow

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closed' if self.closed else 'open'}>"


def listen() -> Listener:
    """A Listener: iterate over it for the flows to the names of this process."""
    return Listener()
