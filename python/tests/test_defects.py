"""Defects of PyOuroboros 0.23 that must not come back; numbers of api.md B9.

Rows 1, 2 and 14 are in test_errors.py; 34 to 41 concern the management modules.
"""

import gc
import inspect
import os
import shutil
import subprocess
import sys
import threading
import warnings

import pytest
from conftest import PATIENCE, connect

import ouroboros.dev
from ouroboros import errors
from ouroboros.event import *


@pytest.mark.parametrize(
    "how",
    [["server.py"], ["-u", "server.py"], ["-m", "server"], ["-W", "ignore", "-u", "server.py"]],
)
def test_03_program_name_of_python_programs(node, name, child, tmp_path, how):
    script = tmp_path / "server.py"
    script.write_text(
        "from ouroboros.dev import *\n"
        "print('ready', flush=True)\n"
        "with flow_accept() as f:\n"
        "    f.writeline('served')\n"
    )
    bound_as = "server" if "-m" in how else "server.py"
    # The bound file need not be that of the process: programs are known by their base name.
    node.bind(name, program=tmp_path / bound_as)
    node.unbind(name)
    interpreter = tmp_path / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    shutil.copy(sys.executable, interpreter)
    server = subprocess.Popen(
        [str(interpreter) if sys.prefix == sys.base_prefix else sys.executable, *how],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout.readline() == "ready\n"
        with flow_alloc(name, timeo=PATIENCE) as f:
            assert f.readline() == "served"
        assert server.wait(PATIENCE) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def test_04_flow_join_takes_its_arguments(node):
    for arguments in [(), (None,), (QoSSpec(), 1.0)]:
        with pytest.raises(FlowException):
            flow_join("no-such-layer", *arguments)


def test_05_errors_and_timeouts_of_read(pair):
    pair.server.set_rcv_timeout(0)
    with pytest.raises(TimeoutError):
        pair.server.read()


def test_06_errors_of_write_raise(pair):
    pair.client.set_flags(FlowProperties.ReadOnly)
    for call in (lambda: pair.client.write(b"x"), lambda: pair.client.writeline("x")):
        with pytest.raises(FlowPermissionException):
            call()


def test_07_count_beyond_the_buffer_is_clamped(pair):
    assert pair.client.write(b"abc", 1000) == 3
    assert pair.server.read() == b"abc"


def test_08_writeline_keeps_the_last_letter(pair):
    assert pair.client.writeline("héllo") == 6
    assert pair.server.readline() == "héllo"


def test_09_readline_and_writeline_take_a_count(pair):
    pair.client.writeline("héllo", 3)
    assert pair.server.readline(2) == "hé"
    assert pair.server.readline(9) == "l"


def test_10_packets_of_more_than_2048_bytes(pair):
    text = "é" * 3000
    pair.client.writeline(text)
    pair.client.writeline(text)
    assert pair.server.readline() == text
    assert pair.server.read() == text.encode()


def test_11_annotations_are_types(pair):
    signature = inspect.signature(ouroboros.dev.Flow.alloc)
    assert signature.parameters["qos"].annotation == "Optional[QoSSpec]"


def test_12_queue_lengths_are_ints(pair):
    pair.client.write(b"x")
    assert pair.server.get_rx_queue_len() == 1
    assert pair.client.get_tx_queue_len() == 1
    pair.server.read()
    assert pair.server.get_rx_queue_len() == 0
    assert pair.client.get_tx_queue_len() == 0


def test_13_no_partial_write_has_its_value():
    assert FlowProperties.NoPartialWrite == 0o20000


def test_14_nothing_is_printed(node, capfd):
    with pytest.raises(FlowException):
        flow_alloc("no-such-name")
    assert capfd.readouterr() == ("", "")


def test_15_exceptions_have_number_and_text(node):
    with pytest.raises(FlowException) as caught:
        flow_alloc("no-such-name")
    assert caught.value.errno > 0
    assert "no-such-name" in caught.value.strerror


def test_16_failed_calls_keep_the_state_clean(node):
    flow = Flow()
    with pytest.raises(FlowException):
        flow.alloc("no-such-name")
    assert flow.closed
    with pytest.raises(FlowNotAllocatedException):
        flow.read()


def test_17_with_leaves_nothing_usable(name):
    client, server = connect(name)
    with client, server:
        pass
    # The number goes to a new flow, which the old object must not reach.
    fresh = connect(name)
    for old in (client, server):
        with pytest.raises(FlowNotAllocatedException):
            old.write(b"x")
    assert fresh.server.get_rx_queue_len() == 0
    fresh.client.dealloc()
    fresh.server.dealloc()


def test_18_dealloc_inside_with(name):
    client, server = connect(name)
    with client as f:
        f.dealloc()
    with server as f:
        f.close()


def test_19_close_is_silent():
    flow = Flow()
    flow.close()
    with pytest.raises(FlowDeallocWarning):
        flow.dealloc()


def test_20_finaliser(name):
    client, server = connect(name)
    with pytest.warns(ResourceWarning, match="unclosed <Flow allocated"):
        del client
    with pytest.raises(FlowDownException):
        server.read()
    server.dealloc()
    for _ in range(100):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            FlowSet()
            gc.collect()


def test_22_dealloc_against_a_concurrent_read(name):
    for _ in range(20):
        client, server = connect(name)
        outcome = []

        def read(server=server, outcome=outcome):
            try:
                while True:
                    server.read()
            except errors.OuroborosError as error:
                outcome.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        client.write(b"x")
        server.dealloc()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert isinstance(outcome[0], (FlowNotAllocatedException, FlowDownException))
        client.close()


def test_23_no_timeout_is_none(pair):
    pair.client.settimeout(None)
    assert pair.client.get_snd_timeout() is None
    assert pair.client.get_rcv_timeout() is None


def test_24_alloc_returns_the_qos(name):
    thread = threading.Thread(target=lambda: flow_accept(PATIENCE).dealloc())
    thread.start()
    flow = Flow()
    assert isinstance(flow.alloc(name), QoSSpec)
    thread.join()
    flow.dealloc()


def test_25_26_events_name_the_flow_and_a_type(pair):
    with FlowSet([pair.server]) as fset:
        pair.client.write(b"x")
        ((f, t),) = fset.select(PATIENCE)
    assert f is pair.server
    assert isinstance(t, FEventType)


def test_27_the_documented_loop(pair):
    fq = FEventQueue()
    assert not fq.next()
    with FlowSet([pair.server]) as fset:
        pair.client.write(b"x")
        fset.wait(fq, PATIENCE)
    seen = 0
    while fq.next():
        seen += 1
    assert seen == 1


def test_28_timeout_of_wait_is_a_timeout(pair):
    with FlowSet([pair.server]) as fset, pytest.raises(TimeoutError):
        fset.wait(FEventQueue(), 0)


def test_29_errors_of_add_have_numbers(pair):
    with FlowSet([pair.server]) as fset, pytest.raises(FlowEventError) as caught:
        fset.add(pair.server)
    assert caught.value.errno == errno.EPERM


def test_31_destroy_twice(pair):
    with FlowSet([pair.server]) as fset:
        fset.destroy()
    fset.destroy()
    with pytest.raises(ValueError, match="destroyed"):
        fset.wait(FEventQueue())


def test_32_finalisers_at_interpreter_shutdown(node, name):
    program = f"""if True:
        import threading
        from ouroboros.event import *
        node_flow = Flow()
        fq, fset = FEventQueue(), FlowSet()
        node_flow.alloc({name!r}, timeo=0)
        fset.add(node_flow)
        import sys
        sys.keep = (node_flow, fq, fset)
    """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    try:
        failed = FEventQueue("argument")
    except TypeError:
        failed = None
    assert failed is None


def test_33_membership_length_iteration(pair):
    with FlowSet([pair.server]) as fset:
        assert pair.server in fset
        assert pair.client not in fset
        assert len(fset) == 1
        assert list(fset) == [pair.server]


def test_42_fork(node, name, child):
    program = child(
        """
        import os, sys, warnings
        warnings.simplefilter("error")
        from ouroboros.dev import *
        name = sys.argv[1]
        flow = flow_alloc(name)
        fset = FlowSet([flow])
        pid = os.fork()
        if pid == 0:
            try:
                for call in (flow.read, lambda: flow.write(b"x"), flow.get_qos, flow.fileno):
                    try:
                        call()
                    except FlowNotAllocatedException:
                        pass
                    else:
                        os._exit(1)
                # The child is a process of its own: it can have flows.
                with flow_alloc(name) as own:
                    own.writeline("from the child")
                del flow, fset
            except BaseException as error:
                print(repr(error))
                os._exit(2)
            sys.exit(0)
        status = os.waitpid(pid, 0)[1]
        print("child", status)
        flow.writeline("from the parent")
        fset.destroy()
        flow.dealloc()
    """,
        name,
    )
    with flow_accept(PATIENCE) as parent, flow_accept(PATIENCE) as own:
        assert own.readline() == "from the child"
        program.expect("child 0")
        assert parent.readline() == "from the parent"
    program.finish()
    assert os.getpid() != program.pid
