"""Listening, and names for the length of a with-statement (api.md C9, C10, C13)."""

import gc
import os
import pickle
import select
import threading
import time
import tracemalloc
import uuid
import warnings
from pathlib import Path

import pytest
from conftest import PATIENCE

from ouroboros import _native, errors
from ouroboros.dev import *
from ouroboros.dev import listen
from ouroboros.names import bound, registered


def allocate(name, count, first=0):
    """Allocates flows in threads, each with a number as message; call the result to wait."""
    failures = []

    def client(number):
        try:
            with flow_alloc(name, timeo=PATIENCE) as flow:
                flow.write(b"%d" % number)
                flow.settimeout(PATIENCE)
                flow.read()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=client, args=(first + n,)) for n in range(count)]
    for thread in threads:
        thread.start()

    def wait():
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert not failures

    return wait


def answer(flow):
    with flow:
        flow.settimeout(PATIENCE)
        number = int(flow.read())
        flow.write(b"ok")
        # Until the other end has it.
        with pytest.raises(FlowDownException):
            flow.read()
    return number


def test_iteration(name):
    with listen() as listener:
        wait = allocate(name, 10)
        served = []
        for flow in listener:
            served.append(answer(flow))
            if len(served) == 10:
                listener.close()
        wait()
    assert sorted(served) == list(range(10))
    assert listener.closed
    listener.close()


def test_accept_and_its_time_limits(name):
    with listen() as listener:
        assert listener.gettimeout() is None
        assert listener.getblocking()
        for call in (lambda: listener.accept(0), lambda: listener.accept(0.01)):
            with pytest.raises(errors.FlowTimeout):
                call()
        listener.settimeout(0.01)
        assert listener.gettimeout() == 0.01
        with pytest.raises(TimeoutError):
            listener.accept()
        listener.setblocking(False)
        assert not listener.getblocking()
        with pytest.raises(BlockingIOError):
            listener.accept()
        listener.setblocking(True)
        for bad in (-1, float("nan")):
            with pytest.raises(ValueError):
                listener.settimeout(bad)
        with pytest.raises(TypeError):
            listener.settimeout("1")
        wait = allocate(name, 1)
        assert answer(listener.accept(PATIENCE)) == 0
        wait()
    for call in (listener.accept, listener.fileno):
        with pytest.raises(FlowNotAllocatedException, match="closed"):
            call()
    assert list(listener) == []
    assert "closed" in repr(listener)


def test_descriptor(name):
    with listen() as listener:
        assert select.select([listener], [], [], 0)[0] == []
        fd = listener.fileno()
        for number in range(5):
            wait = allocate(name, 1, number)
            assert select.select([listener], [], [], PATIENCE)[0] == [listener]
            assert answer(listener.accept(0)) == number
            wait()
            assert listener.fileno() == fd
        assert select.select([listener], [], [], 0)[0] == []


def test_close_by_another_thread(name):
    listener = listen()
    served = []
    started = threading.Barrier(2)

    def body():
        started.wait()
        served.extend(listener)

    thread = threading.Thread(target=body)
    thread.start()
    started.wait()
    listener.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert served == []


def test_what_a_closed_listener_leaves(name):
    with listen() as listener:
        wait = allocate(name, 1)
        assert select.select([listener], [], [], PATIENCE)[0]
    assert answer(flow_accept(PATIENCE)) == 0
    wait()


def test_two_listeners_share(name):
    with listen() as one, listen() as two:
        wait = allocate(name, 20)
        served = []
        while len(served) < 20:
            for listener in select.select([one, two], [], [], PATIENCE)[0]:
                served.append(answer(listener.accept(PATIENCE)))
        wait()
    assert sorted(served) == list(range(20))


def test_a_listener_stays_with_the_parent_after_fork(name, child):
    program = child(
        """
        import os, sys
        from ouroboros.dev import *
        from ouroboros.dev import listen
        listener = listen()
        pid = os.fork()
        if pid == 0:
            try:
                listener.accept(0)
            except FlowNotAllocatedException as error:
                assert "parent" in str(error)
                listener.close()
                del listener
                os._exit(0)
            os._exit(1)
        print("child", os.waitpid(pid, 0)[1], flush=True)
        with listener, listener.accept(30) as flow:
            print(flow.readline())
            flow.writeline("bye")
            list(flow)
        """
    )
    program.expect("child 0")
    _native.Irm.current().bind_process(program.pid, name)
    _native.Irm.current().unbind_process(os.getpid(), name)
    with flow_alloc(name, timeo=PATIENCE) as flow:
        flow.writeline("hello")
        program.expect("hello")
        flow.settimeout(PATIENCE)
        assert flow.readline() == "bye"
    program.finish()


def test_listener_without_a_daemon(no_daemon):
    with pytest.raises(errors.DaemonError):
        listen()


def test_listener_is_not_picklable(name):
    with listen() as listener, pytest.raises(TypeError, match="pickle"):
        pickle.dumps(listener)


# Finalisers


class Plain:
    """An object of an ordinary class."""


@pytest.mark.parametrize("kind", ["Flow", "FlowSet", "Listener"])
def test_unclosed_objects_warn_and_say_where_they_were_made(name, kind):
    make = {
        "Flow": lambda: flow_alloc(name, timeo=PATIENCE),
        "FlowSet": lambda: FlowSet(),
        "Listener": lambda: listen(),
    }[kind]
    server = threading.Thread(target=lambda: flow_accept(PATIENCE).close())
    if kind == "Flow":
        server.start()
    tracemalloc.start(5)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            thing = make()
            del thing
            gc.collect()
        (warning,) = [w for w in caught if w.category is ResourceWarning]
        assert f"unclosed <{kind}" in str(warning.message)
        trace = tracemalloc.get_object_traceback(warning.source)
        # Python 3.11 does not find the traces of objects with a dictionary, whoever made them.
        if tracemalloc.get_object_traceback(Plain()) is not None:
            assert any(__file__ == frame.filename for frame in trace)
    finally:
        tracemalloc.stop()
    if kind == "Flow":
        server.join()


# Names


def names():
    return {row[0]: row for row in _native.Irm.current().list_names()}


def test_registered_and_bound_undo(node):
    name = f"name-{uuid.uuid4().hex}"
    with registered(name) as given:
        assert given == name
        assert name in names()
        with bound(os.getpid(), name), listen() as listener:
            assert os.getpid() in names()[name][2]
            wait = allocate(name, 1)
            assert answer(listener.accept(PATIENCE)) == 0
            wait()
        assert os.getpid() not in names()[name][2]
        with bound(None, name):
            assert os.getpid() in names()[name][2]
    assert name not in names()


def test_registered_leaves_what_was_there(node):
    name = f"name-{uuid.uuid4().hex}"
    irm = _native.Irm.current()
    irm.create_name(name, 1)
    with registered(name, layer="local"):
        pass
    assert name in names()
    irm.destroy_name(name)


def test_they_undo_after_exceptions_and_when_undone_already(node):
    name = f"name-{uuid.uuid4().hex}"
    with pytest.raises(RuntimeError), registered(name), bound(os.getpid(), name):
        raise RuntimeError
    assert name not in names()
    with registered(name), bound(os.getpid(), name):
        _native.Irm.current().unbind_process(os.getpid(), name)
    assert name not in names()


def test_bound_program(node, tmp_path):
    program = tmp_path / "server.py"
    program.write_text("#!/usr/bin/env python3\n")
    program.chmod(0o755)
    name = f"name-{uuid.uuid4().hex}"
    with registered(name):
        with bound(program, name):
            assert names()[name][3] == ["server.py"]
        assert names()[name][3] == []
        with bound(str(program), name, args=[]):
            assert names()[name][3] == ["server.py"]
        with pytest.raises(TypeError, match="args"), bound(os.getpid(), name, args=[]):
            pass


def test_registered_with_an_unknown_layer(node):
    with (
        pytest.raises(errors.IrmError, match="no layer named 'nowhere'"),
        registered("x", "nowhere"),
    ):
        pass


# Many times


def test_no_growth_over_many_allocations(node, name):
    """10^5 flows, allocated and deallocated: descriptors and memory stay as they are.

    OUROBOROS_TEST_CYCLES changes their number; a run that takes too long stops at its time limit
    and judges what it has done.
    """
    cycles = int(os.environ.get("OUROBOROS_TEST_CYCLES", "100000"))
    limit = float(os.environ.get("OUROBOROS_TEST_CYCLES_LIMIT", "40"))

    def usage():
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return len(os.listdir("/proc/self/fd")), pages * 4096

    def cycle(listener):
        client = Flow()
        client.alloc(name, timeo=0)
        server = listener.accept(PATIENCE)
        server.write(b"x")
        server.dealloc()
        client.dealloc()

    with listen() as listener:
        for _ in range(1000):
            cycle(listener)
        descriptors, memory = usage()
        start = time.monotonic()
        done = 0
        while done < cycles and time.monotonic() - start < limit:
            for _ in range(min(1000, cycles - done)):
                cycle(listener)
            done += 1000
        assert done >= min(cycles, 2000)
        after = usage()
    assert after[0] <= descriptors + 2
    # Less than a hundred bytes per cycle would be noise of the allocator; a leak is more.
    assert after[1] - memory < 4 << 20
    assert node.status()["flows"] == 0
