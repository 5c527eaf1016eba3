"""Benchmarks from Python, beside ``socket`` with ``AF_UNIX`` and ``SOCK_SEQPACKET``, in one run.

Two processes, each on its own CPU. A call's cost is that of the call alone: messages are written
into a queue that is not full, and read from one that is not empty.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import ouroboros
from ouroboros import aio
from ouroboros.dev import Flow, flow_accept, flow_alloc

NAME = "bench"
SIZES = ((64, 2_000_000), (1400, 500_000), (65_536, 40_000))
ROUND_TRIPS = 50_000
CALLS = 1000
REPEATS = 200
MANY = 64


def pin(cpu: int) -> None:
    """Keep this process on one CPU."""
    os.sched_setaffinity(0, {cpu % (os.cpu_count() or 1)})


def serve(kind: str, what: str, count: int) -> None:
    """The other end."""
    pin(1)
    read: Callable[[], bytes]
    write: Callable[[bytes], int]
    if kind == "flow":
        print("ready", flush=True)
        flow = flow_accept()
        read, write = flow.read, flow.write
    else:
        sock = socket.socket(fileno=0)

        def read_socket() -> bytes:
            return sock.recv(65_536)

        read, write = read_socket, sock.send
    if what == "echo":
        for _ in range(count):
            write(read())
    else:
        for _ in range(count):
            read()
        write(b"done")
    if kind == "flow":
        while flow.get_tx_queue_len():
            time.sleep(0)


def connect(
    node: ouroboros.Node, kind: str, what: str, count: int
) -> tuple[Flow | socket.socket, subprocess.Popen[bytes]]:
    """Start the other end and connect to it."""
    command = [sys.executable, __file__, kind, what, str(count)]
    if kind == "flow":
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        node.bind(NAME, pid=child.pid)
        return flow_alloc(NAME), child
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        return ours, subprocess.Popen(command, stdin=theirs)


def one_way(node: ouroboros.Node, kind: str, size: int, count: int) -> float:
    """Messages per second, one way."""
    end, child = connect(node, kind, "sink", count)
    message = bytes(size)
    write = end.write if isinstance(end, Flow) else end.send
    start = time.perf_counter()
    for _ in range(count):
        write(message)
    if isinstance(end, Flow):
        end.read()
    else:
        end.recv(64)
    elapsed = time.perf_counter() - start
    end.close()
    child.wait()
    return count / elapsed


def round_trips(node: ouroboros.Node, kind: str) -> tuple[float, float]:
    """Round trip of 64 bytes, p50 and p99 in µs."""
    end, child = connect(node, kind, "echo", ROUND_TRIPS)
    message = bytes(64)
    samples = []
    for _ in range(ROUND_TRIPS):
        start = time.perf_counter_ns()
        if isinstance(end, Flow):
            end.write(message)
            end.read()
        else:
            end.send(message)
            end.recv(64)
        samples.append(time.perf_counter_ns() - start)
    end.close()
    child.wait()
    cuts = statistics.quantiles(samples[ROUND_TRIPS // 10 :], n=100)
    return cuts[49] / 1000, cuts[98] / 1000


def cost(prepare: Callable[[], object], call: Callable[..., object], *arguments: object) -> float:
    """Cost of one call in ns: the median of many runs, each after *prepare*."""
    samples = []
    for _ in range(REPEATS):
        prepare()
        start = time.perf_counter_ns()
        for _ in range(CALLS):
            call(*arguments)
        samples.append((time.perf_counter_ns() - start) / CALLS)
    return statistics.median(samples)


async def cost_of_await(
    prepare: Callable[[], object], call: Callable[[], Awaitable[object]]
) -> float:
    """The same for a call that is awaited."""
    samples = []
    for _ in range(REPEATS):
        prepare()
        start = time.perf_counter_ns()
        for _ in range(CALLS):
            await call()
        samples.append((time.perf_counter_ns() - start) / CALLS)
    return statistics.median(samples)


def calls_of_flows(client: Flow, server: Flow) -> None:
    """What calls of a flow cost when nothing waits."""
    message, batch, buffer = bytes(64), [bytes(64)] * MANY, bytearray(128)

    def fill() -> None:
        client.write_many([message] * CALLS)

    def fill_many() -> None:
        for _ in range(CALLS):
            client.write_many(batch)

    def drain() -> None:
        while server.get_rx_queue_len():
            server.read_many(10_000)

    def view() -> None:
        with server.recv_view():
            pass

    async def reads() -> float:
        flow = aio.Flow(server)
        return await cost_of_await(fill, flow.read)

    async def writes() -> float:
        flow = aio.Flow(client)
        return await cost_of_await(drain, lambda: flow.write(message))

    def row(name: str, nanoseconds: float, note: str = "") -> None:
        print(f"{name:>24} {nanoseconds:>7.0f} ns {note}")

    row("write", cost(drain, client.write, message))
    row("write of a bytearray", cost(drain, client.write, bytearray(64)))
    drain()
    row("read", cost(fill, server.read))
    # Larger than the message: an exact fill is followed by an end mark.
    row("read_into", cost(fill, server.read_into, buffer))
    row("recv_view", cost(fill, view), "(with and a function around it)")
    global CALLS
    CALLS = 100
    row(f"write_many of {MANY}", cost(drain, client.write_many, batch) / MANY, "a message")
    drain()
    row(f"read_many of {MANY}", cost(fill_many, server.read_many, MANY) / MANY, "a message")
    CALLS = 1000
    row("await read, ready", asyncio.run(reads()))
    row("await write", asyncio.run(writes()))


def calls_of_sockets() -> None:
    """What the calls of a socket cost."""
    global CALLS
    message, buffer = bytes(64), bytearray(128)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before, CALLS = CALLS, 100
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)

        def fill() -> None:
            for _ in range(CALLS):
                ours.send(message)

        def drain() -> None:
            theirs.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    theirs.recv(64)
            theirs.setblocking(True)

        async def reads() -> float:
            loop = asyncio.get_running_loop()
            theirs.setblocking(False)
            return await cost_of_await(fill, lambda: loop.sock_recv(theirs, 64))

        send = cost(drain, ours.send, message)
        drain()
        for name, nanoseconds in (
            ("seqpacket send", send),
            ("seqpacket recv", cost(fill, theirs.recv, 64)),
            ("seqpacket recv_into", cost(fill, theirs.recv_into, buffer)),
            ("await sock_recv, ready", asyncio.run(reads())),
        ):
            print(f"{name:>24} {nanoseconds:>7.0f} ns")
    CALLS = before


def empty_call() -> float:
    """Cost in ns of a loop around a method that does nothing much, for comparison."""
    append = [].append
    start = time.perf_counter_ns()
    for _ in range(CALLS * REPEATS):
        append(None)
    return (time.perf_counter_ns() - start) / (CALLS * REPEATS)


def run() -> None:
    """All benchmarks."""
    pin(0)
    print(f"Python {sys.version.split()[0]}, two processes\n")
    with ouroboros.Node() as node:
        node.serve_name(NAME)
        node.unbind(NAME, pid=os.getpid())
        print("one way, messages per second")
        print(f"{'bytes':>12} {'flow':>14} {'seqpacket':>14}")
        for size, count in SIZES:
            flow, other = (one_way(node, kind, size, count) for kind in ("flow", "socket"))
            print(f"{size:>12} {flow / 1e6:>10.2f} M/s {other / 1e6:>10.2f} M/s")
        print("\nround trip of 64 bytes, p50 / p99")
        for kind in ("flow", "socket"):
            p50, p99 = round_trips(node, kind)
            print(f"{kind:>12} {p50:>8.2f} / {p99:.2f} µs")

        node.bind(NAME, pid=os.getpid())
        client = Flow()
        client.alloc(NAME, timeo=0)
        server = flow_accept()
        while client.state == "pending":
            time.sleep(0)
        print("\ncost of a call, 64 bytes, nothing waits, median")
        calls_of_flows(client, server)
        calls_of_sockets()
        print(f"{'list.append':>24} {empty_call():>7.0f} ns")
        client.close()
        server.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        run()
