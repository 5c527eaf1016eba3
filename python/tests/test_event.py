"""Flow sets and event queues (api.md B4)."""

import errno
import gc
import math
import pickle
import select
import threading
import weakref

import pytest
from conftest import PATIENCE, connect

from ouroboros import errors
from ouroboros.event import *


@pytest.fixture
def three(name):
    """Three flows of this process."""
    pairs = [connect(name) for _ in range(3)]
    yield pairs
    for pair in pairs:
        for flow in pair:
            flow.close()


def servers(pairs):
    return [pair.server for pair in pairs]


def test_one_event_per_packet(three):
    fq = FEventQueue()
    with FlowSet(servers(three)) as fset:
        three[0].client.write(b"a")
        three[0].client.write(b"b")
        three[2].client.write(b"c")
        events = []
        while len(events) < 3:
            assert fset.wait(fq, PATIENCE) is True
            events += list(fq)
        assert fset.select(0) == []
    counts = {id(f): sum(f is g for g, _ in events) for f, _ in events}
    assert counts == {id(three[0].server): 2, id(three[2].server): 1}
    assert all(t == FEventType.FlowPkt for _, t in events)
    assert [three[0].server.read() for _ in range(2)] == [b"a", b"b"]
    assert three[2].server.read() == b"c"


def test_packets_from_before_the_set(three):
    three[1].client.write(b"early")
    three[1].client.write(b"bird")
    with FlowSet(servers(three)) as fset:
        events = []
        while len(events) < 2:
            events += fset.select(PATIENCE)
    assert [(f, int(t)) for f, t in events] == [(three[1].server, 1)] * 2


def test_event_types_are_enum_members_and_ints(three):
    with FlowSet(servers(three)) as fset:
        three[0].client.write(b"x")
        ((flow, kind),) = fset.select(PATIENCE)
    assert type(kind) is FEventType
    assert kind == FEventType.FlowPkt == 1
    assert flow is three[0].server
    assert [int(kind) for kind in FEventType] == [1, 2, 4, 8, 16, 32]


def test_dealloc_down_and_up_events(three):
    with FlowSet(servers(three)) as fset:
        both = FlowProperties.ReadWrite
        three[0].client.set_flags(both | FlowProperties.Down)
        assert fset.select(PATIENCE) == [(three[0].server, FEventType.FlowDown)]
        three[0].client.set_flags(both)
        assert fset.select(PATIENCE) == [(three[0].server, FEventType.FlowUp)]
        three[1].client.dealloc()
        assert fset.select(PATIENCE) == [(three[1].server, FEventType.FlowDealloc)]


def test_peer_event_when_a_process_is_killed(node, name, child):
    program = child(
        """
        import signal, sys
        from ouroboros.dev import *
        flow = flow_alloc(sys.argv[1])
        print("allocated")
        signal.pause()
    """,
        name,
    )
    with flow_accept(PATIENCE) as flow, FlowSet([flow]) as fset:
        program.expect("allocated")
        program.process.kill()
        ((f, t),) = fset.select(PATIENCE)
        assert f is flow
        assert t in (FEventType.FlowPeer, FEventType.FlowDealloc)
        with pytest.raises(FlowDownException):
            flow.read()


def test_end_of_the_queue():
    fq = FEventQueue()
    end = fq.next()
    assert not end
    for use in (
        lambda: tuple(end),
        lambda: list(end),
        lambda: end[0],
        lambda: end.flow,
        lambda: end.type,
        lambda: (lambda f, t: None)(*end),
    ):
        with pytest.raises(FlowEventError):
            use()
    with pytest.raises(FlowEventError) as caught:
        _f, _t = end
    assert caught.value.errno == errno.EAGAIN
    assert list(fq) == []
    assert repr(end) == "<no event>"


def test_wait_returns_at_once_while_events_are_left(three):
    fq = FEventQueue()
    with FlowSet(servers(three)) as fset:
        three[0].client.write(b"x")
        fset.wait(fq, PATIENCE)
        assert fset.wait(fq) is True
        assert len(list(fq)) == 1


def test_queue_outlives_the_set(three):
    fq = FEventQueue()
    with FlowSet(servers(three)) as fset:
        three[0].client.writeline("line")
        fset.wait(fq, PATIENCE)
    f2, t = fq.next()
    assert (f2, t) == (three[0].server, FEventType.FlowPkt)
    assert f2.readline() == "line"


def test_timeouts(three):
    fq = FEventQueue()
    with FlowSet(servers(three)) as fset:
        for limit in (0, 0.02, -1, -math.inf):
            with pytest.raises(FlowEventTimeout) as caught:
                fset.wait(fq, limit)
            assert isinstance(caught.value, FlowEventError)
            assert isinstance(caught.value, TimeoutError)
            assert caught.value.errno == errno.ETIMEDOUT
            assert fset.select(limit) == []
        with pytest.raises(ValueError, match="NaN"):
            fset.wait(fq, math.nan)
        with pytest.raises(TypeError):
            fset.wait(fq, "1")
        three[0].client.write(b"x")
        assert fset.wait(fq, 10**400)
    with FlowSet() as fset, pytest.raises(TypeError):
        fset.wait(None)


def test_membership(three):
    a, b, c = servers(three)
    fset = FlowSet(iter([a, b]))
    assert len(fset) == 2
    assert a in fset
    assert c not in fset
    assert "x" not in fset
    assert list(fset) == [a, b]
    fset.add(c)
    fset.remove(a)
    fset.remove(a)
    assert set(fset) == {b, c}
    fset.zero()
    assert len(fset) == 0
    assert list(fset) == []
    fset.add(a)
    fset.destroy()


def test_a_flow_is_in_one_set_only(three):
    a = three[0].server
    with FlowSet([a]) as fset, FlowSet() as other:
        for where in (fset, other):
            with pytest.raises(FlowEventError) as caught:
                where.add(a)
            assert caught.value.errno == errno.EPERM
        assert list(fset) == [a]
        assert list(other) == []
        fset.remove(a)
        other.add(a)


def test_failed_construction_leaks_nothing(three):
    a, b, _ = servers(three)
    with pytest.raises(FlowEventError):
        FlowSet([a, b, b])
    with pytest.raises(TypeError):
        FlowSet([a, "x"])
    with pytest.raises(TypeError):
        FlowSet(5)
    gc.collect()
    with FlowSet([a, b]) as fset:
        assert len(fset) == 2


def test_unallocated_flows_cannot_be_added():
    with FlowSet() as fset, pytest.raises(FlowEventError) as caught:
        fset.add(Flow())
    assert caught.value.errno == errors.ENOTALLOC


def test_dealloc_removes_the_flow_from_its_set(three, name):
    a, b, _ = servers(three)
    with FlowSet([a, b]) as fset:
        a.dealloc()
        assert len(fset) == 1
        assert list(fset) == [b]
        # The number is free for another flow, which must not appear in the set.
        fresh = connect(name)
        assert fresh.server not in fset
        assert fresh.client not in fset
        fresh.client.dealloc()
        fresh.server.dealloc()


def test_events_of_deallocated_flows_are_skipped(three):
    fq = FEventQueue()
    with FlowSet(servers(three)) as fset:
        three[0].client.write(b"gone")
        three[1].client.write(b"stays")
        events = 0
        while events < 2:
            fset.wait(fq, PATIENCE)
            events = 2 if three[1].server.get_rx_queue_len() else events
        three[0].server.dealloc()
        flows = [f for f, _ in fq]
        if not flows:
            flows = [f for f, _ in fset.select(PATIENCE)]
    assert flows == [three[1].server]


def test_dealloc_through_the_event(three):
    with FlowSet(servers(three)) as fset:
        three[0].client.write(b"x")
        ((f2, _),) = fset.select(PATIENCE)
        f2.dealloc()
    assert three[0].server.closed


def test_set_and_queue_hold_their_flows(name):
    client, server = connect(name)
    gone = weakref.ref(server)
    fq = FEventQueue()
    fset = FlowSet([server])
    del server
    gc.collect()
    client.write(b"x")
    fset.wait(fq, PATIENCE)
    fset.destroy()
    gc.collect()
    f, t = fq.next()
    assert f is gone()
    assert t == FEventType.FlowPkt
    f.dealloc()
    client.dealloc()


def test_cycles_are_collected(name):
    client, server = connect(name)
    fset = FlowSet([server])
    server.fset = fset
    gone = weakref.ref(server)
    client.dealloc()
    server.dealloc()
    fset.destroy()
    del server, fset
    gc.collect()
    assert gone() is None


def test_destroyed_sets(three):
    fset = FlowSet(servers(three))
    fset.destroy()
    fset.destroy()
    fset.close()
    assert fset.closed
    assert repr(fset) == "<FlowSet destroyed>"
    for use in (
        lambda: fset.add(three[0].server),
        lambda: fset.remove(three[0].server),
        fset.zero,
        lambda: fset.wait(FEventQueue()),
        lambda: len(fset),
        lambda: list(fset),
        lambda: three[0].server in fset,
        fset.fileno,
    ):
        with pytest.raises(ValueError, match="destroyed"):
            use()
    assert not three[0].server.closed


def test_a_thousand_sets():
    sets = [FlowSet() for _ in range(1000)]
    for fset in sets:
        fset.destroy()


def test_unclosed_sets_warn_and_close(three):
    fset = FlowSet(servers(three))
    with pytest.warns(ResourceWarning, match="unclosed <FlowSet of 3 flows>"):
        del fset
    with FlowSet(servers(three)) as again:
        assert len(again) == 3


def test_fileno_is_for_poll(three):
    with FlowSet(servers(three)) as fset:
        poll = select.poll()
        poll.register(fset.fileno(), select.POLLIN)
        # The flows that were just added are looked at once.
        assert fset.select(0) == []
        assert poll.poll(0) == []
        three[1].client.write(b"x")
        assert poll.poll(PATIENCE * 1000)
        assert [f for f, _ in fset.select(PATIENCE)] == [three[1].server]
        assert three[1].server.read() == b"x"


def test_wait_in_a_thread_sees_a_flow_that_is_added_later(three):
    with FlowSet() as fset:
        found = []
        thread = threading.Thread(target=lambda: found.extend(fset.select(PATIENCE)))
        thread.start()
        fset.add(three[0].server)
        three[0].client.write(b"x")
        thread.join()
    assert [f for f, _ in found] == [three[0].server]


def test_destroy_ends_a_wait_in_another_thread(three):
    fset = FlowSet(servers(three))
    outcome = []

    def wait():
        started.set()
        try:
            fset.wait(FEventQueue())
        except ValueError as error:
            outcome.append(error)

    started = threading.Event()
    thread = threading.Thread(target=wait)
    thread.start()
    started.wait()
    fset.destroy()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert len(outcome) == 1


def test_sets_are_not_picklable():
    with FlowSet() as fset, pytest.raises(TypeError, match="pickle"):
        pickle.dumps(fset)


def test_queue_as_context(three):
    with FEventQueue() as fq, FlowSet(servers(three)) as fset:
        three[0].client.write(b"x")
        fset.wait(fq, PATIENCE)
    assert not fq.next()
