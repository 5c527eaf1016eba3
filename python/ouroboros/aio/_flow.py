"""Flows of an event loop: waiting for them, reading, writing, allocation."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Optional, TypeVar

from .. import _native
from ..dev import Flow as SyncFlow
from ..dev import FlowStats
from ..errors import (
    FlowDownException,
    FlowNotAllocatedException,
    FlowPeerException,
    OuroborosError,
)
from ..qos import QoSSpec

if TYPE_CHECKING:
    from typing_extensions import Buffer, Self

#: After so many calls in a row that need not wait, others have their turn.
_FAIR: Final = 64

_T = TypeVar("_T")


class _Reactor:
    """Wakes the flows of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._native = _native.Reactor()
        self._tokens = itertools.count()
        self._waiting: dict[int, Callable[[], None]] = {}
        for fd in self._native.filenos():
            loop.add_reader(fd, self._ready)

    def watch(self, flow: SyncFlow) -> tuple[int, _native.Watch]:
        token = next(self._tokens)
        return token, self._native.watch(flow, token)

    def call(self, token: int, wake: Callable[[], None]) -> None:
        """Calls *wake* at each news of the flow *token*, until forget()."""
        self._waiting[token] = wake

    def forget(self, token: int) -> None:
        self._waiting.pop(token, None)

    def _ready(self) -> None:
        waiting = self._waiting
        for token in self._native.take():
            wake = waiting.get(token)
            if wake is not None:
                wake()


_reactors: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Reactor] = (
    weakref.WeakKeyDictionary()
)


def reactor_of(loop: asyncio.AbstractEventLoop) -> _Reactor:
    reactor = _reactors.get(loop)
    if reactor is None:
        reactor = _reactors[loop] = _Reactor(loop)
    return reactor


class Flow:
    """A flow whose calls are awaited. It belongs to the event loop that it was made in.

    Get one from open_flow() or accept_flow(), or wrap an allocated flow of ouroboros.dev. The
    time limits and NonBlocking flags of that flow are not used.
    """

    __slots__ = (
        "__weakref__",
        "_closed",
        "_closing",
        "_flow",
        "_loop",
        "_reactor",
        "_token",
        "_turns",
        "_waiters",
        "_watch",
    )

    def __init__(self, flow: SyncFlow) -> None:
        self._closed = False
        self._flow = flow
        self._loop = asyncio.get_running_loop()
        self._reactor = reactor_of(self._loop)
        self._token, self._watch = self._reactor.watch(flow)
        self._waiters: list[asyncio.Future[None]] = []
        self._closing: list[asyncio.Future[None]] = []
        self._turns = _FAIR

    # Waiting

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        self._reactor.forget(self._token)
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _news(self) -> None:
        """Waits for news of the flow, whatever they are; watched before the call."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        self._reactor.call(self._token, self._wake)
        try:
            await waiter
        finally:
            # Cancelled: nobody may be left to be woken.
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                if not self._waiters:
                    self._reactor.forget(self._token)

    async def _turn(self) -> None:
        self._turns = _FAIR
        await asyncio.sleep(0)

    async def _reading(self, attempt: Callable[..., Optional[_T]], *arguments: Any) -> _T:
        while True:
            outcome = attempt(*arguments)
            if outcome is not None:
                return outcome
            if not self._watch.readable():
                self._turns = _FAIR
                await self._news()

    async def _writing(self, length: int, attempt: Callable[..., Optional[int]], *args: Any) -> int:
        while True:
            outcome = attempt(*args)
            if outcome is not None:
                return outcome
            if not self._watch.writable(length):
                self._turns = _FAIR
                await self._news()

    # Reading

    async def read(self, count: Optional[int] = None) -> bytes:
        """Reads one packet; with *count*, at most so many bytes of it.

        The rest of a packet is returned by the next reads. Raises FlowDownException when the other
        end has deallocated the flow and all packets are read.
        """
        self._turns -= 1
        if self._turns < 0:
            await self._turn()
        packet = self._flow._try_read(count)
        if packet is not None:
            return packet
        return await self._reading(self._flow._try_read, count)

    async def readline(self, count: Optional[int] = None) -> str:
        """Reads one packet as UTF-8 text; with *count*, at most so many characters of it."""
        self._turns -= 1
        if self._turns < 0:
            await self._turn()
        text = self._flow._try_readline(count)
        if text is not None:
            return text
        return await self._reading(self._flow._try_readline, count)

    async def read_into(self, buffer: Buffer, nbytes: int = 0) -> int:
        """Reads into a writable buffer like read(count), at most *nbytes* bytes (0 = what fits)."""
        self._turns -= 1
        if self._turns < 0:
            await self._turn()
        return await self._reading(self._flow._try_read_into, buffer, nbytes)

    async def read_many(self, max: int) -> list[bytes]:
        """Reads up to *max* packets: waits for the first and takes those that are there."""
        self._turns -= 1
        if self._turns < 0:
            await self._turn()
        return await self._reading(self._flow._try_read_many, max)

    # Writing

    async def write(self, buf: Buffer, count: Optional[int] = None) -> int:
        """Writes one packet of at most *count* bytes of a bytes-like object; its length."""
        self._turns -= 1
        if self._turns < 0:
            await self._turn()
        length = self._flow._try_write(buf, count)
        if length is not None:
            return length
        whole = memoryview(buf).nbytes
        length = whole if count is None else min(count, whole)
        return await self._writing(length, self._flow._try_write, buf, count)

    async def writeline(self, ln: str, count: Optional[int] = None) -> int:
        """Writes the first *count* characters of a text as one UTF-8 packet; its length in bytes.

        No newline is added.
        """
        if not isinstance(ln, str):
            raise TypeError(f"ln must be a str, not {type(ln).__name__}")
        if count is not None:
            if count < 0:
                raise ValueError(f"count must not be negative, it is {count}")
            ln = ln[:count]
        return await self.write(ln.encode())

    async def write_many(self, packets: Iterable[Buffer]) -> int:
        """Writes packets, one for each bytes-like object, and returns how many were accepted.

        Less than all only if the flow ended meanwhile. When it is cancelled, some may be written.
        """
        self._turns -= 1
        if self._turns < 0:
            await self._turn()
        batch = _native._packets(packets)
        sent = self._flow._try_write_many(batch)
        while sent < len(batch):
            try:
                if not self._watch.writable(memoryview(batch[sent]).nbytes):
                    self._turns = _FAIR
                    await self._news()
                sent += self._flow._try_write_many(batch, sent)
            except OuroborosError:
                if sent == 0:
                    raise
                break
        return sent

    # End

    def close(self) -> None:
        """Deallocates the flow; calls that wait raise FlowNotAllocatedException. Never raises.

        The other end reads what was written, then learns of it.
        """
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OuroborosError):
            # A reliable flow goes on sending in the background.
            self._flow._dealloc(False)
        self._wake()
        closing, self._closing = self._closing, []
        for waiter in closing:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_closed(self) -> None:
        """Waits until close() was called, here or by another task."""
        if self._closed:
            return
        waiter = self._loop.create_future()
        self._closing.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._closing:
                self._closing.remove(waiter)

    def is_closing(self) -> bool:
        """Whether close() was called."""
        return self._closed

    @property
    def closed(self) -> bool:
        """Whether the flow is not allocated any more."""
        return self._flow.closed

    # What it is

    @property
    def flow(self) -> SyncFlow:
        """The flow of ouroboros.dev."""
        return self._flow

    @property
    def fd(self) -> int:
        """The flow descriptor, which is not one of the operating system."""
        return self._flow.fd

    @property
    def name(self) -> Optional[str]:
        """The name that the flow was allocated to, or None when closed."""
        return self._flow.name

    @property
    def state(self) -> str:
        """'unallocated', 'allocated', 'down' or 'peer gone'."""
        return self._flow.state

    @property
    def peer_pid(self) -> int:
        """Process id of the other end, if it is on this machine."""
        return self._flow.peer_pid

    @property
    def max_packet(self) -> int:
        """The largest packet in bytes that write() takes."""
        return self._flow.max_packet

    @property
    def peer_name(self) -> Optional[str]:
        """The name in the certificate with which the other end proved who it is, or None."""
        return self._flow.peer_name

    def get_qos(self) -> QoSSpec:
        """The QoS of the flow."""
        return self._flow.get_qos()

    def stats(self) -> FlowStats:
        """Counters: packets and bytes read and written, packets queued."""
        return self._flow.stats()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.read()
        except FlowPeerException:
            raise
        except FlowDownException:
            raise StopAsyncIteration from None
        except FlowNotAllocatedException:
            if self._closed:
                raise StopAsyncIteration from None
            raise

    def __enter__(self) -> NoReturn:
        raise TypeError("a flow of ouroboros.aio needs 'async with', not 'with'")

    def __exit__(self, *_: object) -> None:
        """Never called: __enter__() raises."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<aio.{type(self).__name__} of {self._flow!r}>"


async def obtain(request: _native.Request) -> SyncFlow:
    """The flow of a request; a request that is not waited for is given up."""
    loop = asyncio.get_running_loop()
    flow = SyncFlow()
    try:
        while not request.finish(flow):
            fd = request.fileno()
            if fd < 0:
                continue
            ready = loop.create_future()

            def wake(ready: asyncio.Future[None] = ready) -> None:
                if not ready.done():
                    ready.set_result(None)

            loop.add_reader(fd, wake)
            try:
                await ready
            finally:
                # Before the descriptor goes back to its pool.
                loop.remove_reader(fd)
    except BaseException:
        request.cancel()
        raise
    return flow


def time_limit(timeo: Optional[float], timeout: Optional[float]) -> Optional[float]:
    if timeo is not None and timeout is not None:
        raise TypeError("timeo and timeout are the same time limit; give one of them")
    return timeo if timeout is None else timeout


async def open_flow(
    dst: str,
    qos: Optional[QoSSpec] = None,
    timeo: Optional[float] = None,
    *,
    timeout: Optional[float] = None,
) -> Flow:
    """Allocates a flow to the name *dst*.

    *timeout* (or *timeo*): seconds; None = the daemon's limit (20 s).
    """
    asked, kex = SyncFlow._requested(qos)
    request = _native.Request.alloc(dst, asked, time_limit(timeo, timeout), kex)
    return Flow(await obtain(request))


async def accept_flow(timeo: Optional[float] = None, *, timeout: Optional[float] = None) -> Flow:
    """Waits for a flow to a name that this process is bound to.

    *timeout* (or *timeo*): seconds; None = for ever. Raises TimeoutError when it passes.
    """
    return Flow(await obtain(_native.Request.accept(time_limit(timeo, timeout))))


async def join_flow(
    dst: str, timeo: Optional[float] = None, *, timeout: Optional[float] = None
) -> Flow:
    """Joins the broadcast layer *dst*."""
    return Flow(await obtain(_native.Request.join(dst, time_limit(timeo, timeout))))
