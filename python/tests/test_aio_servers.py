"""asyncio: servers and protocols, under asyncio and uvloop (api.md C4)."""

import asyncio

import pytest

from ouroboros import aio, errors
from ouroboros.dev import *

# Servers


def test_server_with_a_coroutine(name, run):
    async def main():
        async def echo(flow):
            async with flow:
                async for packet in flow:
                    await flow.write(packet)

        async with await aio.start_server(echo) as server:
            assert server.is_serving()

            async def client(number):
                async with await aio.open_flow(name) as flow:
                    await flow.writeline(f"hello {number}")
                    assert await flow.readline() == f"hello {number}"

            await asyncio.gather(*[client(number) for number in range(50)])
        assert not server.is_serving()
        assert "closed" in repr(server)
        server.close()
        await server.wait_closed()

    run(main())


def test_server_with_a_function(name, run):
    async def main():
        flows = asyncio.Queue()
        server = await aio.start_server(flows.put_nowait)
        serving = asyncio.ensure_future(server.serve_forever())
        client = await aio.open_flow(name)
        await client.write(b"x")
        accepted = await flows.get()
        assert await accepted.read() == b"x"
        server.close_clients()
        assert accepted.is_closing()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert not server.is_serving()
        client.close()

    run(main())


def test_a_callback_that_raises(name, run):
    async def main():
        reports = asyncio.Queue()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: reports.put_nowait(context))

        async def late(flow):
            await flow.read()
            raise RuntimeError("late")

        def early(flow):
            raise RuntimeError("early")

        for callback, text in ((late, "late"), (early, "early")):
            async with await aio.start_server(callback):
                async with await aio.open_flow(name) as client:
                    if callback is late:
                        await client.write(b"x")
                    with pytest.raises(FlowDownException):
                        await client.read()
                report = await reports.get()
                assert str(report["exception"]) == text

    run(main())


def test_a_closed_server_leaves_flows_to_the_next_accept(name, run):
    async def main():
        server = await aio.start_server(lambda flow: flow.close())
        opening = asyncio.ensure_future(aio.open_flow(name))
        server.close()
        async with await aio.accept_flow(), await opening:
            pass

    run(main())


# Protocols


class Recorder(aio.Protocol):
    def __init__(self):
        self.calls = []
        self.lost = asyncio.get_running_loop().create_future()
        self.news = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def datagram_received(self, data):
        self.calls.append(data)
        self.news.set()

    def error_received(self, exc):
        self.calls.append(exc)

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")
        self.news.set()

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)


class Echo(aio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data):
        self.transport.write(data)


def test_protocols(name, run):
    async def main():
        async with await aio.create_server(Echo) as server:
            transport, protocol = await aio.create_flow(Recorder, name)
            assert transport.get_extra_info("name") == name
            assert transport.get_protocol() is protocol
            assert transport.is_reading()
            messages = [b"%d" % number for number in range(300)]
            transport.writelines(messages)
            while len(protocol.calls) <= len(messages):
                await protocol.news.wait()
                protocol.news.clear()
            transport.write(bytes(transport.get_extra_info("flow").max_packet + 1))
            transport.close()
            transport.close()
            assert transport.is_closing()
            assert await protocol.lost is None
            assert protocol.calls[:-2] == ["made", *messages]
            assert protocol.calls[-2].errno == errno.EMSGSIZE
            assert protocol.calls[-1] == "lost"
            server.close_clients()

    run(main())


def test_protocol_with_much_to_send(name, run):
    async def main():
        accepting = asyncio.ensure_future(aio.accept_flow())
        transport, protocol = await aio.create_flow(Recorder, name)
        server = await accepting
        message = bytes(50_000)
        count = 0
        while "pause" not in protocol.calls:
            transport.write(message)
            count += 1
        assert transport.get_write_buffer_size() > 64 * 1024
        received = 0
        while "resume" not in protocol.calls:
            received += len(await server.read_many(8))
        transport.write(b"last")
        transport.close()
        packets = [packet async for packet in server]
        assert packets[-1] == b"last"
        assert received + len(packets) == count + 1
        assert await protocol.lost is None
        server.close()

    run(main())


def test_protocol_pauses_reading(name, run):
    async def main():
        accepting = asyncio.ensure_future(aio.accept_flow())
        transport, protocol = await aio.create_flow(Recorder, name)
        server = await accepting
        transport.pause_reading()
        await server.write(b"one")
        for _ in range(10):
            await asyncio.sleep(0)
        assert protocol.calls == ["made"]
        transport.resume_reading()
        await protocol.news.wait()
        assert protocol.calls == ["made", b"one"]
        server.close()
        assert await protocol.lost is None

    run(main())


def test_protocol_of_a_killed_peer(name, run, child):
    async def main():
        protocols = asyncio.Queue()

        def make():
            protocol = Recorder()
            protocols.put_nowait(protocol)
            return protocol

        async with await aio.create_server(make):
            program = child(
                """
                import sys
                from ouroboros.dev import *
                flow = flow_alloc(sys.argv[1])
                flow.writeline("last words")
                sys.stdin.readline()
                """,
                name,
            )
            protocol = await protocols.get()
            await protocol.news.wait()
            program.process.kill()
            assert isinstance(await protocol.lost, errors.FlowPeerException)
            assert protocol.calls == ["made", b"last words", "lost"]

    run(main())


def test_protocol_abort(name, run):
    async def main():
        accepting = asyncio.ensure_future(aio.accept_flow())
        transport, protocol = await aio.create_flow(Recorder, name)
        server = await accepting
        while not transport.get_write_buffer_size():
            transport.write(bytes(50_000))
        transport.abort()
        assert await protocol.lost is None
        assert transport.get_write_buffer_size() == 0
        server.close()

    run(main())
