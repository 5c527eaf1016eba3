"""Services of a flow: order, no loss, checksum, encryption, signs of life (api.md B2, B3)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import re
import signal
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
from conftest import PATIENCE, Pair, connect, meet

from ouroboros import aio, errors
from ouroboros.dev import *
from ouroboros.errors import FlowIntegrityError, FlowPeerException
from ouroboros.event import FEventQueue, FEventType, FlowSet

ALL = FRCT_RETRANSMIT | FRCT_RESCNTL | FRCT_LINGER

SERVICES = {
    "loss=0": QoSSpec(loss=0),
    "in_order": QoSSpec(in_order=1),
    "ber=0": QoSSpec(ber=0),
    "cypher_s": QoSSpec(cypher_s=128),
    "kex": QoSSpec(kex="X25519"),
    "timeout": QoSSpec(timeout=20_000),
    "all": QoSSpec(loss=0, ber=0, cypher_s=256, timeout=20_000),
    "raw": QoSSpec.raw(),
    "raw_no_errors": QoSSpec.raw_no_errors(),
    "best_effort": QoSSpec.best_effort(),
    "video": QoSSpec.video(),
    "voice": QoSSpec.voice(),
    "data": QoSSpec.data(),
}


@contextlib.contextmanager
def flows(name: str, qos: QoSSpec) -> Iterator[Pair]:
    """Both ends of a flow whose reads and writes do not wait for ever."""
    pair = connect(name, qos)
    try:
        for flow in pair:
            flow.settimeout(PATIENCE)
        yield pair
    finally:
        for flow in pair:
            flow.close()


@pytest.fixture(params=SERVICES)
def qos(request):
    return SERVICES[request.param]


def test_reliable_and_encrypted(name):
    """Statement 6 of the conformance list (api.md D)."""
    with flows(name, QoSSpec(loss=0, cypher_s=256)) as pair:
        for flow in pair:
            assert flow.get_qos().cypher_s == 256
            assert flow.get_frct_flags() & FRCT_RETRANSMIT
            assert (flow.get_qos().loss, flow.get_qos().in_order) == (0, 1)
        pair.client.writeline("Hello")
        assert pair.server.readline() == "Hello"


def test_both_ends_know_what_the_flow_has(name, qos):
    with flows(name, qos) as (client, server):
        got = client.get_qos()
        assert got == server.get_qos()
        for field in ("delay", "bandwidth", "availability", "loss", "ber", "max_gap", "timeout"):
            assert getattr(got, field) == getattr(qos, field)
        assert got.in_order == (1 if qos.loss == 0 else qos.in_order)
        if qos.cypher_s or qos.kex:
            assert got.cypher_s in (128, 192, 256)
            assert got.cypher_s >= qos.cypher_s
        else:
            assert got.cypher_s == 0
        assert "QoSSpec" in repr(client)


def test_alloc_and_accept_return_the_qos_of_the_flow(name):
    accepted = []
    f, g = Flow(), Flow()
    thread = threading.Thread(target=lambda: accepted.append(g.accept(PATIENCE)))
    thread.start()
    asked = QoSSpec(loss=0, cypher_s=200)
    got = f.alloc(name, asked, PATIENCE)
    thread.join()
    assert (got.in_order, got.cypher_s) == (1, 256)
    assert accepted == [got]
    assert (asked.in_order, asked.cypher_s) == (0, 200)
    assert f.get_qos() == g.get_qos() == got
    f.close()
    g.close()


@pytest.mark.parametrize(
    ("cypher_s", "bits"), [(1, 128), (128, 128), (129, 192), (192, 192), (193, 256), (256, 256)]
)
def test_strength_is_at_least_what_was_asked_for(name, cypher_s, bits):
    with flows(name, QoSSpec(cypher_s=cypher_s)) as pair:
        assert [flow.get_qos().cypher_s for flow in pair] == [bits, bits]


def test_messages_arrive_once_whole_in_order(name, qos):
    with flows(name, qos) as (client, server):
        sizes = [1, 2, 63, 64, 65, 1400, 65_536, client.max_packet]
        assert client.max_packet > 1_000_000
        for source, sink in ((client, server), (server, client)):
            sent = [os.urandom(size) for size in sizes]
            thread = threading.Thread(target=lambda s=source, m=sent: [s.write(one) for one in m])
            thread.start()
            assert [sink.read() for _ in sent] == sent
            thread.join()
        with pytest.raises(FlowException, match="bytes") as caught:
            client.write(bytes(client.max_packet + 1))
        assert caught.value.errno == errno.EMSGSIZE
        assert client.stats().packets_discarded == server.stats().packets_discarded == 0


def test_every_way_to_read(name, qos):
    with flows(name, qos) as (client, server):
        assert client.write_many([b"one", b"two", b"three"]) == 3
        assert server.read_many(2) == [b"one", b"two"]
        assert server.read() == b"three"
        client.write(b"0123456789")
        assert [server.read(4), server.read(4), server.read(4)] == [b"0123", b"4567", b"89"]
        client.write(b"01234567")
        assert [server.read(4), server.read(4), server.read(4)] == [b"0123", b"4567", b""]
        client.writeline("grüße")
        assert [server.readline(3), server.readline()] == ["grü", "ße"]
        client.write(b"into")
        buffer = bytearray(10)
        assert server.read_into(buffer) == 4
        client.write(b"on view")
        with server.recv_view() as view:
            assert view == b"on view"
        client.send_bytes(b"bytes")
        assert server.poll(PATIENCE)
        assert server.recv_bytes() == b"bytes"
        assert server.get_rx_queue_len() == client.get_tx_queue_len() == 0
        with pytest.raises(BlockingIOError):
            server.setblocking(False)
            server.read()


def test_a_full_flow_holds_the_writer_back(name, qos):
    with flows(name, qos) as (client, server):
        client.setblocking(False)
        packet = bytes(10_000)
        written = 0
        with pytest.raises(BlockingIOError):
            while written < 100_000:
                client.write(packet)
                written += 1
        assert 0 < written < 100_000
        assert [len(server.read()) for _ in range(written)] == [10_000] * written


def test_threads_share_a_flow(name, qos):
    senders, each = 4, 500
    with flows(name, qos) as (client, server):

        def send(number):
            for index in range(each):
                client.write(f"{number} {index}".encode())

        threads = [threading.Thread(target=send, args=(number,)) for number in range(senders)]
        for thread in threads:
            thread.start()
        seen = [[] for _ in threads]
        for _ in range(senders * each):
            number, index = map(int, server.read().split())
            seen[number].append(index)
        for thread in threads:
            thread.join()
        assert seen == [list(range(each))] * senders


def test_what_was_written_is_read_after_dealloc(name, qos):
    with flows(name, qos) as (client, server):
        client.write_many([b"last", b"words"])
        client.dealloc()
        assert list(server) == [b"last", b"words"]
        with pytest.raises(FlowDownException):
            server.write(b"hello?")


def test_one_event_per_packet(name, qos):
    with flows(name, qos) as (client, server), FlowSet([server]) as fset:
        queue = FEventQueue()
        client.write_many([b"1", b"2", b"3"])
        seen = 0
        while seen < 3:
            fset.wait(queue, PATIENCE)
            for flow, kind in queue:
                assert (flow, kind) == (server, FEventType.FlowPkt)
                seen += 1
                assert flow.read() == b"%d" % seen
        client.close()
        fset.wait(queue, PATIENCE)
        assert list(queue) == [(server, FEventType.FlowDealloc)]


# FRCT flags


@pytest.mark.parametrize(
    ("asked", "flags"),
    [
        (QoSSpec(loss=0), ALL),
        (QoSSpec.data(), ALL),
        (QoSSpec(in_order=1), FRCT_RESCNTL),
        (QoSSpec.best_effort(), FRCT_RESCNTL),
    ],
)
def test_frct_flags(name, asked, flags):
    with flows(name, asked) as pair:
        assert [flow.get_frct_flags() for flow in pair] == [flags, flags]
        client = pair.client
        retransmit = flags & FRCT_RETRANSMIT
        for wanted in (0, FRCT_RESCNTL, FRCT_LINGER, FRCT_RESCNTL | FRCT_LINGER):
            client.set_frct_flags(wanted)
            assert client.get_frct_flags() == wanted | retransmit
        # Retransmission is as the QoS says, and each end has its own flags.
        client.set_frct_flags(ALL)
        assert client.get_frct_flags() == FRCT_RESCNTL | FRCT_LINGER | retransmit
        assert pair.server.get_frct_flags() == flags


@pytest.mark.parametrize("asked", [QoSSpec.raw(), QoSSpec(ber=0), QoSSpec(cypher_s=128)])
def test_no_frct_flags_without_frct(name, asked):
    with flows(name, asked) as (client, _):
        for call in (client.get_frct_flags, lambda: client.set_frct_flags(FRCT_LINGER)):
            with pytest.raises(FlowPermissionException, match="FRCP") as caught:
                call()
            assert caught.value.errno == errno.EPERM


def test_frct_flags_of_no_flow_and_of_no_number(name):
    with pytest.raises(FlowNotAllocatedException):
        Flow().get_frct_flags()
    with flows(name, QoSSpec(loss=0)) as (client, _):
        for bad in ("1", None, 1.5):
            with pytest.raises(TypeError):
                client.set_frct_flags(bad)
        for bad in (-1, 1 << 40):
            with pytest.raises((ValueError, OverflowError)):
                client.set_frct_flags(bad)
        assert client.get_frct_flags() == ALL


# asyncio


def test_asyncio(name, qos, run):
    async def main():
        f, g = await meet(name, qos)
        async with f, g:
            assert f.get_qos() == g.get_qos()
            assert f.peer_name is g.peer_name is None
            await f.writeline("grüße")
            assert await g.readline() == "grüße"
            sent = [os.urandom(20_000) for _ in range(500)]
            writing = asyncio.ensure_future(f.write_many(sent))
            assert [await g.read() for _ in sent] == sent
            assert await writing == len(sent)
            f.close()
            with pytest.raises(FlowDownException):
                await g.read()

    run(main())


def test_asyncio_echo_server(name, qos, run):
    async def serve(flow):
        async with flow:
            async for packet in flow:
                await flow.write(packet)

    async def one(number):
        async with await aio.open_flow(name, qos) as flow:
            for index in range(20):
                await flow.write(b"%d %d" % (number, index))
                assert await flow.read() == b"%d %d" % (number, index)

    async def main():
        async with await aio.start_server(serve):
            await asyncio.gather(*map(one, range(10)))

    run(main())


def test_asyncio_close_does_not_wait(name, run):
    async def main():
        f, g = await meet(name, QoSSpec.data())
        sent = [b"%d" % number for number in range(1000)]
        await f.write_many(sent)
        f.close()
        assert f.closed
        assert [packet async for packet in g] == sent
        g.close()

    run(main())


# Two programs

CLIENT = """
import sys, hashlib
from ouroboros.dev import *
name, qos = sys.argv[1], eval(sys.argv[2])
f = flow_alloc(name, qos, timeo=30)
f.settimeout(30)
print(f.get_qos().cypher_s)
digest = hashlib.sha256()
while packet := f.read():
    if packet == b"end":
        break
    digest.update(packet)
f.writeline(digest.hexdigest())
f.dealloc()
"""


@pytest.mark.parametrize(
    ("asked", "bits"),
    [
        (QoSSpec.data(), 0),
        (QoSSpec(loss=0, cypher_s=256), 256),
        (QoSSpec(kex="X25519MLKEM768"), 256),
        (QoSSpec(loss=0, cypher_s=128, kex="X25519MLKEM768"), 128),
    ],
)
def test_between_programs(name, child, asked, bits):
    program = child(CLIENT, name, repr(asked))
    with flow_accept(PATIENCE) as f:
        f.settimeout(PATIENCE)
        program.expect(str(bits))
        assert f.get_qos().cypher_s == bits
        digest = hashlib.sha256()
        for _ in range(50):
            packet = os.urandom(100_000)
            digest.update(packet)
            f.write(packet)
        f.write(b"end")
        assert f.readline() == digest.hexdigest()
        with pytest.raises(FlowDownException):
            f.read()
    program.finish()


@pytest.mark.parametrize("kex", ["", "X25519", "X448", "secp521r1", "ML-KEM-768", "X25519MLKEM768"])
def test_key_exchanges(name, kex):
    with flows(name, QoSSpec(kex=kex, cypher_s=128)) as (client, server):
        client.write(b"secret")
        assert server.read() == b"secret"


def test_no_such_key_exchange(name):
    with pytest.raises(ValueError, match="X25519MLKEM768") as caught:
        flow_alloc(name, QoSSpec(kex="X25518"), 5)
    assert caught.value.errno == errno.EINVAL
    assert "X25518" in str(caught.value)
    with pytest.raises(TypeError):
        QoSSpec(kex=5)


# Tampering


def segments() -> list[tuple[int, int]]:
    """Address and length of the flow segments that this process has mapped."""
    found = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            if "memfd:o7s-flow" in line:
                start, end = (int(part, 16) for part in line.split()[0].split("-"))
                found.append((start, end - start))
    return found


def damage(ring: tuple[int, int]) -> None:
    """Inverts a byte in the middle of the only packet of a flow, client to server."""
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        # After the control page.
        start = ring[0] + 4096
        memory.seek(start)
        packet = memory.read(2000)
        middle = 500
        memory.seek(start + middle)
        memory.write(bytes([packet[middle] ^ 0xFF]))


@pytest.mark.parametrize("asked", [QoSSpec(cypher_s=256), QoSSpec(loss=0, cypher_s=128)])
def test_tampering_ends_the_flow(name, asked):
    before = set(segments())
    with flows(name, asked) as (client, server):
        client.write(b"\0" * 1000)
        new = set(segments()) - before
        assert new
        damage(min(new))
        with pytest.raises(FlowIntegrityError) as caught:
            server.read()
        assert caught.value.errno == errno.EBADMSG
        assert isinstance(caught.value, ConnectionError)
        assert not isinstance(caught.value, FlowPeerException)
        assert server.stats().packets_discarded == 1
        for call in (server.read, lambda: server.write(b"x")):
            with pytest.raises(FlowDownException):
                call()


# Signs of life

PEER = """
import sys
from ouroboros.dev import *
with flow_alloc(sys.argv[1], eval(sys.argv[2]), timeo=30) as f:
    f.writeline("here")
    print("ready")
    for packet in f:
        if packet == b"end":
            break
        print(packet.decode())
    f.writeline("bye")
"""

#: Short, and not so short that a machine that is busy with something else is taken for dead.
SHORT = 1000


@pytest.fixture
def stopped(name, child):
    """Accepts a flow from a program, which stops then; also its pid and when it stopped."""
    running = []

    def start(asked: QoSSpec):
        program = child(PEER, name, repr(asked))
        flow = flow_accept(PATIENCE)
        flow.settimeout(PATIENCE)
        running.append(flow)
        program.expect("ready")
        assert flow.readline() == "here"
        os.kill(program.pid, signal.SIGSTOP)
        return flow, program, time.monotonic()

    yield start
    for flow in running:
        flow.close()


def assert_in_time(since: float) -> None:
    passed = time.monotonic() - since
    assert SHORT * 0.4e-3 < passed < SHORT * 1.5e-3 + 3, passed


@pytest.mark.parametrize(
    "asked",
    [
        QoSSpec(timeout=SHORT),
        QoSSpec(timeout=SHORT, loss=0),
        QoSSpec(timeout=SHORT, loss=0, cypher_s=256),
    ],
)
@pytest.mark.parametrize("way", ["read", "poll", "iterate", "event", "aio"])
def test_a_stopped_peer_is_found_within_the_timeout(stopped, asked, way):
    flow, _, since = stopped(asked)
    if way == "read":
        with pytest.raises(FlowPeerException) as caught:
            flow.read()
        assert caught.value.errno == errors.EFLOWPEER
        assert re.search(r"1000 ms|1 s|timeout", str(caught.value)), caught.value
    elif way == "poll":
        assert flow.poll(PATIENCE)
    elif way == "iterate":
        with pytest.raises(FlowPeerException):
            list(flow)
    elif way == "event":
        with FlowSet([flow]) as fset:
            queue = FEventQueue()
            fset.wait(queue, PATIENCE)
            assert list(queue) == [(flow, FEventType.FlowPeer)]
    else:

        async def main():
            async with aio.Flow(flow) as awaited:
                with pytest.raises(FlowPeerException):
                    await asyncio.wait_for(awaited.read(), PATIENCE)

        asyncio.run(main())
        assert_in_time(since)
        return
    assert_in_time(since)
    with pytest.raises(FlowPeerException):
        flow.read()
    assert flow.state == "peer gone"


def test_a_peer_that_wakes_up_too_late(stopped):
    """It is not taken back, but what it writes is there (frcp.md K4)."""
    flow, program, _ = stopped(QoSSpec(timeout=SHORT))
    with pytest.raises(FlowPeerException):
        flow.read()
    assert flow.write(b"end") == 3
    os.kill(program.pid, signal.SIGCONT)
    with contextlib.suppress(FlowDownException):
        # It may have found us silent, if nothing else.
        program.process.wait(PATIENCE)
    assert flow.readline() == "bye"
    with pytest.raises(FlowDownException):
        flow.read()


def test_what_arrived_is_read_before_the_peer_counts_as_dead(name, child):
    program = child(PEER, name, repr(QoSSpec(timeout=SHORT)))
    with flow_accept(PATIENCE) as flow:
        flow.settimeout(PATIENCE)
        program.expect("ready")
        os.kill(program.pid, signal.SIGSTOP)
        with FlowSet([flow]) as fset:
            kinds = []
            while FEventType.FlowPeer not in kinds:
                queue = FEventQueue()
                fset.wait(queue, PATIENCE)
                kinds += [kind for _, kind in queue]
        assert flow.readline() == "here"
        with pytest.raises(FlowPeerException):
            flow.read()


@pytest.mark.parametrize("asked", [QoSSpec(timeout=60_000), QoSSpec.data(), QoSSpec(cypher_s=128)])
def test_a_peer_that_stops_for_less_loses_nothing(stopped, asked):
    flow, program, _ = stopped(asked)
    messages = [f"message {number}" for number in range(2000)]
    for message in messages:
        flow.writeline(message)
    flow.write(b"end")
    with pytest.raises(TimeoutError):
        flow.settimeout(0.05)
        flow.read()
    os.kill(program.pid, signal.SIGCONT)
    for message in messages:
        program.expect(message)
    flow.settimeout(PATIENCE)
    assert flow.readline() == "bye"
    with pytest.raises(FlowDownException):
        flow.read()
    program.finish()


def test_a_killed_peer_is_found_at_once(name, child):
    for asked in (QoSSpec.data(), QoSSpec(timeout=0), QoSSpec(cypher_s=128)):
        program = child(PEER, name, repr(asked))
        with flow_accept(PATIENCE) as flow:
            flow.settimeout(PATIENCE)
            program.expect("ready")
            assert flow.readline() == "here"
            program.process.kill()
            with pytest.raises(FlowPeerException, match="died"):
                flow.read()


@pytest.mark.parametrize("asked", [QoSSpec(timeout=300), QoSSpec(timeout=300, loss=0)])
def test_a_quiet_peer_is_not_dead(name, asked):
    # Three times the timeout; both ends are looked after by one thread of this process.
    with flows(name, asked) as (client, server):
        client.settimeout(0.9)
        with pytest.raises(TimeoutError):
            client.read()
        server.write(b"still here")
        assert client.read() == b"still here"
        assert client.stats().packets_read == 1


def test_a_forked_child_leaves_the_flow_alone(name):
    with flows(name, QoSSpec(loss=0, cypher_s=128, timeout=30_000)) as (client, server):
        pid = os.fork()
        if pid == 0:
            try:
                client.write(b"from the child")
            except OSError as error:
                os._exit(0 if "fork" in str(error) else 1)
            os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0
        client.write(b"from the parent")
        assert server.read() == b"from the parent"


def test_many_flows_with_services(node):
    name = f"many-{uuid.uuid4().hex}"
    node.serve_name(name)
    pairs = [connect(name, QoSSpec(loss=0, cypher_s=128, timeout=30_000)) for _ in range(100)]
    for number, (client, _) in enumerate(pairs):
        client.writeline(str(number))
    for number, (client, server) in enumerate(pairs):
        assert server.readline() == str(number)
        client.close()
        server.close()
