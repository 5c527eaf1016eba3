"""Protocols: callbacks for a flow, in the manner of asyncio's transports and protocols."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, Optional, TypeVar

from .. import _native
from ..dev import Flow as SyncFlow
from ..errors import (
    FlowDownException,
    FlowNotAllocatedException,
    FlowPeerException,
    OuroborosError,
)
from ..qos import QoSSpec
from ._flow import obtain, reactor_of, time_limit

#: Packets that a protocol gets in a row.
_BATCH: Final = 64


class Protocol(asyncio.BaseProtocol):
    """Callbacks for a flow, in the manner of asyncio.DatagramProtocol; to be overridden.

    Its order is: connection_made, then datagram_received and error_received, then connection_lost.
    pause_writing and resume_writing say when the transport has much to send.
    """

    def datagram_received(self, data: bytes) -> None:
        """Called with each packet."""

    def error_received(self, exc: Exception) -> None:
        """Called when a packet could not be written; the flow goes on."""


class FlowTransport(asyncio.Transport):
    """A flow below a Protocol. write() never waits: what the flow does not take is kept."""

    def __init__(self, flow: SyncFlow, protocol: Protocol) -> None:
        super().__init__({"flow": flow, "name": flow.name, "qos": flow.get_qos()})
        self._flow = flow
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._reactor = reactor_of(self._loop)
        self._token, self._watch = self._reactor.watch(flow)
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._high, self._low = 64 * 1024, 16 * 1024
        self._paused = False
        self._writing_paused = False
        self._closing = False
        self._lost = False
        protocol.connection_made(self)
        self._loop.call_soon(self._start)

    def _start(self) -> None:
        if not self._lost:
            self._reactor.call(self._token, self._news)
            self._news()

    def _news(self) -> None:
        if self._queue:
            self._flush()
        self._receive()

    # Receiving

    def _receive(self) -> None:
        if self._paused or self._closing or self._lost:
            return
        try:
            packets = self._flow._try_read_many(_BATCH)
            for packet in packets or ():
                self._protocol.datagram_received(packet)
                if self._closing:
                    return
            if packets or self._watch.readable():
                # There may be more: after the others.
                self._loop.call_soon(self._receive)
        except FlowPeerException as error:
            self._lose(error)
        except (FlowDownException, FlowNotAllocatedException):
            self._lose(None)
        except OuroborosError as error:
            self._lose(error)

    def pause_reading(self) -> None:
        """Keeps packets in the flow until resume_reading(); those read already still come."""
        self._paused = True

    def resume_reading(self) -> None:
        """Ends pause_reading()."""
        if self._paused:
            self._paused = False
            self._loop.call_soon(self._receive)

    def is_reading(self) -> bool:
        """Whether packets are received."""
        return not (self._paused or self._closing)

    # Sending

    def write(self, data: Any) -> None:
        """Writes one packet, now or when there is room."""
        if self._closing or self._lost:
            return
        if not self._queue:
            try:
                if self._flow._try_write(data) is not None:
                    return
            except (FlowDownException, FlowNotAllocatedException):
                # connection_lost() says so, after the packets that are still to be read.
                return
            except OuroborosError as error:
                self._protocol.error_received(error)
                return
        packet = bytes(data)
        self._queue.append(packet)
        self._queued += len(packet)
        if self._queued > self._high and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()
        self._flush()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Writes packets, one for each element."""
        for data in list_of_data:
            self.write(data)

    def _flush(self) -> None:
        """Writes what is queued as far as there is room, and has the rest watched."""
        try:
            while self._queue:
                packet = self._queue[0]
                try:
                    if self._flow._try_write(packet) is None:
                        if self._watch.writable(len(packet)):
                            continue
                        return
                except (FlowDownException, FlowNotAllocatedException):
                    raise
                except OuroborosError as error:
                    self._protocol.error_received(error)
                self._queue.popleft()
                self._queued -= len(packet)
        except (FlowDownException, FlowNotAllocatedException) as error:
            self._queue.clear()
            self._queued = 0
            if self._closing:
                self._lose(error)
            return
        if self._closing:
            self._lose(None)
        elif self._writing_paused and self._queued <= self._low:
            self._writing_paused = False
            self._protocol.resume_writing()

    def can_write_eof(self) -> bool:
        """No: a flow is closed in both directions."""
        return False

    def get_write_buffer_size(self) -> int:
        """The number of bytes that the flow has not taken yet."""
        return self._queued

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The limits of set_write_buffer_limits(): (low, high)."""
        return self._low, self._high

    def set_write_buffer_limits(
        self, high: Optional[int] = None, low: Optional[int] = None
    ) -> None:
        """Sets when pause_writing() and resume_writing() are called, in bytes."""
        if high is None:
            high = 64 * 1024 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be at least low ({low}), and that at least 0")
        self._high, self._low = high, low

    # End

    def is_closing(self) -> bool:
        """Whether the transport is closed or closing."""
        return self._closing or self._lost

    def close(self) -> None:
        """Writes what is queued, then deallocates the flow and calls connection_lost(None)."""
        if not self.is_closing():
            self._closing = True
            if not self._queue:
                self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        """Deallocates the flow at once; what is queued is dropped."""
        self._closing = True
        self._queue.clear()
        self._queued = 0
        self._loop.call_soon(self._lose, None)

    def _lose(self, error: Optional[Exception]) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._queue.clear()
        self._queued = 0
        self._reactor.forget(self._token)
        self._flow.close()
        self._loop.call_soon(self._protocol.connection_lost, error)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Gives the next callbacks to another Protocol."""
        if not isinstance(protocol, Protocol):
            raise TypeError(f"protocol must be an aio.Protocol, not {type(protocol).__name__}")
        self._protocol = protocol

    def get_protocol(self) -> Protocol:
        """The protocol."""
        return self._protocol

    def __repr__(self) -> str:
        return f"<aio.FlowTransport of {self._flow!r}>"


_P = TypeVar("_P", bound=Protocol)


async def create_flow(
    protocol_factory: Callable[[], _P],
    dst: str,
    qos: Optional[QoSSpec] = None,
    timeo: Optional[float] = None,
    *,
    timeout: Optional[float] = None,
) -> tuple[FlowTransport, _P]:
    """Allocates a flow to the name *dst* for a protocol; returns (transport, protocol).

    In the manner of loop.create_datagram_endpoint().
    """
    asked, kex = SyncFlow._requested(qos)
    request = _native.Request.alloc(dst, asked, time_limit(timeo, timeout), kex)
    flow = await obtain(request)
    try:
        protocol = protocol_factory()
        return FlowTransport(flow, protocol), protocol
    except BaseException:
        flow.close()
        raise
