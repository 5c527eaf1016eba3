"""Flows: allocate them to names, accept them, read and write messages.

>>> from ouroboros.dev import *
>>> with flow_alloc("oecho") as f:                      # doctest: +SKIP
...     f.writeline("Hello, PyOuroboros!")
...     print(f.readline())
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from enum import IntFlag
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple, Optional, Union

from . import _native
from ._owned import Owned
from .errors import (
    FlowAllocatedException,
    FlowDeallocWarning,
    FlowDownException,
    FlowEOFError,
    FlowEventError,
    FlowException,
    FlowNotAllocatedException,
    FlowNotSupportedError,
    FlowPeerException,
    FlowPermissionException,
    OuroborosError,
)
from .qos import BILLION, DEFAULT_PEER_TIMEOUT, MILLION, UINT32_MAX, QoSSpec

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "BILLION",
    "DEFAULT_PEER_TIMEOUT",
    "FRCT_LINGER",
    "FRCT_RESCNTL",
    "FRCT_RETRANSMIT",
    "MILLION",
    "UINT32_MAX",
    "FEventQueue",
    "FEventType",
    "Flow",
    "FlowAllocatedException",
    "FlowDeallocWarning",
    "FlowDownException",
    "FlowEventError",
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

FRCT_RETRANSMIT: Final = 1
FRCT_RESCNTL: Final = 2
FRCT_LINGER: Final = 4

_RAW: Final = QoSSpec.raw()


class FlowProperties(IntFlag):
    """Flags of a flow. One of ReadOnly, WriteOnly, ReadWrite is part of every value."""

    ReadOnly = 0
    WriteOnly = 0o1
    ReadWrite = 0o2
    Down = 0o4
    NonBlockingRead = 0o1000
    NonBlockingWrite = 0o2000
    NonBlocking = 0o3000
    NoPartialRead = 0o10000
    NoPartialWrite = 0o20000


class FlowStats(NamedTuple):
    """Counters of a flow."""

    packets_read: int
    bytes_read: int
    packets_written: int
    bytes_written: int
    rx_queue: int
    tx_queue: int
    #: Packets that arrived damaged or forged and were dropped.
    packets_discarded: int


class PacketView:
    """A packet that is read where it lies. See Flow.recv_view()."""

    __slots__ = ("_packet", "_view")

    def __init__(self, packet: Buffer) -> None:
        self._packet: Optional[Buffer] = packet
        self._view: Optional[memoryview] = memoryview(packet)

    def release(self) -> None:
        """Gives the packet back. A second call does nothing.

        The space is free as soon as no slice of the view is left. Raises BufferError while another
        object, such as an array, uses the view.
        """
        if self._view is not None:
            self._view.release()
        self._view = self._packet = None

    def __enter__(self) -> memoryview:
        if self._view is None:
            raise ValueError("the view of the packet is released; read the next with recv_view()")
        return self._view

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.release()

    def __len__(self) -> int:
        return 0 if self._view is None else len(self._view)


class Flow(Owned, _native.Flow):
    """A flow: messages to and from a program that was found by its name.

    Get one from flow_alloc(), flow_accept() or flow_join(), or make an unallocated one with Flow()
    and call its alloc(), accept() or join(). After dealloc() it can be allocated again. All calls
    may be made from any thread.
    """

    def alloc(
        self, dst: str, qos: Optional[QoSSpec] = None, timeo: Optional[float] = None
    ) -> QoSSpec:
        """Allocates a flow to the name *dst* and returns the QoS it has got.

        *timeo*: seconds; None = the daemon's limit (20 s). With 0 (or less) the call returns at
        once; a flow that is not ready then is pending: I/O raises FlowNotAllocatedException with
        errno EINPROGRESS, and the event FlowAlloc (or FlowDealloc, when it failed) tells the
        outcome.
        """
        _check_name(dst)
        request, kex = self._requested(qos)
        return QoSSpec._from_fields(self._alloc(dst, request, timeo, kex) or request)

    @staticmethod
    def _requested(qos: Optional[QoSSpec]) -> tuple[_native._QoS, str]:
        """The QoS to ask for, and the key exchange."""
        asked = _RAW if qos is None else qos
        if not isinstance(asked, QoSSpec):
            if callable(asked):
                hint = "call what makes one: QoSSpec.data()"
            else:
                hint = "a time limit is given by name: timeo=5"
            raise TypeError(f"qos must be a QoSSpec or None, not {type(asked).__name__}; {hint}")
        return asked._request(), asked.kex

    def accept(self, timeo: Optional[float] = None) -> QoSSpec:
        """Waits for a flow to a name that this process is bound to; returns the flow's QoS.

        *timeo*: seconds; None = for ever, 0 (or less) = only what waits already. Raises
        TimeoutError when it passes.
        """
        if isinstance(timeo, str):
            raise TypeError(
                f"accept takes no name, only a time limit in seconds; bind this process with "
                f"node.bind({timeo!r}) or 'irm bind' to get the flows to the name"
            )
        fields = self._accept(timeo)
        assert fields is not None  # Only alloc and join can be pending.
        return QoSSpec._from_fields(fields)

    def join(
        self,
        dst: str,
        qos: Union[QoSSpec, float, None] = None,
        timeo: Optional[float] = None,
    ) -> None:
        """Joins the broadcast layer *dst*.

        The QoS of such a flow is fixed: *qos* is accepted and not used, except that encryption
        raises an error. A number in second place is the time limit.
        """
        _check_name(dst)
        if isinstance(qos, QoSSpec):
            if qos.cypher_s > 0:
                raise FlowNotSupportedError(
                    errno.ENOTSUP,
                    f"cannot join {dst!r} with cypher_s={qos.cypher_s}: flows of broadcast layers "
                    "are not encrypted end to end; leave cypher_s out",
                )
        elif qos is not None:
            if timeo is not None:
                raise TypeError("join() got two time limits, in second and in third place")
            timeo = qos
        self._join(dst, timeo)

    def dealloc(self) -> None:
        """Deallocates the flow.

        A reliable flow over a layer waits until the other end has acknowledged what was written,
        unless FRCT_LINGER is off.

        The Flow is unallocated afterwards in every case. Raises FlowDeallocWarning when it was not
        allocated or the daemon could not be told; close() does the same in silence.
        """
        try:
            self._dealloc()
        except OuroborosError as error:
            raise FlowDeallocWarning(error.errno, error.strerror) from None

    def close(self) -> None:
        """Deallocates the flow if it is allocated. Never raises."""
        with contextlib.suppress(OuroborosError):
            self._dealloc()

    @property
    def closed(self) -> bool:
        """Whether the flow is not allocated (nor pending)."""
        return self.state == "unallocated"

    def get_qos(self) -> QoSSpec:
        """The QoS of the flow."""
        return QoSSpec._from_fields(self._qos())

    def set_flags(self, flags: FlowProperties) -> None:
        """Replaces all flags: give the access mode too, or the flow becomes read-only."""
        if not isinstance(flags, int):
            raise TypeError(f"flags must be FlowProperties, not {type(flags).__name__}")
        self._set_flags(int(flags))

    def get_flags(self) -> FlowProperties:
        """The flags."""
        return FlowProperties(self._flags())

    def setblocking(self, flag: bool) -> None:
        """Lets reads and writes wait, or not. Other flags stay as they are."""
        flags = self._flags()
        bits = int(FlowProperties.NonBlocking)
        self._set_flags(flags & ~bits if flag else flags | bits)

    def getblocking(self) -> bool:
        """Whether reads or writes wait."""
        bits = int(FlowProperties.NonBlocking)
        return self._flags() & bits != bits

    def settimeout(self, timeo: Optional[float]) -> None:
        """Sets the time limit of reads and writes in seconds; None = wait for ever."""
        self.set_rcv_timeout(timeo)
        self.set_snd_timeout(timeo)

    def gettimeout(self) -> Optional[float]:
        """The time limit of reads in seconds, or None."""
        return self.get_rcv_timeout()

    def stats(self) -> FlowStats:
        """Counters: packets and bytes read and written, packets queued."""
        return FlowStats(*self._stats())

    readinto = _native.Flow.read_into

    def recv_view(self) -> PacketView:
        """Waits for the next packet and gives it as a memoryview of where it lies, uncopied.

        >>> with flow.recv_view() as view:                  # doctest: +SKIP
        ...     parse(view)

        The view is read-only; its use after the with-statement raises ValueError. Until its end no
        other read of the flow is possible. The other end is able to change the bytes meanwhile:
        copy what you check. The flow may be deallocated first; its memory stays for the view.
        """
        return PacketView(self._packet())

    # As in multiprocessing.connection.Connection

    def send_bytes(self, buf: Buffer, offset: int = 0, size: Optional[int] = None) -> None:
        """Writes one packet: *size* bytes of a bytes-like object from *offset* on."""
        with memoryview(buf) as whole, whole.cast("B") as view:
            if offset < 0:
                raise ValueError(f"offset must not be negative, it is {offset}")
            if offset > len(view):
                raise ValueError(f"offset ({offset}) is past the end of the buffer ({len(view)})")
            if size is None:
                size = len(view) - offset
            elif size < 0:
                raise ValueError(f"size must not be negative, it is {size}")
            elif offset + size > len(view):
                raise ValueError(
                    f"the buffer has {len(view)} bytes, fewer than offset + size ({offset + size})"
                )
            with view[offset : offset + size] as part:
                self.write(part)

    def recv_bytes(self, maxlength: Optional[int] = None) -> bytes:
        """Reads one packet. Raises EOFError, too, when the other end has deallocated the flow.

        A packet of more than *maxlength* bytes is dropped and raises OSError.
        """
        if maxlength is not None and maxlength < 0:
            raise ValueError(f"maxlength must not be negative, it is {maxlength}")
        packet = self._receive()
        if maxlength is not None and len(packet) > maxlength:
            raise FlowException(
                errno.EMSGSIZE,
                f"the packet has {len(packet)} bytes, more than maxlength ({maxlength}); it is "
                "dropped",
            )
        return packet

    def recv_bytes_into(self, buf: Buffer, offset: int = 0) -> int:
        """Reads one packet into a writable buffer from *offset* on and returns its length.

        A packet that does not fit raises multiprocessing.BufferTooShort, which has it in args[0].
        """
        with memoryview(buf) as whole, whole.cast("B") as view:
            if not 0 <= offset <= len(view):
                raise ValueError(f"offset ({offset}) is not in the buffer of {len(view)} bytes")
            packet = self._receive()
            if len(packet) > len(view) - offset:
                from multiprocessing import BufferTooShort

                raise BufferTooShort(packet)
            view[offset : offset + len(packet)] = packet
            return len(packet)

    def _receive(self) -> bytes:
        try:
            return self.read()
        except FlowPeerException:
            raise
        except FlowDownException as error:
            raise FlowEOFError(error.errno, error.strerror) from None

    def __iter__(self) -> Iterator[bytes]:
        """Packets until the flow goes down. A dead peer raises FlowPeerException."""
        while True:
            try:
                packet = self.read()
            except FlowPeerException:
                raise
            except FlowDownException:
                return
            yield packet

    def __repr__(self) -> str:
        state = self.state
        name = type(self).__name__
        if state == "unallocated":
            return f"<{name} unallocated>"
        qos = "" if state == "pending" else f" {self._qos_text()}"
        return f"<{name} {state} fd={self.fd} name={self.name!r}{qos}>"

    def _qos_text(self) -> str:
        try:
            return repr(self.get_qos())
        except OuroborosError:
            return "QoS unknown"


def _check_name(name: str) -> None:
    if not isinstance(name, str):
        raise TypeError(f"a name must be a str, not {type(name).__name__}")


def flow_alloc(dst: str, qos: Optional[QoSSpec] = None, timeo: Optional[float] = None) -> Flow:
    """Allocates a flow to the name *dst*. See Flow.alloc()."""
    flow = Flow()
    flow.alloc(dst, qos, timeo)
    return flow


def flow_accept(timeo: Optional[float] = None) -> Flow:
    """Waits for a flow to a name that this process is bound to. See Flow.accept()."""
    flow = Flow()
    flow.accept(timeo)
    return flow


def flow_join(
    dst: str, qos: Union[QoSSpec, float, None] = None, timeo: Optional[float] = None
) -> Flow:
    """Joins the broadcast layer *dst*. See Flow.join()."""
    flow = Flow()
    flow.join(dst, qos, timeo)
    return flow


# Known to the daemon before the first call, so that `irm bind process` finds this process. Without
# a daemon the first call tries again, and says so.
with contextlib.suppress(OuroborosError):
    _native.announce()

# At the end: they need Flow. The documented programs import events from here.
from .event import FEventQueue, FEventType, FlowSet  # noqa: E402
from .listener import Listener as Listener  # noqa: E402
from .listener import listen as listen  # noqa: E402
