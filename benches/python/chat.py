"""A chat server with 1,000 asyncio clients on one core: over flows, and over ``asyncio`` streams.

Both are the same program: rooms of ten, each client says its next sentence when it has heard its
last one, the server repeats it to everybody in the room. The streams are UNIX sockets with a line
for each sentence. Two processes, all clients in one of them, both on one CPU. Measured are the
sentences that clients hear per second, and what the connections add to the memory of the processes:
their proportional set size (PSS), which counts memory that both share once, as the system's buffers
of sockets are not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import ouroboros
from ouroboros import aio

NAME = "chat"
ROOM = 10
WORDS = b"nobody expects a network without sockets, but here we are again".ljust(63, b".")


def memory() -> int:
    """Proportional set size of this process in bytes."""
    with open("/proc/self/smaps_rollup") as rollup:
        for line in rollup:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    raise OSError("the system does not tell the proportional set size")


# The server


async def serve_flows(report: Callable[[], None], clients: int) -> None:
    """The server over flows."""
    rooms: dict[bytes, list[aio.Flow]] = defaultdict(list)
    gone = asyncio.Event()
    left = clients

    async def serve(flow: aio.Flow) -> None:
        nonlocal left
        async with flow:
            room = rooms[await flow.read()]
            room.append(flow)
            await flow.write(b"welcome")
            async for sentence in flow:
                for other in room:
                    await other.write(sentence)
            room.remove(flow)
        left -= 1
        if left == 0:
            gone.set()

    async with await aio.start_server(serve):
        report()
        await gone.wait()


async def serve_streams(report: Callable[[], None], clients: int, path: str) -> None:
    """The same server over streams."""
    rooms: dict[bytes, list[asyncio.StreamWriter]] = defaultdict(list)
    gone = asyncio.Event()
    left = clients

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        room = rooms[await reader.readline()]
        room.append(writer)
        writer.write(b"welcome\n")
        await writer.drain()
        while sentence := await reader.readline():
            for other in room:
                other.write(sentence)
                await other.drain()
        room.remove(writer)
        writer.close()
        left -= 1
        if left == 0:
            gone.set()

    server = await asyncio.start_unix_server(serve, path, backlog=1024)
    report()
    await gone.wait()
    server.close()


# The clients

Read = Callable[[], Awaitable[bytes]]
Write = Callable[[bytes], Awaitable[Any]]


async def open_flow() -> tuple[Read, Write, Callable[[], None]]:
    """A client's connection over a flow."""
    flow = await aio.open_flow(NAME)
    return flow.read, flow.write, flow.close


async def open_stream(path: str) -> tuple[Read, Write, Callable[[], None]]:
    """A client's connection over a stream."""
    reader, writer = await asyncio.open_unix_connection(path)

    async def write(sentence: bytes) -> None:
        writer.write(sentence)
        await writer.drain()

    return reader.readline, write, writer.close


async def talk(kind: str, path: str, clients: int, sentences: int) -> dict[str, float]:
    """All clients: connect, talk, measure."""
    before = memory()
    end = b"" if kind == "flow" else b"\n"
    start = time.perf_counter()
    members = []
    for number in range(clients):
        member = await (open_flow() if kind == "flow" else open_stream(path))
        read, write, _ = member
        await write(b"room %d" % (number // ROOM) + end)
        await read()
        members.append(member)
    connected = time.perf_counter() - start
    heard = 0

    async def chat(read: Read, write: Write) -> None:
        nonlocal heard
        said = 0
        for sentence in range(sentences * ROOM):
            # In a room of ten, one of ten sentences that are heard is one's own, on average.
            if sentence % ROOM == 0:
                await write(WORDS + end)
                said += 1
            await read()
            heard += 1

    start = time.perf_counter()
    await asyncio.gather(*[chat(read, write) for read, write, _ in members])
    elapsed = time.perf_counter() - start
    assert heard == clients * sentences * ROOM
    # The server answers with what it uses while all are connected.
    result = {
        "rate": heard / elapsed,
        "connect": connected / clients,
        "memory": memory() - before,
    }
    print(json.dumps(result), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    for _, _, close in members:
        close()
    return result


def run_part(arguments: argparse.Namespace) -> None:
    """One of the two processes."""
    os.sched_setaffinity(0, {0})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    run: Callable[[Any], Any] = asyncio.run
    if arguments.uvloop:
        import uvloop

        run = uvloop.run
    kind, path, clients = arguments.kind, arguments.path, arguments.clients
    if arguments.part == "clients":
        run(talk(kind, path, clients, arguments.sentences))
        return
    before = 0

    def report() -> None:
        nonlocal before
        before = memory()
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        loop.add_reader(0, tell)

    def tell() -> None:
        sys.stdin.readline()
        asyncio.get_running_loop().remove_reader(0)
        print(json.dumps({"memory": memory() - before}), flush=True)

    if kind == "flow":
        run(serve_flows(report, clients))
    else:
        run(serve_streams(report, clients, path))


def measure(kind: str, uvloop: bool, arguments: argparse.Namespace) -> dict[str, float]:
    """Both processes, and what they measured."""
    with tempfile.TemporaryDirectory() as directory, ouroboros.Node() as node:
        node.local_layer()
        node.register(NAME)

        def start(part: str) -> subprocess.Popen[str]:
            command = [sys.executable, __file__, "--part", part, "--kind", kind]
            command += ["--path", os.path.join(directory, "chat.sock")]
            command += ["--clients", str(arguments.clients)]
            command += ["--sentences", str(arguments.sentences)]
            return subprocess.Popen(
                command + ["--uvloop"] * uvloop,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )

        def ask(process: subprocess.Popen[str]) -> str:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            return line(process)

        def line(process: subprocess.Popen[str]) -> str:
            assert process.stdout is not None
            text = process.stdout.readline()
            if not text:
                raise RuntimeError(f"a part ended early, with status {process.wait()}")
            return text

        parts = [start("server")]
        try:
            line(parts[0])
            if kind == "flow":
                node.bind(NAME, pid=parts[0].pid)
            parts.append(start("clients"))
            result: dict[str, float] = json.loads(line(parts[1]))
            result["server memory"] = json.loads(ask(parts[0]))["memory"]
            _, _ = parts[1].communicate("go\n")
            _, _ = parts[0].communicate()
        except BaseException:
            for part in parts:
                part.kill()
            raise
        finally:
            for part in parts:
                part.wait()
        return result


def main() -> None:
    """All kinds in one run."""
    parser = argparse.ArgumentParser(description="a chat server over flows and over streams")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--sentences", type=int, default=20, help="that each client says")
    for hidden in ("--part", "--kind", "--path"):
        parser.add_argument(hidden, help=argparse.SUPPRESS, default="")
    parser.add_argument("--uvloop", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        run_part(arguments)
        return
    print(f"chat: {arguments.clients} clients in rooms of {ROOM}, both processes on one core")
    print(f"{'':>18} {'heard/s':>12} {'connect':>11} {'server':>12} {'clients':>12} {'each':>9}")
    loops = [False]
    try:
        import uvloop  # noqa: F401

        loops.append(True)
    except ImportError:
        print("(uvloop is not installed: only asyncio's own loop)")
    for uvloop_used in loops:
        for kind in ("flow", "stream"):
            result = measure(kind, uvloop_used, arguments)
            both = result["memory"] + result["server memory"]
            print(
                f"{'uvloop' if uvloop_used else 'asyncio':>10} {kind:>7} "
                f"{result['rate']:>12,.0f} {result['connect'] * 1e6:>8.0f} µs "
                f"{result['server memory'] / 2**20:>8.1f} MiB {result['memory'] / 2**20:>8.1f} MiB "
                f"{both / arguments.clients / 1024:>5.1f} KiB"
            )


if __name__ == "__main__":
    main()
