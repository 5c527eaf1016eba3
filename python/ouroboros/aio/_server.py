"""Servers: they accept flows in an event loop and hand them on."""

from __future__ import annotations

import asyncio
import inspect
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Optional, Union

from ..dev import Flow as SyncFlow
from ..errors import OuroborosError
from ..listener import Listener
from ._flow import Flow
from ._protocol import FlowTransport, Protocol

if TYPE_CHECKING:
    from typing_extensions import Self

#: What a server keeps of a flow that it has accepted.
_Client = Union[Flow, FlowTransport]


class Server:
    """A server: what start_server() and create_server() return. It accepts until close()."""

    def __init__(self, serve: Callable[[SyncFlow], Optional[_Client]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._serve = serve
        self._listener = Listener()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._clients: weakref.WeakSet[_Client] = weakref.WeakSet()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        # Some at once, not all: flows that are served have their turn.
        for _ in range(16):
            flow = SyncFlow()
            try:
                if not self._listener._try_accept(flow):
                    return
            except OuroborosError as error:
                self._report("the server cannot accept flows and is closed", error)
                self.close()
                return
            try:
                client = self._serve(flow)
            except Exception as error:
                flow.close()
                self._report("a new flow could not be served", error)
            else:
                if client is not None:
                    self._clients.add(client)

    def _report(self, message: str, error: BaseException) -> None:
        self._loop.call_exception_handler({"message": message, "exception": error})

    def _run(self, coroutine: Coroutine[Any, Any, Any], flow: Flow) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)

        def ended(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                flow.close()
                return
            error = task.exception()
            if error is not None:
                flow.close()
                self._report("a flow's callback raised an exception", error)

        task.add_done_callback(ended)

    def close(self) -> None:
        """Stops to accept. Flows that were accepted go on."""
        if self._listener.closed:
            return
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        if not self._done.done():
            self._done.set_result(None)

    def close_clients(self) -> None:
        """Closes the flows that were accepted and are still in use."""
        for client in list(self._clients):
            client.close()

    def is_serving(self) -> bool:
        """Whether flows are accepted."""
        return not self._listener.closed

    async def wait_closed(self) -> None:
        """Waits for close() and for the callbacks that serve flows."""
        await asyncio.shield(self._done)
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    async def serve_forever(self) -> None:
        """Serves until it is cancelled, or close() is called; the server is closed then."""
        try:
            await asyncio.shield(self._done)
        finally:
            self.close()

    def __enter__(self) -> NoReturn:
        raise TypeError("a server of ouroboros.aio needs 'async with', not 'with'")

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
        await self.wait_closed()

    def __repr__(self) -> str:
        state = "serving" if self.is_serving() else "closed"
        return f"<aio.Server {state}>"


async def start_server(
    client_connected_cb: Callable[[Flow], Union[Awaitable[None], None]],
) -> Server:
    """Starts to accept flows to the names of this process and calls back with each, an aio.Flow.

    A coroutine function is run as a task. The callback closes the flow when it is done with it,
    for example with ``async with flow:``; a flow whose callback raises is closed.
    """
    if not callable(client_connected_cb):
        raise TypeError(
            f"client_connected_cb must be callable, not {type(client_connected_cb).__name__}; "
            "names are bound with node.bind() or ouroboros.names.bound()"
        )

    def serve(accepted: SyncFlow) -> Flow:
        flow = Flow(accepted)
        outcome = client_connected_cb(flow)
        if inspect.iscoroutine(outcome):
            server._run(outcome, flow)
        return flow

    server = Server(serve)
    return server


async def create_server(protocol_factory: Callable[[], Protocol]) -> Server:
    """Starts to accept flows to the names of this process, with a new protocol for each."""
    return Server(lambda flow: FlowTransport(flow, protocol_factory()))
