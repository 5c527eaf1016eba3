"""Flows: allocation, reading, writing, flags, time limits (api.md B2)."""

import array
import errno
import math
import pickle
import select
import threading

import pytest
from conftest import PATIENCE, connect

from ouroboros import errors
from ouroboros.dev import *


def limits(flow):
    return flow.get_rcv_timeout(), flow.get_snd_timeout()


# Allocation


def test_alloc_returns_the_qos_always(name):
    server = threading.Thread(target=lambda: flow_accept(PATIENCE).dealloc())
    server.start()
    flow = Flow()
    qos = flow.alloc(name, None, PATIENCE)
    server.join()
    assert isinstance(qos, QoSSpec)
    assert qos == flow.get_qos()
    with pytest.raises(FlowAllocatedException) as caught:
        flow.alloc(name)
    assert caught.value.errno == errno.EISCONN
    flow.dealloc()


def test_qos_arrives_unchanged_at_both_ends(name):
    asked = QoSSpec(
        delay=7, bandwidth=2**40, availability=5, loss=9, ber=1, max_gap=11, timeout=500
    )
    client, server = connect(name, asked)
    assert client.get_qos() == asked
    assert server.get_qos() == asked
    client.dealloc()
    server.dealloc()


def test_do_not_care_values_of_both_traditions(name):
    for qos in (QoSSpec(), QoSSpec.raw()):
        client, server = connect(name, qos)
        got = server.get_qos()
        assert (got.delay, got.max_gap, got.loss) == (qos.delay, qos.max_gap, qos.loss)
        client.dealloc()
        server.dealloc()


def test_qos_must_be_a_qosspec():
    for qos in (5, "raw", (1, 2)):
        with pytest.raises(TypeError, match="QoSSpec"):
            flow_alloc("x", qos)
    with pytest.raises(TypeError, match=r"QoSSpec\.data\(\)"):
        flow_alloc("x", QoSSpec.data)


@pytest.mark.parametrize("bad", ["", "x" * 256, "é" * 128, "a\0b", "\ud800", "\udcff.x"])
def test_bad_names(node, bad):
    for call in (flow_alloc, flow_join):
        with pytest.raises(ValueError) as caught:
            call(bad)
        assert isinstance(caught.value, errors.OuroborosError)
        assert caught.value.errno == errno.EINVAL
    for bad_type in (b"name", 5, None):
        with pytest.raises(TypeError):
            flow_alloc(bad_type)


def test_names_of_255_bytes(node):
    name = "é" * 127 + "x"
    node.serve_name(name)
    client, server = connect(name)
    assert client.name == name
    assert server.name == name
    client.dealloc()
    server.dealloc()


def test_unknown_name(node):
    with pytest.raises(FlowException) as caught:
        flow_alloc("nobody-has-this-name", timeo=PATIENCE)
    assert "nobody-has-this-name" in str(caught.value)


def test_name_that_nobody_accepts(name):
    with pytest.raises(TimeoutError) as caught:
        flow_alloc(name, timeo=0.05)
    assert isinstance(caught.value, errors.FlowTimeout)
    assert caught.value.errno == errno.ETIMEDOUT


def test_accept_zero_polls(name):
    for timeo in (0, 0.0, -1, -math.inf, -(10**400)):
        with pytest.raises(TimeoutError):
            flow_accept(timeo)


@pytest.mark.parametrize("timeo", [math.inf, 1e300, 10**400, 1e9])
def test_absurd_time_limits_are_for_ever(name, timeo):
    server = threading.Thread(target=lambda: flow_accept(timeo).dealloc())
    server.start()
    flow_alloc(name, timeo=timeo).dealloc()
    server.join()


def test_bad_time_limits(node):
    for call in (
        lambda t: flow_alloc("x", timeo=t),
        flow_accept,
        lambda t: flow_join("x", timeo=t),
    ):
        with pytest.raises(ValueError, match="NaN"):
            call(math.nan)
        with pytest.raises(TypeError, match="seconds"):
            call("1")


def test_join_without_a_broadcast_layer(node):
    with pytest.raises(FlowException) as caught:
        flow_join("nowhere")
    assert caught.value.errno == errors.EIPCP
    assert "broadcast" in str(caught.value)
    for arguments in [(QoSSpec(),), (QoSSpec(), 1.0), (None, 1.0), (1.0,), ()]:
        with pytest.raises(FlowException):
            Flow().join("nowhere", *arguments)
    with pytest.raises(TypeError):
        Flow().join("nowhere", 1.0, 1.0)


def test_join_with_encryption(node):
    for call in (flow_join, Flow().join):
        with pytest.raises(OSError, match="cypher_s") as caught:
            call("nowhere", QoSSpec(cypher_s=1))
        assert caught.value.errno == errno.ENOTSUP


def test_asynchronous_allocation(name):
    flow = Flow()
    asked = QoSSpec(timeout=1234)
    assert flow.alloc(name, asked, timeo=0) == asked
    assert flow.state == "pending"
    for call in (flow.read, lambda: flow.write(b"x"), flow.get_flags, flow.get_qos):
        with pytest.raises(FlowNotAllocatedException) as caught:
            call()
        assert caught.value.errno == errno.EINPROGRESS
    with pytest.raises(FlowAllocatedException):
        flow.alloc(name)
    assert "pending" in repr(flow)
    with FlowSet([flow]) as fset:
        server = flow_accept(PATIENCE)
        fq = FEventQueue()
        fset.wait(fq, PATIENCE)
        f, t = fq.next()
    assert f is flow
    assert t == FEventType.FlowAlloc
    flow.write(b"now")
    assert server.read() == b"now"
    assert flow.get_qos() == asked
    flow.dealloc()
    server.dealloc()


def test_asynchronous_allocation_that_fails(node):
    flow = Flow()
    try:
        flow.alloc("nobody-has-this-name", timeo=0)
    except FlowException:
        assert flow.closed
        return
    with FlowSet([flow]) as fset:
        fq = FEventQueue()
        fset.wait(fq, PATIENCE)
        f, t = fq.next()
    assert f is flow
    assert t == FEventType.FlowDealloc
    with pytest.raises(errors.OuroborosError):
        flow.read()
    flow.close()
    assert flow.closed


def test_pending_allocation_can_be_dropped(name, node):
    flow = Flow()
    flow.alloc(name, timeo=0)
    flow.dealloc()
    assert flow.closed
    with pytest.raises(TimeoutError):
        flow_accept(0)


# Deallocation


def test_dealloc_twice(pair):
    pair.client.dealloc()
    with pytest.raises(FlowDeallocWarning) as caught:
        pair.client.dealloc()
    assert caught.value.errno == errors.ENOTALLOC
    pair.client.close()
    assert pair.client.closed


def test_everything_on_an_unallocated_flow():
    flow = Flow()
    calls = [
        flow.read,
        lambda: flow.read(1),
        flow.readline,
        lambda: flow.write(b""),
        lambda: flow.writeline(""),
        lambda: flow.read_into(bytearray(1)),
        lambda: flow.set_snd_timeout(1),
        lambda: flow.set_rcv_timeout(1),
        flow.get_snd_timeout,
        flow.get_rcv_timeout,
        flow.get_qos,
        flow.get_rx_queue_len,
        flow.get_tx_queue_len,
        lambda: flow.set_flags(FlowProperties.ReadWrite),
        flow.get_flags,
        lambda: flow.set_frct_flags(0),
        flow.get_frct_flags,
        lambda: flow.setblocking(False),
        lambda: flow.settimeout(1),
        flow.fileno,
        flow.stats,
    ]
    for call in calls:
        with pytest.raises(FlowNotAllocatedException) as caught:
            call()
        assert caught.value.errno == errors.ENOTALLOC
    assert flow.closed
    assert flow.fd == -1
    assert flow.name is None
    assert repr(flow) == "<Flow unallocated>"


def test_the_other_end_learns_of_dealloc(pair):
    pair.client.write(b"last words")
    pair.client.dealloc()
    assert pair.server.read() == b"last words"
    with pytest.raises(FlowDownException) as caught:
        pair.server.read()
    assert isinstance(caught.value, ConnectionError)
    with pytest.raises(FlowDownException):
        pair.server.write(b"x")


def test_iteration_ends_with_the_flow(pair):
    for number in range(3):
        pair.client.write(b"%d" % number)
    pair.client.dealloc()
    assert list(pair.server) == [b"0", b"1", b"2"]


def test_identity_numbers_and_repr(pair):
    assert pair.client.fd >= 64
    assert pair.server.fd >= 64
    assert pair.client.fd != pair.server.fd
    assert pair.client.state == "allocated"
    assert pair.client.name in repr(pair.client)
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(pair.client)


# Reading and writing


def test_messages_keep_their_boundaries(pair):
    for message in (b"one", b"two", b"x" * 10_000):
        assert pair.client.write(message) == len(message)
    assert [pair.server.read() for _ in range(3)] == [b"one", b"two", b"x" * 10_000]


def test_partial_reads(pair):
    pair.client.write(b"0123456789")
    assert [pair.server.read(4) for _ in range(3)] == [b"0123", b"4567", b"89"]
    pair.client.write(b"abcd")
    assert pair.server.read(4) == b"abcd"
    assert pair.server.read(4) == b""
    pair.client.write(b"rest")
    assert pair.server.read(1) == b"r"
    assert pair.server.read() == b"est"
    pair.client.write(b"next")
    assert pair.server.read(10**30) == b"next"


def test_end_mark_is_for_counted_reads_only(pair):
    pair.client.write(b"abcd")
    pair.client.write(b"efgh")
    assert pair.server.read(4) == b"abcd"
    assert pair.server.read() == b"efgh"


def test_no_partial_read(pair):
    pair.server.set_flags(FlowProperties.ReadWrite | FlowProperties.NoPartialRead)
    pair.client.write(b"0123456789")
    pair.client.write(b"ok")
    with pytest.raises(FlowException) as caught:
        pair.server.read(4)
    assert caught.value.errno == errno.EMSGSIZE
    assert pair.server.read(4) == b"ok"
    pair.client.writeline("much too long")
    pair.client.writeline("ok")
    with pytest.raises(OSError) as caught:
        pair.server.readline(4)
    assert caught.value.errno == errno.EMSGSIZE
    assert pair.server.readline(4) == "ok"


def test_readline_counts_characters(pair):
    pair.client.writeline("héllo wörld")
    assert pair.server.readline(2) == "hé"
    assert pair.server.readline(3) == "llo"
    assert pair.server.read() == " wörld".encode()
    pair.client.writeline("exact")
    assert pair.server.readline(5) == "exact"
    pair.client.writeline("next")
    assert pair.server.readline() == "next"


def test_bad_utf8_stays_readable(pair):
    pair.client.write(b"ab\xffcd")
    for _ in range(2):
        with pytest.raises(UnicodeDecodeError):
            pair.server.readline()
    assert pair.server.read() == b"ab\xffcd"


def test_text_with_lone_surrogates_is_refused(pair):
    with pytest.raises(UnicodeEncodeError):
        pair.client.writeline("\ud800")
    pair.client.writeline("still works")
    assert pair.server.readline() == "still works"


def test_counts(pair):
    assert pair.client.write(b"hello", 2) == 2
    assert pair.client.write(b"hello", 0) == 0
    assert pair.client.write(b"hello", 10**30) == 5
    assert pair.client.writeline("héllo", 2) == 3
    assert [pair.server.read() for _ in range(3)] == [b"he", b"hello", "hé".encode()]
    for call in (
        lambda: pair.client.write(b"x", -1),
        lambda: pair.client.writeline("x", -1),
        lambda: pair.server.read(-1),
        lambda: pair.server.readline(-1),
        lambda: pair.server.read(-(10**30)),
    ):
        with pytest.raises(ValueError, match="negative"):
            call()
    with pytest.raises(TypeError):
        pair.server.read(1.5)


@pytest.mark.parametrize(
    "buffer",
    [
        b"bytes",
        bytearray(b"bytearray"),
        memoryview(b"view"),
        memoryview(bytearray(b"0123456789"))[2:5],
        array.array("I", [1, 2, 3]),
    ],
)
def test_any_bytes_like_object(pair, buffer):
    expected = bytes(buffer)
    assert pair.client.write(buffer) == len(expected)
    assert pair.server.read() == expected


def test_what_is_not_bytes_like(pair):
    for bad in ("text", 5, None, [1, 2]):
        with pytest.raises(TypeError):
            pair.client.write(bad)
    with pytest.raises(BufferError):
        pair.client.write(memoryview(b"0123456789")[::2])
    with pytest.raises(TypeError):
        pair.client.writeline(b"bytes")


def test_read_into(pair):
    buffer = bytearray(b"........")
    pair.client.write(b"abc")
    assert pair.server.read_into(buffer) == 3
    assert buffer == b"abc....."
    pair.client.write(b"0123456789")
    assert pair.server.readinto(memoryview(buffer)[4:]) == 4
    assert buffer == b"abc.0123"
    assert pair.server.read_into(buffer, 2) == 2
    assert pair.server.read() == b"6789"
    with pytest.raises(BufferError):
        pair.server.read_into(b"read-only")
    for nbytes in (-1, 9):
        with pytest.raises(ValueError, match="nbytes"):
            pair.server.read_into(buffer, nbytes)


def test_empty_writes_are_not_delivered(pair):
    assert pair.client.write(b"") == 0
    pair.client.write(b"x")
    assert pair.server.read() == b"x"


def test_the_largest_packet(pair):
    most = pair.client.max_packet
    packet = bytes(range(256)) * (most // 256) + b"\0" * (most % 256)
    writer = threading.Thread(target=pair.client.write, args=(packet,))
    writer.start()
    assert pair.server.read() == packet
    writer.join()
    with pytest.raises(FlowException) as caught:
        pair.client.write(packet + b"x")
    assert caught.value.errno == errno.EMSGSIZE


# Control


def test_time_limits(pair):
    flow = pair.client
    flow.settimeout(None)
    assert limits(flow) == (None, None)
    flow.set_rcv_timeout(1)
    flow.set_snd_timeout(0.5)
    assert limits(flow) == (1.0, 0.5)
    flow.settimeout(2)
    assert limits(flow) == (2.0, 2.0)
    assert flow.gettimeout() == 2.0
    flow.set_rcv_timeout(-3)
    assert flow.get_rcv_timeout() == 0.0
    for absurd in (math.inf, 1e300, 10**400):
        flow.set_rcv_timeout(absurd)
        assert flow.get_rcv_timeout() is None
    for call in (flow.set_rcv_timeout, flow.set_snd_timeout, flow.settimeout):
        with pytest.raises(ValueError, match="NaN"):
            call(math.nan)
        with pytest.raises(TypeError):
            call("1")


def test_read_times_out(pair):
    for limit in (0, 0.02):
        pair.server.set_rcv_timeout(limit)
        with pytest.raises(errors.FlowTimeout):
            pair.server.read()
        with pytest.raises(TimeoutError):
            pair.server.readline()


def fill(flow):
    """Writes until there is no room."""
    flow.setblocking(False)
    packet = b"x" * 1000
    with pytest.raises(errors.FlowWouldBlock):
        while True:
            flow.write(packet)
    flow.setblocking(True)


def test_write_times_out(pair):
    fill(pair.client)
    for limit in (0, 0.02):
        pair.client.set_snd_timeout(limit)
        with pytest.raises(errors.FlowTimeout):
            pair.client.write(b"x" * 1000)


def test_a_full_flow_goes_on_when_it_is_read(pair):
    fill(pair.client)
    queued = pair.server.get_rx_queue_len()
    assert queued > 0
    assert pair.client.get_tx_queue_len() == queued
    writer = threading.Thread(target=pair.client.write, args=(b"the last",))
    writer.start()
    for _ in range(queued):
        assert pair.server.read() == b"x" * 1000
    assert pair.server.read() == b"the last"
    writer.join()


def test_non_blocking(pair):
    pair.server.set_flags(FlowProperties.ReadWrite | FlowProperties.NonBlockingRead)
    for call in (pair.server.read, pair.server.readline, lambda: pair.server.read(5)):
        with pytest.raises(BlockingIOError) as caught:
            call()
        assert caught.value.errno == errno.EAGAIN
    pair.server.setblocking(False)
    assert not pair.server.getblocking()
    assert pair.server.get_flags() == FlowProperties.ReadWrite | FlowProperties.NonBlocking
    pair.server.setblocking(True)
    assert pair.server.getblocking()
    assert pair.server.get_flags() == FlowProperties.ReadWrite


def test_flags_are_replaced(pair):
    default = FlowProperties.ReadWrite | FlowProperties.NoPartialWrite
    assert pair.client.get_flags() == default
    assert isinstance(pair.client.get_flags(), FlowProperties)
    # The access mode is part of the flags: without it the flow is read-only.
    pair.client.set_flags(FlowProperties.NonBlocking)
    with pytest.raises(FlowPermissionException) as caught:
        pair.client.write(b"x")
    assert isinstance(caught.value, PermissionError)
    assert caught.value.errno == errno.EPERM
    pair.client.set_flags(FlowProperties.ReadWrite)
    pair.client.write(b"x")
    assert pair.server.read() == b"x"


def test_write_only_forbids_the_peer_to_write(pair):
    pair.client.set_flags(FlowProperties.WriteOnly)
    with pytest.raises(FlowPermissionException):
        pair.server.write(b"x")
    pair.client.write(b"this way")
    assert pair.server.read() == b"this way"
    pair.client.set_flags(FlowProperties.ReadWrite)
    pair.server.write(b"and back")
    assert pair.client.read() == b"and back"


def test_down_and_up(pair):
    pair.client.set_flags(FlowProperties.ReadWrite | FlowProperties.Down)
    with pytest.raises(FlowDownException):
        pair.server.read()
    assert pair.server.state == "down"
    pair.client.set_flags(FlowProperties.ReadWrite)
    pair.client.write(b"up again")
    assert pair.server.read() == b"up again"


def test_frct_flags_need_frct(pair):
    with pytest.raises(FlowPermissionException):
        pair.client.get_frct_flags()
    with pytest.raises(FlowPermissionException):
        pair.client.set_frct_flags(FRCT_LINGER)


def test_fileno_is_for_poll(pair):
    poll = select.poll()
    poll.register(pair.server.fileno(), select.POLLIN)
    assert pair.server.fileno() == pair.server.fileno()
    assert poll.poll(0) == []
    pair.client.write(b"one")
    pair.client.write(b"two")
    assert poll.poll(PATIENCE * 1000)
    assert pair.server.read() == b"one"
    assert poll.poll(PATIENCE * 1000)
    assert pair.server.read() == b"two"
    assert poll.poll(0) == []
    pair.client.dealloc()
    assert poll.poll(PATIENCE * 1000)


def test_stats(pair):
    pair.client.write(b"12345")
    assert pair.server.stats().rx_queue == 1
    pair.server.read()
    assert pair.client.stats()[2:4] == (1, 5)
    assert pair.server.stats()[:2] == (1, 5)


def test_with_deallocates_once(name):
    client, server = connect(name)
    with client as f:
        assert f is client
        f.dealloc()
    with pytest.raises(FlowNotAllocatedException):
        client.read()
    with pytest.raises(KeyError), server:
        raise KeyError("not suppressed")
    assert server.closed


def test_alloc_on_an_existing_flow(name):
    client, server = connect(name)
    client.dealloc()
    server.dealloc()
    thread = threading.Thread(target=lambda: server.accept(PATIENCE))
    thread.start()
    client.alloc(name)
    thread.join()
    client.writeline("again")
    assert server.readline() == "again"
    client.dealloc()
    server.dealloc()
