"""Events: wait for many flows at once.

>>> from ouroboros.event import *
>>> fq = FEventQueue()
>>> with FlowSet([f1, f2]) as fset:                     # doctest: +SKIP
...     fset.wait(fq, timeo=1.0)
...     for f, t in fq:
...         if t == FEventType.FlowPkt:
...             print(f.readline())
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from enum import IntFlag
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Optional, SupportsIndex, Union, cast

from . import _native
from ._owned import Owned
from .errors import FlowEventError, FlowEventTimeout

__all__ = [
    "BILLION",
    "DEFAULT_PEER_TIMEOUT",
    "FRCT_LINGER",
    "FRCT_RESCNTL",
    "FRCT_RETRANSMIT",
    "MILLION",
    "UINT32_MAX",
    "FEvent",
    "FEventQueue",
    "FEventType",
    "Flow",
    "FlowAllocatedException",
    "FlowDeallocWarning",
    "FlowDownException",
    "FlowEventError",
    "FlowEventTimeout",
    "FlowException",
    "FlowNotAllocatedException",
    "FlowPermissionException",
    "FlowProperties",
    "FlowSet",
    "IntFlag",
    "Optional",
    "QoSSpec",
    "errno",
    "flow_accept",
    "flow_alloc",
    "flow_join",
]


class FEventType(IntFlag):
    """What happened to a flow."""

    #: A packet can be read: one event per packet.
    FlowPkt = 1
    #: The flow went down.
    FlowDown = 2
    #: The flow is up again.
    FlowUp = 4
    #: An allocation that was not waited for succeeded.
    FlowAlloc = 8
    #: The other end deallocated the flow, or an allocation that was not waited for failed.
    FlowDealloc = 16
    #: The other end died or is silent.
    FlowPeer = 32


_TYPES = {int(kind): kind for kind in FEventType}


class FEvent(NamedTuple):
    """An event: the flow, which is the object that was added to the set, and the event's type."""

    flow: Flow
    type: FEventType


class _EndOfQueue(FEvent):
    """What FEventQueue.next() returns when no event is left: false, and not to be unpacked."""

    __slots__ = ()

    @staticmethod
    def _raise() -> NoReturn:
        raise FlowEventError(
            errno.EAGAIN, "no event is left in the queue; call FlowSet.wait() for more"
        )

    def __bool__(self) -> bool:
        return False

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Any]:
        self._raise()

    def __getitem__(self, index: Union[SupportsIndex, slice]) -> Any:
        self._raise()

    @property
    def flow(self) -> NoReturn:
        """Raises FlowEventError."""
        self._raise()

    @property
    def type(self) -> NoReturn:
        """Raises FlowEventError."""
        self._raise()

    def __repr__(self) -> str:
        return "<no event>"


class FEventQueue(_native.EventQueue):
    """Events, fetched by FlowSet.wait(). It is independent of the set that filled it."""

    def next(self) -> FEvent:
        """The next event as (flow, type). Never waits.

        When none is left: an object that is false and whose unpacking raises FlowEventError.
        """
        event = self._pop()
        if event is None:
            return tuple.__new__(_EndOfQueue, ())
        flow, kind = event
        return FEvent(cast("Flow", flow), _TYPES[kind])

    def __iter__(self) -> FEventQueue:
        return self

    def __next__(self) -> FEvent:
        event = self.next()
        if not event:
            raise StopIteration
        return event

    def close(self) -> None:
        """Drops the events."""
        self.clear()

    def __enter__(self) -> FEventQueue:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.clear()


class FlowSet(Owned, _native.FlowSet):
    """Flows to wait for, made from any iterable of flows.

    Its end, by destroy(), close() or a with-statement, leaves the flows allocated and the events
    that were moved to a queue valid.
    """

    def __new__(cls, flows: Optional[Iterable[Flow]] = None) -> FlowSet:
        """Refuses a flow in place of flows, which is iterable too and would lose its messages."""
        if isinstance(flows, _native.Flow):
            raise TypeError("FlowSet takes an iterable of flows; write FlowSet([flow])")
        return super().__new__(cls, flows)

    def select(self, timeo: Optional[float] = None) -> list[FEvent]:
        """Waits like wait() and returns the events; an empty list when the time limit passes."""
        queue = FEventQueue()
        try:
            self.wait(queue, timeo)
        except FlowEventTimeout:
            return []
        return list(queue)

    def close(self) -> None:
        """Destroys the set."""
        self.destroy()

    def __iter__(self) -> Iterator[Flow]:
        return iter(cast("list[Flow]", self.flows()))

    def __repr__(self) -> str:
        if self.closed:
            return "<FlowSet destroyed>"
        return f"<FlowSet of {len(self)} flows>"


# At the end: dev.py needs the classes above. Everything of `dev` is exported here as well.
from .dev import (  # noqa: E402
    BILLION,
    DEFAULT_PEER_TIMEOUT,
    FRCT_LINGER,
    FRCT_RESCNTL,
    FRCT_RETRANSMIT,
    MILLION,
    UINT32_MAX,
    Flow,
    FlowAllocatedException,
    FlowDeallocWarning,
    FlowDownException,
    FlowException,
    FlowNotAllocatedException,
    FlowPermissionException,
    FlowProperties,
    QoSSpec,
    flow_accept,
    flow_alloc,
    flow_join,
)
