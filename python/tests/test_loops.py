"""The descriptors of flows, sets and listeners in other people's loops (api.md C3)."""

import selectors
import threading

import pytest
from conftest import PATIENCE, settle

from ouroboros import aio
from ouroboros.dev import *
from ouroboros.dev import listen

COUNT = 200


def echo(flow, count=COUNT):
    """The other end, in a thread."""

    def body():
        for _ in range(count):
            flow.write(flow.read())

    thread = threading.Thread(target=body)
    thread.start()
    return thread


def test_selectors(name, pair):
    """A set, a flow and a listener in one selector."""
    thread = echo(pair.client)
    numbers = []
    with listen() as listener, FlowSet() as fset, selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ, "accept")
        selector.register(pair.server, selectors.EVENT_READ, "read")
        selector.register(fset, selectors.EVENT_READ, "set")
        extra = Flow()
        extra.alloc(name, timeo=0)
        accepted = None
        pair.server.write(b"0")
        while len(numbers) < COUNT or accepted is None:
            ready = selector.select(PATIENCE)
            assert ready
            for key, _ in ready:
                if key.data == "read":
                    numbers.append(int(pair.server.read()))
                    if len(numbers) < COUNT:
                        pair.server.write(b"%d" % len(numbers))
                elif key.data == "accept":
                    accepted = listener.accept(0)
                    fset.add(accepted)
                    accepted.write(b"hello")
        assert selector.select(0) == [] or fset.select(0) == []
        settle(extra)
        assert extra.read() == b"hello"
        extra.write(b"to the set")
        while not any(key.data == "set" for key, _ in selector.select(PATIENCE)):
            pass
        assert [flow for flow, _ in fset.select(0)] == [accepted]
        assert accepted.read() == b"to the set"
        extra.close()
        accepted.close()
    thread.join()
    assert numbers == list(range(COUNT))


def test_trio(pair):
    trio = pytest.importorskip("trio")
    thread = echo(pair.client)

    async def main():
        with trio.fail_after(PATIENCE):
            for number in range(COUNT):
                pair.server.write(b"%d" % number)
                await trio.lowlevel.wait_readable(pair.server.fileno())
                assert pair.server.read() == b"%d" % number

    trio.run(main)
    thread.join()


def test_trio_listener(name):
    trio = pytest.importorskip("trio")

    async def main():
        with trio.fail_after(PATIENCE), listen() as listener:
            client = Flow()
            client.alloc(name, timeo=0)
            await trio.lowlevel.wait_readable(listener.fileno())
            with listener.accept(0) as server, client:
                server.write(b"hello")
                settle(client)
                await trio.lowlevel.wait_readable(client.fileno())
                assert client.read() == b"hello"

    trio.run(main)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio(pair, backend):
    anyio = pytest.importorskip("anyio")
    if not hasattr(anyio, "wait_readable"):
        pytest.skip("this anyio waits for sockets only")
    if backend == "trio":
        pytest.importorskip("trio")
    thread = echo(pair.client)

    async def main():
        with anyio.fail_after(PATIENCE):
            for number in range(COUNT):
                pair.server.write(b"%d" % number)
                await anyio.wait_readable(pair.server)
                assert pair.server.read() == b"%d" % number

    anyio.run(main, backend=backend)
    thread.join()


def test_anyio_time_limits_over_aio(name):
    anyio = pytest.importorskip("anyio")

    async def main():
        async with anyio.create_task_group() as tasks:

            async def serve():
                async with await aio.accept_flow() as flow:
                    async for packet in flow:
                        await flow.write(packet)

            tasks.start_soon(serve)
            async with await aio.open_flow(name) as flow:
                with anyio.move_on_after(0.01) as scope:
                    await flow.read()
                assert scope.cancelled_caught
                await flow.write(b"x")
                with anyio.fail_after(PATIENCE):
                    assert await flow.read() == b"x"

    anyio.run(main)


def test_uvloop_add_reader(pair):
    uvloop = pytest.importorskip("uvloop")
    import asyncio

    thread = echo(pair.client)

    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        numbers = []

        def ready():
            numbers.append(int(pair.server.read()))
            if len(numbers) == COUNT:
                done.set_result(None)
            else:
                pair.server.write(b"%d" % len(numbers))

        loop.add_reader(pair.server.fileno(), ready)
        pair.server.write(b"0")
        await asyncio.wait_for(done, PATIENCE)
        loop.remove_reader(pair.server.fileno())
        assert numbers == list(range(COUNT))

    uvloop.run(main())
    thread.join()
