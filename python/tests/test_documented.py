"""Every statement of the documentation, in its own words (api.md D6)."""

import subprocess
import sys
import threading

import pytest
from conftest import EXAMPLES, PATIENCE, connect

from ouroboros import demo
from ouroboros.dev import *


def test_import_lines():
    for module in ("dev", "event", "qos"):
        names = {}
        exec(f"from ouroboros.{module} import *", names)
        assert "QoSSpec" in names
        assert not {"ffi", "lib", "modf"} & set(names)
    exec("from ouroboros.dev import *", names)
    for name in ("FlowSet", "FEventQueue", "FEventType", "FlowEventError", "errno", "Optional"):
        assert name in names


def test_accept_alloc_dealloc(name):
    client, server = connect(name)
    assert isinstance(client, Flow)
    assert isinstance(server, Flow)
    client.dealloc()
    server.dealloc()


def test_with_statement(name):
    def serve():
        with flow_accept() as f:
            f.writeline(f.readline())

    server = threading.Thread(target=serve)
    server.start()
    with flow_alloc(name) as f:
        f.writeline("line")
        assert f.readline() == "line"
    server.join()
    # "After the flow is deallocated, it is not readable or writeable anymore."
    with pytest.raises(FlowNotAllocatedException):
        f.readline()
    with pytest.raises(FlowNotAllocatedException):
        f.writeline("x")


def test_alloc_on_an_existing_flow_object(name):
    client, server = connect(name)
    client.dealloc()
    server.dealloc()
    thread = threading.Thread(target=lambda: flow_accept().dealloc())
    thread.start()
    client.alloc(name)
    thread.join()
    client.dealloc()


def test_read_readline_write_writeline_with_count(pair):
    f, g = pair
    f.write(b"0123456789", 4)  # write up to count bytes from buffer
    assert g.read(10) == b"0123"  # read up to count bytes and return bytes
    f.writeline("characters", 4)  # write up to count characters from string
    assert g.readline(10) == "char"  # read up to count characters as a string
    f.write(b"all of it")
    assert g.read() == b"all of it"
    f.writeline("all of it")
    assert g.readline() == "all of it"


def test_qosspec_with_every_field(name):
    qos = QoSSpec(
        delay=1000,
        bandwidth=1_000_000,
        availability=3,
        loss=1,
        ber=1,
        in_order=0,
        max_gap=1000,
        cypher_s=0,
        timeout=60_000,
    )
    client, server = connect(name, qos)
    assert client.get_qos() == server.get_qos() == qos
    client.dealloc()
    server.dealloc()


def test_reliable_and_encrypted(name):
    qos = QoSSpec(loss=0, cypher_s=256)
    client, server = connect(name, qos)
    for flow in (client, server):
        assert flow.get_qos().cypher_s == 256
        assert flow.get_frct_flags() & FRCT_RETRANSMIT
    client.writeline("line")
    assert server.readline() == "line"
    client.dealloc()
    server.dealloc()


def test_getters_and_setters(pair):
    f = pair.client
    f.set_snd_timeout(0.5)
    f.set_rcv_timeout(1.0)
    assert f.get_snd_timeout() == 0.5
    assert f.get_rcv_timeout() == 1.0
    assert isinstance(f.get_qos(), QoSSpec)
    assert f.get_rx_queue_len() == 0
    assert f.get_tx_queue_len() == 0
    f.set_flags(FlowProperties.ReadWrite | FlowProperties.NoPartialRead)
    assert f.get_flags() == FlowProperties.ReadWrite | FlowProperties.NoPartialRead


def test_flow_properties():
    assert {
        p: int(getattr(FlowProperties, p))
        for p in (
            "ReadOnly",
            "WriteOnly",
            "ReadWrite",
            "Down",
            "NonBlockingRead",
            "NonBlockingWrite",
            "NonBlocking",
            "NoPartialRead",
            "NoPartialWrite",
        )
    } == {
        "ReadOnly": 0,
        "WriteOnly": 1,
        "ReadWrite": 2,
        "Down": 4,
        "NonBlockingRead": 0o1000,
        "NonBlockingWrite": 0o2000,
        "NonBlocking": 0o3000,
        "NoPartialRead": 0o10000,
        "NoPartialWrite": 0o20000,
    }
    assert issubclass(FlowProperties, IntFlag)
    assert (FRCT_RETRANSMIT, FRCT_RESCNTL, FRCT_LINGER) == (1, 2, 4)


def test_flow_set_methods(pair):
    f = pair.server
    fset = FlowSet()  # create a flow set
    fset.add(f)  # add a Flow 'f' to this set
    fset.remove(f)  # remove a Flow 'f' from this set
    fset.add(f)
    fset.zero()  # remove all Flows in this set
    assert f not in fset
    fset.destroy()


def read_with_while(fq):
    lines = []
    while ev := fq.next():
        f, t = ev
        if t == FEventType.FlowPkt:
            lines.append(f.readline())
    return lines


def read_with_exception(fq):
    lines = []
    try:
        while True:
            f, t = fq.next()
            if t == FEventType.FlowPkt:
                lines.append(f.readline())
    except FlowEventError:
        return lines


def read_with_for(fq):
    return [f.readline() for f, t in fq if t == FEventType.FlowPkt]


@pytest.mark.parametrize("form", [read_with_while, read_with_exception, read_with_for])
def test_event_loop(name, form):
    pairs = [connect(name) for _ in range(3)]
    f1, f2, f3 = (pair.server for pair in pairs)
    fq = FEventQueue()  # Create an eventqueue
    fset = FlowSet([f1, f2, f3])  # Create a new set with a couple of Flow objects
    for number, (client, _) in enumerate(pairs):
        client.writeline(f"message {number}")
    lines = []
    while len(lines) < 3:
        fset.wait(fq, timeo=PATIENCE)  # Wait or until event
        lines += form(fq)
    assert sorted(lines) == ["message 0", "message 1", "message 2"]
    fset.destroy()
    for pair in pairs:
        for flow in pair:
            flow.dealloc()


def test_queue_is_read_after_the_with_block(pair):
    f = pair.server
    pair.client.writeline("line")
    fq = FEventQueue()
    with FlowSet([f]) as fset:
        fset.wait(fq)
    f2, t = fq.next()
    if t == FEventType.FlowPkt:
        line = f2.readline()
    assert line == "line"
    assert f2 is f


def test_the_demo_runs_the_documented_program():
    program = demo.PROGRAM.partition("import argparse")[2]
    example = (EXAMPLES / "oecho.py").read_text().partition("import argparse")[2]
    assert program == example


def test_event_loop_example():
    done = subprocess.run(
        [sys.executable, EXAMPLES / "event_loop.py"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{form}: hello from flow {number}"
        for form in ("with_while", "with_exception", "with_for")
        for number in range(3)
    ]
