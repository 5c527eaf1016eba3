"""Flows and sets that threads share."""

import sys
import sysconfig
import threading

import pytest
from conftest import PATIENCE, connect

from ouroboros import errors
from ouroboros.event import *


def run(*bodies):
    """Runs functions in threads; the first exception is raised."""
    failures = []

    def guarded(body):
        try:
            body()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def test_many_writers_many_readers_one_flow(pair):
    count, each = 4, 2000
    seen = [[] for _ in range(count)]

    def writer(number):
        for index in range(each):
            pair.client.write(b"%d:%d" % (number, index))

    def reader(number):
        for _ in range(each):
            seen[number].append(pair.server.read())

    run(
        *[lambda n=n: writer(n) for n in range(count)],
        *[lambda n=n: reader(n) for n in range(count)],
    )
    everything = sorted(message for messages in seen for message in messages)
    assert everything == sorted(b"%d:%d" % (n, i) for n in range(count) for i in range(each))


def test_both_directions_at_once(pair):
    each = 5000

    def talk(flow):
        for index in range(each):
            flow.write(b"%d" % index)

    def listen(flow):
        for index in range(each):
            assert flow.read() == b"%d" % index

    run(
        lambda: talk(pair.client),
        lambda: talk(pair.server),
        lambda: listen(pair.client),
        lambda: listen(pair.server),
    )


@pytest.mark.parametrize("kind", ["read", "read part", "readline", "write", "wait"])
def test_dealloc_ends_calls_of_other_threads(name, kind):
    client, server = connect(name)
    started = threading.Barrier(3)
    outcome = []
    if kind == "write":
        client.setblocking(False)
        with pytest.raises(errors.FlowWouldBlock):
            while True:
                client.write(b"x" * 1000)
        client.setblocking(True)
    calls = {
        "read": lambda: client.read(),
        "read part": lambda: client.read(5),
        "readline": lambda: client.readline(),
        "write": lambda: client.write(b"x" * 1000),
        "wait": lambda: client.read(),
    }

    def body():
        started.wait()
        try:
            calls[kind]()
        except errors.OuroborosError as error:
            outcome.append(error)

    threads = [threading.Thread(target=body) for _ in range(2)]
    for thread in threads:
        thread.start()
    started.wait()
    client.dealloc()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert [type(error) for error in outcome] == [FlowNotAllocatedException] * 2
    server.dealloc()


def test_dealloc_by_many_threads_happens_once(name):
    client, server = connect(name)
    warnings = []

    def body():
        try:
            client.dealloc()
        except FlowDeallocWarning as warning:
            warnings.append(warning)

    run(*[body] * 8)
    assert len(warnings) == 7
    server.dealloc()


def test_alloc_of_one_object_by_many_threads(name, node):
    flow = Flow()
    refused = []

    def body():
        try:
            flow.alloc(name, timeo=PATIENCE)
        except FlowAllocatedException as error:
            refused.append(error)

    accepted = []
    answered = threading.Event()

    def serve():
        while not answered.is_set():
            try:
                accepted.append(flow_accept(0.05))
            except TimeoutError:
                continue

    server = threading.Thread(target=serve)
    server.start()
    run(*[body] * 4)
    answered.set()
    server.join()
    assert len(refused) == 3
    flow.writeline("one of them")
    for other in accepted:
        other.settimeout(PATIENCE)
    lines = []
    for other in accepted:
        try:
            lines.append(other.readline())
        except FlowDownException:
            pass
        other.close()
    assert lines == ["one of them"]
    flow.dealloc()


def test_a_set_shared_by_threads(name):
    pairs = [connect(name) for _ in range(4)]
    each = 500
    received = []
    with FlowSet([pair.server for pair in pairs]) as fset:

        def write(client):
            for index in range(each):
                client.write(b"%d" % index)

        def watch():
            while len(received) < 4 * each:
                for flow, kind in fset.select(0.1):
                    if kind == FEventType.FlowPkt:
                        received.append(flow.read())

        for pair in pairs:
            pair.server.settimeout(PATIENCE)
        run(*[lambda c=pair.client: write(c) for pair in pairs], watch, watch)
    assert len(received) == 4 * each
    for pair in pairs:
        for flow in pair:
            flow.dealloc()


def test_every_way_to_write_and_read_at_once(pair):
    """Threads share both ends of one flow and use all calls: each packet arrives once, whole."""
    each, writers = 1500, 4
    everything = writers * each
    seen = []
    lock = threading.Lock()

    def message(number, index):
        return (b"%d:%d|" % (number, index)).ljust(40, b".")

    def write(number):
        index = 0
        while index < each:
            kind = index % 4
            if kind == 0:
                pair.client.write(message(number, index))
            elif kind == 1:
                pair.client.write(bytearray(message(number, index)))
            elif kind == 2:
                pair.client.writeline(message(number, index).decode())
            else:
                batch = [message(number, i) for i in range(index, min(index + 5, each))]
                sent = 0
                while sent < len(batch):
                    sent += pair.client.write_many(batch[sent:])
                index += len(batch) - 1
            index += 1

    def read(kind):
        buffer = bytearray(64)
        while True:
            try:
                if kind == 0:
                    packets = [pair.server.read()]
                elif kind == 1:
                    packets = [bytes(buffer[: pair.server.read_into(buffer)])]
                elif kind == 2:
                    packets = pair.server.read_many(7)
                else:
                    with pair.server.recv_view() as view:
                        packets = [bytes(view)]
            except FlowDownException:
                return
            except errors.FlowException as error:
                # Another thread has the front packet on view.
                if error.errno != errno.EBUSY:
                    raise
                continue
            with lock:
                seen.extend(packets)

    def write_all():
        run(*[lambda n=n: write(n) for n in range(writers)])
        pair.client.dealloc()

    run(write_all, *[lambda k=k: read(k) for k in range(4)])
    assert len(seen) == everything
    assert sorted(seen) == sorted(message(n, i) for n in range(writers) for i in range(each))


def test_dealloc_under_load(name):
    """A flow that is deallocated while threads use it in all ways ends with the right error."""
    for _ in range(20):
        client, server = connect(name)
        started = threading.Barrier(5)

        def use(call, started=started):
            started.wait()
            try:
                while True:
                    call()
            except (FlowNotAllocatedException, FlowDownException):
                pass

        def end(client=client, server=server, started=started):
            started.wait()
            client.dealloc()
            server.dealloc()

        run(
            lambda c=client: use(lambda: c.write(b"x" * 100)),
            lambda c=client: use(lambda: c.write_many([b"y" * 100] * 9)),
            lambda s=server: use(lambda: s.read_many(9)),
            lambda s=server: use(lambda: s.poll(0.01)),
            end,
        )


def test_a_listener_shared_by_threads(name):
    from ouroboros.dev import listen

    total = 40
    served = []
    with listen() as listener:

        def serve():
            for flow in listener:
                with flow:
                    served.append(flow.read())
                if len(served) == total:
                    listener.close()

        def client(number):
            with flow_alloc(name, timeo=PATIENCE) as flow:
                flow.write(b"%d" % number)
                with pytest.raises(FlowDownException):
                    flow.read()

        run(*[serve] * 3, *[lambda n=n: client(n) for n in range(total)])
    assert sorted(map(int, served)) == list(range(total))


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this interpreter has a GIL"
)
def test_the_gil_stays_off():
    assert not sys._is_gil_enabled()
