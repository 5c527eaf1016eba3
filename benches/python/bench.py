"""Benchmarks from Python, beside ``socket`` with ``AF_UNIX`` and ``SOCK_SEQPACKET``, in one run.

Two processes, each on its own CPU. A call's cost is that of the call alone: messages are written
into a queue that is not full, and read from one that is not empty.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import ouroboros
from ouroboros.dev import Flow, flow_accept, flow_alloc

NAME = "bench"
SIZES = ((64, 2_000_000), (1400, 500_000), (65_536, 40_000))
ROUND_TRIPS = 50_000
CALLS = 1000
REPEATS = 200


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


def per_call(write: Callable[[bytes], int], read: Callable[[], object]) -> tuple[float, float]:
    """Cost of one call in ns, best of many runs: writing, reading."""
    message = bytes(64)
    writes, reads = [], []
    for _ in range(REPEATS):
        start = time.perf_counter_ns()
        for _ in range(CALLS):
            write(message)
        middle = time.perf_counter_ns()
        for _ in range(CALLS):
            read()
        end = time.perf_counter_ns()
        writes.append((middle - start) / CALLS)
        reads.append((end - middle) / CALLS)
    return statistics.median(writes), statistics.median(reads)


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
        print(f"{'':>12} {'write':>10} {'read':>10}")
        write, read = per_call(client.write, server.read)
        print(f"{'flow':>12} {write:>7.0f} ns {read:>7.0f} ns")
        # Larger than the message: an exact fill is followed by an end mark.
        buffer = bytearray(128)
        _, into = per_call(client.write, lambda: server.read_into(buffer))
        print(f"{'read_into':>12} {'':>10} {into:>7.0f} ns  (in a lambda)")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
            global CALLS
            CALLS = 100
            write, read = per_call(ours.send, lambda: theirs.recv(64))
            print(f"{'seqpacket':>12} {write:>7.0f} ns {read:>7.0f} ns  (read in a lambda)")
        print(f"{'list.append':>12} {empty_call():>7.0f} ns")
        client.close()
        server.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        run()
