"""Buffers, views, many packets at once, and the manners of Connection (api.md C5 to C8)."""

import array
import ctypes
import gc
import mmap
import multiprocessing

import pytest
from conftest import PATIENCE, connect

from ouroboros import errors
from ouroboros.dev import *
from ouroboros.dev import PacketView


def fill(flow):
    """Writes until there is no room; what was written."""
    flow.setblocking(False)
    written = 0
    with pytest.raises(BlockingIOError):
        while True:
            flow.write(b"x" * 1000)
            written += 1
    flow.setblocking(True)
    return written


# Any contiguous buffer, in and out


def buffers():
    return {
        "bytearray": bytearray(16),
        "memoryview": memoryview(bytearray(20))[2:18],
        "array": array.array("I", [0, 0, 0, 0]),
        "mmap": mmap.mmap(-1, 16),
        "ctypes": (ctypes.c_char * 16)(),
        "shape": memoryview(bytearray(16)).cast("B", (4, 4)),
    }


@pytest.mark.parametrize("kind", buffers())
def test_any_contiguous_buffer(pair, kind):
    buffer = buffers()[kind]
    pair.client.write(b"0123456789abcdef")
    assert pair.server.read_into(buffer) == 16
    assert pair.server.read(1) == b""
    assert bytes(memoryview(buffer).cast("B")) == b"0123456789abcdef"
    pair.client.write(buffer)
    pair.client.write(buffer, 3)
    pair.client.write_many([buffer, b"last"])
    assert [pair.server.read() for _ in range(4)] == [
        b"0123456789abcdef",
        b"012",
        b"0123456789abcdef",
        b"last",
    ]


def test_what_read_into_refuses(pair):
    pair.client.write(b"abc")
    with pytest.raises(BufferError):
        pair.server.read_into(b"read-only")
    with pytest.raises(BufferError):
        pair.server.read_into(memoryview(bytearray(8))[::2])
    for bad in ("text", 5, None, []):
        with pytest.raises(TypeError):
            pair.server.read_into(bad)
    with pytest.raises(ValueError, match="fewer"):
        pair.server.read_into(bytearray(3), 4)
    with pytest.raises(ValueError, match="negative"):
        pair.server.read_into(bytearray(3), -1)
    assert pair.server.read() == b"abc"


def test_a_buffer_is_free_again(pair):
    """No export is left, whether the call succeeded or not."""
    buffer = bytearray(8)
    pair.client.write(b"abc")
    pair.server.read_into(buffer)
    pair.client.write(buffer)
    pair.client.write_many([buffer])
    pair.server.setblocking(False)
    pair.server.read_many(2)
    with pytest.raises(BlockingIOError):
        pair.server.read_into(buffer)
    buffer.extend(b"it may grow")


def test_empty_buffers(pair):
    assert pair.client.write(bytearray()) == 0
    assert pair.client.write_many([b"", b"a", b"", bytearray(), b"b", b""]) == 6
    assert pair.server.read_many(9) == [b"a", b"b"]


# Many packets


def test_many(pair):
    packets = [b"%d" % number for number in range(1000)]
    assert pair.client.write_many(packets) == 1000
    assert pair.server.read_many(10) == packets[:10]
    assert pair.server.read_many(10**6) == packets[10:]
    assert pair.client.write_many(iter(packets[:5])) == 5
    assert pair.client.write_many(packet for packet in packets[5:9]) == 4
    assert pair.client.write_many(tuple(packets[9:11])) == 2
    assert pair.client.write_many([]) == 0
    assert pair.server.read_many(11) == packets[:11]


def test_many_after_a_part(pair):
    pair.client.write_many([b"0123456789", b"next"])
    assert pair.server.read(4) == b"0123"
    assert pair.server.read_many(9) == [b"456789", b"next"]
    pair.client.writeline("héllo")
    assert pair.server.readline(2) == "hé"
    assert pair.server.read_many(9) == [b"llo"]


def test_many_large_packets(pair):
    packets = [bytes([number]) * 200_000 for number in range(5)]
    assert pair.client.write_many(packets) == 5
    assert pair.server.read_many(9) == packets


def test_read_many_waits_for_the_first_only(pair):
    with pytest.raises(TimeoutError):
        pair.server.read_many(5, 0)
    with pytest.raises(TimeoutError):
        pair.server.read_many(5, timeo=0.01)
    pair.client.write(b"one")
    assert pair.server.read_many(5, PATIENCE) == [b"one"]
    pair.server.setblocking(False)
    with pytest.raises(BlockingIOError):
        pair.server.read_many(5)
    pair.client.write(b"two")
    assert pair.server.read_many(5) == [b"two"]


def test_write_many_in_part(pair):
    room = fill(pair.client)
    pair.client.setblocking(False)
    with pytest.raises(BlockingIOError):
        pair.client.write_many([b"x" * 1000] * 5)
    pair.server.read_many(room // 2)
    accepted = pair.client.write_many([b"y" * 1000] * room)
    assert 0 < accepted < room
    pair.client.setblocking(True)
    pair.client.settimeout(0.01)
    with pytest.raises(TimeoutError):
        pair.client.write_many([b"z" * 1000] * 5)
    rest = pair.server.read_many(10**6)
    assert rest.count(b"y" * 1000) == accepted
    assert b"z" * 1000 not in rest


def test_write_many_reports_what_was_accepted_before_an_error(pair):
    too_large = bytes(pair.client.max_packet + 1)
    assert pair.client.write_many([b"a", b"b", too_large, b"c"]) == 2
    with pytest.raises(FlowException) as caught:
        pair.client.write_many([too_large, b"c"])
    assert caught.value.errno == errno.EMSGSIZE
    assert pair.server.read_many(9) == [b"a", b"b"]
    pair.server.dealloc()
    with pytest.raises(FlowDownException):
        pair.client.write_many([b"a"])


def test_what_many_refuses(pair):
    for bad in (b"bytes", bytearray(b"x"), "text", 5, None):
        with pytest.raises(TypeError):
            pair.client.write_many(bad)
    for bad in (["text"], [b"good", 5], [b"good", None]):
        with pytest.raises(TypeError):
            pair.client.write_many(bad)
    with pytest.raises(BufferError):
        pair.client.write_many([b"good", memoryview(b"0123")[::2]])
    with pytest.raises(ValueError, match="at least 1"):
        pair.server.read_many(0)
    for bad in (-1, 10**30):
        with pytest.raises(OverflowError):
            pair.server.read_many(bad)
    assert pair.server.get_rx_queue_len() == 0


# Views


def test_view(pair):
    pair.client.write_many([b"first packet", b"second"])
    with pair.server.recv_view() as view:
        assert isinstance(view, memoryview)
        assert view.readonly
        assert view == b"first packet"
        assert bytes(view[6:]) == b"packet"
        with pytest.raises(TypeError):
            view[0] = 1
        with pytest.raises(FlowException) as caught:
            pair.server.read()
        assert caught.value.errno == errno.EBUSY
    for use in (lambda: view[0], lambda: bytes(view), lambda: len(view)):
        with pytest.raises(ValueError, match="released"):
            use()
    assert pair.server.read() == b"second"


def test_view_of_the_rest_of_a_packet(pair):
    pair.client.write(b"0123456789")
    assert pair.server.read(4) == b"0123"
    with pair.server.recv_view() as view:
        assert view == b"456789"
    pair.server.setblocking(False)
    with pytest.raises(BlockingIOError):
        pair.server.recv_view()


def test_view_without_with(pair):
    pair.client.write_many([b"a", b"b", b"c"])
    packet = pair.server.recv_view()
    assert isinstance(packet, PacketView)
    assert len(packet) == 1
    packet.release()
    packet.release()
    with pytest.raises(ValueError, match="released"), packet:
        pass
    pair.server.recv_view()
    gc.collect()
    assert pair.server.read() == b"c"


def test_the_flow_may_go_first(name):
    client, server = connect(name)
    client.write(b"x" * 100_000)
    with server.recv_view() as view:
        server.dealloc()
        client.dealloc()
        del server, client
        gc.collect()
        assert view == b"x" * 100_000
    with pytest.raises(ValueError, match="released"):
        view[0]


def test_slices_keep_the_packet(pair):
    pair.client.write_many([b"0123456789", b"next"])
    with pair.server.recv_view() as view:
        part = view[3:6]
    assert part == b"345"
    with pytest.raises(FlowException):
        pair.server.read()
    part.release()
    assert pair.server.read() == b"next"


def test_a_view_in_use_says_so(pair):
    pair.client.write_many([b"0123", b"next"])
    packet = pair.server.recv_view()
    with packet as view:
        other = memoryview(view)
        user = array.array("B")
        user.frombytes(view)
        hold = memoryview(view).cast("H")
    # Views of the view are views of the packet: it stays until they go.
    assert hold.tolist() == [0x3130, 0x3332]
    assert user.tobytes() == other == b"0123"
    with pytest.raises(FlowException):
        pair.server.read()
    del hold, other
    assert pair.server.read() == b"next"


def test_views_in_large_number(pair):
    for number in range(5000):
        message = b"%d" % number * 100
        pair.client.write(message)
        with pair.server.recv_view() as view:
            assert view == message
    assert pair.server.stats().packets_read == 5000


# As in multiprocessing.connection


def test_connection_manners(pair):
    pair.client.send_bytes(b"0123456789")
    pair.client.send_bytes(bytearray(b"0123456789"), 2)
    pair.client.send_bytes(array.array("H", [0x3130, 0x3332]), 1, 2)
    assert pair.server.recv_bytes() == b"0123456789"
    assert pair.server.recv_bytes(8) == b"23456789"
    buffer = bytearray(6)
    assert pair.server.recv_bytes_into(buffer, 3) == 2
    assert buffer == b"\0\0\x0012\0"
    pair.client.send_bytes(b"too long")
    with pytest.raises(multiprocessing.BufferTooShort) as caught:
        pair.server.recv_bytes_into(buffer)
    assert caught.value.args[0] == b"too long"
    pair.client.send_bytes(b"too long")
    pair.client.send_bytes(b"good")
    with pytest.raises(OSError, match="maxlength"):
        pair.server.recv_bytes(3)
    assert pair.server.recv_bytes() == b"good"


def test_connection_arguments(pair):
    for arguments in [(b"abc", -1), (b"abc", 4), (b"abc", 0, -1), (b"abc", 1, 3)]:
        with pytest.raises(ValueError):
            pair.client.send_bytes(*arguments)
    with pytest.raises(TypeError):
        pair.client.send_bytes("text")
    with pytest.raises(ValueError):
        pair.server.recv_bytes(-1)
    for offset in (-1, 5):
        with pytest.raises(ValueError):
            pair.server.recv_bytes_into(bytearray(4), offset)
    assert not pair.server.poll()


def test_the_end_is_an_eof(pair):
    pair.client.send_bytes(b"last")
    pair.client.close()
    assert pair.server.recv_bytes() == b"last"
    for call in (pair.server.recv_bytes, lambda: pair.server.recv_bytes_into(bytearray(1))):
        with pytest.raises(EOFError) as caught:
            call()
        assert isinstance(caught.value, FlowDownException)
        assert caught.value.errno == errors.EFLOWDOWN


def test_poll(pair):
    assert pair.server.poll() is False
    assert pair.server.poll(0.01) is False
    pair.client.write(b"x")
    assert pair.server.poll() is True
    assert pair.server.poll(None) is True
    assert pair.server.poll(timeout=PATIENCE) is True
    assert pair.server.read() == b"x"
    pair.client.close()
    assert pair.server.poll(None) is True
    with pytest.raises(FlowNotAllocatedException):
        pair.client.poll()
    with pytest.raises(TypeError, match="seconds"):
        pair.server.poll("1")


def test_everything_new_on_an_unallocated_flow():
    flow = Flow()
    for call in (
        lambda: flow.read_many(1),
        lambda: flow.write_many([b"x"]),
        flow.recv_view,
        flow.recv_bytes,
        lambda: flow.recv_bytes_into(bytearray(1)),
        lambda: flow.send_bytes(b""),
        flow.poll,
    ):
        with pytest.raises(FlowNotAllocatedException):
            call()
