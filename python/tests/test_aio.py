"""asyncio: flows that are awaited, under asyncio and uvloop (api.md C4)."""

import asyncio
import gc
import os
import random
import threading
import time
import warnings

import pytest
from conftest import PATIENCE, connect, meet

from ouroboros import aio, errors
from ouroboros.dev import *

SEED = int(os.environ.get("OUROBOROS_TEST_SEED", "7"))


def test_open_accept_read_write(name, run):
    async def main():
        asked = QoSSpec(timeout=1234)
        client, server = await meet(name, asked)
        async with client, server:
            assert client.get_qos() == asked == server.get_qos()
            assert client.name == name
            assert client.fd >= 64
            assert client.state == "allocated"
            assert client.peer_pid == os.getpid()
            assert name in repr(client)
            assert await client.write(b"0123456789") == 10
            assert await client.write(bytearray(b"0123456789"), 3) == 3
            assert await server.read(4) == b"0123"
            assert await server.read() == b"456789"
            assert await server.read() == b"012"
            assert await client.writeline("héllo wörld", 5) == 6
            assert await server.readline(2) == "hé"
            assert await server.readline() == "llo"
            buffer = bytearray(8)
            await client.write(b"abc")
            assert await server.read_into(buffer) == 3
            assert buffer[:3] == b"abc"
            assert await client.write_many([b"a", bytearray(b"b"), memoryview(b"c")]) == 3
            assert await server.read_many(2) == [b"a", b"b"]
            assert await server.read_many(2) == [b"c"]
            assert server.stats().packets_read == 7
        assert client.closed
        assert client.is_closing()

    run(main())


def test_reads_that_wait(name, run):
    async def main():
        client, server = await meet(name)
        async with client, server:
            for call, message, expected in [
                (server.read, b"one", b"one"),
                (server.readline, b"two", "two"),
                (lambda: server.read_many(5), b"three", [b"three"]),
                (lambda: server.read_into(bytearray(9)), b"four", 4),
            ]:
                reading = asyncio.ensure_future(call())
                await asyncio.sleep(0)
                assert not reading.done()
                await client.write(message)
                assert await reading == expected

    run(main())


def test_writes_that_wait(name, run):
    async def main():
        client, server = await meet(name)
        message = bytes(10_000)
        count = 1000
        async with client, server:

            async def write_one_by_one():
                for _ in range(count):
                    assert await client.write(message) == len(message)
                assert await client.write_many([message] * count) == count

            writing = asyncio.ensure_future(write_one_by_one())
            received = 0
            while received < 2 * count:
                received += len(await server.read_many(100))
            await writing

    run(main())


def test_iteration(name, run):
    async def main():
        client, server = await meet(name)
        async with server:
            async with client:
                for number in range(200):
                    await client.write(b"%d" % number)
            assert [packet async for packet in server] == [b"%d" % n for n in range(200)]
            with pytest.raises(FlowDownException):
                await server.read()
            with pytest.raises(FlowDownException):
                await server.write(b"x")

    run(main())


def test_close_ends_what_waits(name, run):
    async def main():
        client, server = await meet(name)
        reading = asyncio.ensure_future(client.read())
        closing = asyncio.ensure_future(client.wait_closed())

        async def collect():
            return [packet async for packet in client]

        iterating = asyncio.ensure_future(collect())
        await asyncio.sleep(0)
        client.close()
        client.close()
        with pytest.raises(FlowNotAllocatedException):
            await reading
        await closing
        await client.wait_closed()
        assert await iterating == []
        with pytest.raises(FlowNotAllocatedException):
            await client.write(b"x")
        server.close()

    run(main())


def test_a_killed_peer(name, node, run, child):
    async def main():
        accepting = asyncio.ensure_future(aio.accept_flow())
        program = child(
            """
            import sys
            from ouroboros.dev import *
            flow = flow_alloc(sys.argv[1])
            flow.writeline("last words")
            print("ready")
            sys.stdin.readline()
            """,
            name,
        )
        server = await accepting
        assert await server.readline() == "last words"
        reading = asyncio.ensure_future(server.read())
        await asyncio.sleep(0)
        program.process.kill()
        with pytest.raises(errors.FlowPeerException):
            await reading
        with pytest.raises(errors.FlowPeerException):
            async for _ in server:
                pass
        server.close()

    run(main())


def test_errors_of_allocation(name, run):
    async def main():
        with pytest.raises(errors.OuroborosError, match="nobody-has-this-name"):
            await aio.open_flow("nobody-has-this-name")
        with pytest.raises(TimeoutError):
            await aio.open_flow(name, timeout=0.02)
        with pytest.raises(TimeoutError):
            await aio.accept_flow(timeout=0.02)
        with pytest.raises(TimeoutError):
            await aio.accept_flow(0.02)
        with pytest.raises(FlowException):
            await aio.join_flow("nowhere")
        with pytest.raises(TypeError, match="QoSSpec"):
            await aio.open_flow(name, 5)
        with pytest.raises(TypeError, match="one of them"):
            await aio.open_flow(name, timeo=1, timeout=1)
        with pytest.raises(ValueError):
            await aio.open_flow("")

    run(main())


def test_errors_of_calls(name, run):
    async def main():
        client, server = await meet(name)
        async with client, server:
            for bad in ("text", 5, None):
                with pytest.raises(TypeError):
                    await client.write(bad)
            with pytest.raises(TypeError):
                await client.writeline(b"bytes")
            with pytest.raises(TypeError, match="iterable"):
                await client.write_many(b"one packet")
            with pytest.raises(ValueError, match="negative"):
                await client.writeline("x", -1)
            with pytest.raises(ValueError):
                await server.read_many(0)
            with pytest.raises(FlowException) as caught:
                await client.write(bytes(client.max_packet + 1))
            assert caught.value.errno == errno.EMSGSIZE
            await client.write(b"\xff")
            with pytest.raises(UnicodeDecodeError):
                await server.readline()
            assert await server.read() == b"\xff"

    run(main())


def test_a_flow_of_dev_can_be_wrapped(name, run):
    pair = connect(name)

    async def main():
        client, server = aio.Flow(pair.client), aio.Flow(pair.server)
        await client.write(b"wrapped")
        assert await server.read() == b"wrapped"
        assert client.flow is pair.client
        client.close()
        server.close()

    run(main())


def test_a_thread_at_the_other_end(name, run):
    """News that other threads cause wake the loop."""
    pair = connect(name)
    count = 2000

    def echo():
        for _ in range(count):
            pair.client.write(pair.client.read())

    thread = threading.Thread(target=echo)
    thread.start()

    async def main():
        async with aio.Flow(pair.server) as server:
            for number in range(count):
                await server.write(b"%d" % number)
                assert await server.read() == b"%d" % number

    run(main())
    thread.join()
    pair.client.close()


def test_others_hear_the_bell_too(name, run):
    """A flow set in another thread, a descriptor and the loop share the doorbells."""
    pairs = [connect(name) for _ in range(2)]
    seen = []

    def watch():
        with FlowSet([pairs[0].server]) as fset:
            while len(seen) < 500:
                for flow, kind in fset.select(PATIENCE):
                    if kind == FEventType.FlowPkt:
                        seen.append(flow.read())

    thread = threading.Thread(target=watch)
    thread.start()
    # Starts the notifier.
    pairs[0].client.fileno()

    async def main():
        server = aio.Flow(pairs[1].server)
        for number in range(500):
            pairs[0].client.write(b"set")
            pairs[1].client.write(b"%d" % number)
            assert await server.read() == b"%d" % number

    run(main())
    thread.join(PATIENCE)
    assert not thread.is_alive()
    for pair in pairs:
        for flow in pair:
            flow.close()


def test_a_busy_flow_lets_others_run(name, run):
    async def main():
        client, server = await meet(name)
        others = 0

        async def other():
            nonlocal others
            while True:
                others += 1
                await asyncio.sleep(0)

        async with client, server:
            running = asyncio.ensure_future(other())
            for _ in range(50):
                client.flow.write_many([b"x"] * 100)
                for _ in range(100):
                    await server.read()
            assert others > 50
            running.cancel()

    run(main())


# Cancellation


def test_a_cancelled_read_loses_no_packet(name, run):
    """Readers that are cancelled at random, alone and by time limits: each packet arrives once."""
    total = 3000

    async def main():
        rng = random.Random(SEED)
        client, server = await meet(name)
        received = []

        async def reader():
            kind = rng.randrange(4)
            if kind == 0:
                received.append(await server.read())
            elif kind == 1:
                received.append((await server.readline()).encode())
            elif kind == 2:
                received.extend(await server.read_many(rng.randrange(1, 5)))
            else:
                buffer = bytearray(64)
                length = await server.read_into(buffer)
                received.append(bytes(buffer[:length]))

        async def write():
            sent = 0
            while sent < total:
                if rng.random() < 0.5:
                    await asyncio.sleep(0)
                else:
                    await asyncio.sleep(rng.random() * 1e-4)
                for _ in range(min(rng.randrange(1, 20), total - sent)):
                    await client.write(b"%d" % sent)
                    sent += 1

        writing = asyncio.ensure_future(write())
        cancelled = 0
        while len(received) < total:
            readers = [asyncio.ensure_future(reader()) for _ in range(rng.randrange(1, 4))]
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0 if rng.random() < 0.7 else 1e-5)
            for task in readers:
                if rng.random() < 0.8:
                    task.cancel()
            if writing.done() or rng.random() < 0.5:
                for task in readers:
                    task.cancel()
            outcomes = await asyncio.gather(*readers, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, asyncio.CancelledError):
                    cancelled += 1
                else:
                    assert outcome is None, outcome
        await writing
        assert sorted(map(int, received)) == list(range(total)), f"seed {SEED}"
        assert cancelled > 100
        client.close()
        server.close()

    run(main())


def test_a_read_with_a_time_limit_loses_no_packet(name, run):
    total = 300

    async def main():
        rng = random.Random(SEED)
        client, server = await meet(name)

        async def write():
            for number in range(total):
                await asyncio.sleep(rng.random() * 4e-4)
                await client.write(b"%d" % number)

        writing = asyncio.ensure_future(write())
        received = []
        late = 0
        while len(received) < total:
            try:
                received.append(await asyncio.wait_for(server.read(), rng.random() * 4e-4))
            except asyncio.TimeoutError:
                late += 1
        await writing
        assert received == [b"%d" % number for number in range(total)], f"seed {SEED}"
        assert late > 0
        client.close()
        server.close()

    run(main())


def test_a_cancelled_write_is_written_or_not(name, run):
    async def main():
        rng = random.Random(SEED)
        client, server = await meet(name)
        message = bytes(50_000)
        written = 0
        received = 0
        cancelled = 0
        for _ in range(400):
            task = asyncio.ensure_future(client.write(message))
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
            task.cancel()
            try:
                await task
                written += 1
            except asyncio.CancelledError:
                cancelled += 1
            if rng.random() < 0.3:
                received += len(server.flow._try_read_many(4) or ())
        client.close()
        async for packet in server:
            assert packet == message
            received += 1
        assert written == received
        assert cancelled > 20
        server.close()

    run(main())


def test_a_cancelled_accept_loses_no_flow(name, run):
    total = 60

    async def main():
        rng = random.Random(SEED)

        async def client(number):
            async with await aio.open_flow(name) as flow:
                await flow.write(b"%d" % number)
                assert await flow.read() == b"ok"

        clients = [asyncio.ensure_future(client(number)) for number in range(total)]
        served = []
        cancelled = 0
        while len(served) < total:
            task = asyncio.ensure_future(aio.accept_flow())
            if rng.random() < 0.6:
                for _ in range(rng.randrange(6)):
                    await asyncio.sleep(rng.choice([0, 0, 1e-4]))
                task.cancel()
            try:
                flow = await task
            except asyncio.CancelledError:
                cancelled += 1
                continue
            async with flow:
                served.append(int(await flow.read()))
                await flow.write(b"ok")
        await asyncio.gather(*clients)
        assert sorted(served) == list(range(total)), f"seed {SEED}"
        assert cancelled > 5

    run(main())


def test_a_cancelled_open_leaves_nothing(name, node, run):
    async def main():
        for _ in range(20):
            task = asyncio.ensure_future(aio.open_flow(name))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        with pytest.raises(TimeoutError):
            await aio.accept_flow(0)
        assert node.status()["pending"] == 0

    run(main())


# Scale and life


def test_a_thousand_flows_in_one_loop(name, run):
    """One loop, few descriptors, no threads for them."""
    count = int(os.environ.get("OUROBOROS_TEST_FLOWS", "1000"))

    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    async def main():
        async def echo(flow):
            async with flow:
                async for packet in flow:
                    await flow.write(packet)

        async with await aio.start_server(echo):
            first = await aio.open_flow(name)
            await first.write(b"x")
            await first.read()
            before, threads = descriptors(), threading.active_count()
            flows = [await aio.open_flow(name) for _ in range(count)]

            async def talk(number, flow):
                for _ in range(3):
                    await flow.write(b"%d" % number)
                    assert await flow.read() == b"%d" % number

            await asyncio.gather(*[talk(n, flow) for n, flow in enumerate(flows)])
            assert descriptors() - before < 20
            assert threading.active_count() == threads
            for flow in flows:
                flow.close()
            first.close()

    run(main())


def test_loops_leave_nothing_behind(name):
    def cycle():
        async def main():
            client, server = await meet(name)
            async with client, server:
                reading = asyncio.ensure_future(server.read())
                await asyncio.sleep(0)
                await client.write(b"x")
                await reading

        asyncio.run(main())

    for _ in range(3):
        cycle()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        cycle()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_flow_that_is_not_closed_warns(name):
    async def main():
        client, server = await meet(name)
        server.close()
        del client

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(main())
        gc.collect()
    assert any(w.category is ResourceWarning and "unclosed <Flow" in str(w.message) for w in caught)


def test_ready_reads_are_fast(name, run):
    """Generous: the benchmark measures; here only that no detour through the loop is taken."""
    count = 5000

    async def main():
        client, server = await meet(name)
        async with client, server:
            client.flow.write_many([b"x" * 64] * count)
            start = time.perf_counter()
            for _ in range(count):
                await server.read()
            return (time.perf_counter() - start) / count

    assert run(main()) < 100e-6
