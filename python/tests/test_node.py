"""The embedded node, and what is left behind: nothing."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE

import ouroboros
from ouroboros import _native, errors
from ouroboros.dev import *
from ouroboros.node import find_program


def gone(pid):
    """Whether no process has this pid any more (zombies of others count as gone)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] in "ZX"


def await_gone(*pids):
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            import select

            assert gone(pid) or select.select([fd], [], [], PATIENCE)[0], f"{pid} still runs"
        finally:
            os.close(fd)


def test_start_use_stop():
    before = os.environ.get("OUROBOROS_RUNTIME_DIR")
    with ouroboros.Node() as node:
        assert stat.S_IMODE(node.dir.stat().st_mode) == 0o700
        assert os.environ["OUROBOROS_RUNTIME_DIR"] == str(node.dir)
        assert _native.runtime_dir() == node.dir
        assert node.log.exists()
        node.serve_name("oecho")
        node.serve_name("oecho2")
        assert [ipcp.layer for ipcp in node.ipcps()] == ["local"]
        status = node.status()
        assert status["daemon_pid"] == node.pid
        assert (status["ipcps"], status["names"], status["flows"]) == (1, 2, 0)
        pids = [node.pid, *(ipcp.pid for ipcp in node.ipcps())]
        left = node.dir
    await_gone(*pids)
    assert not left.exists()
    assert os.environ.get("OUROBOROS_RUNTIME_DIR") == before
    node.stop()
    for use in (node.status, lambda: node.dir, lambda: node.pid, node.ipcps):
        with pytest.raises(errors.NodeError, match="not running"):
            use()


def test_nodes_nest_and_restore():
    with ouroboros.Node() as outer:
        outer.serve_name("here")
        with ouroboros.Node() as inner:
            assert inner.dir != outer.dir
            with pytest.raises(FlowException):
                flow_alloc("here")
        assert _native.runtime_dir() == outer.dir
        with pytest.raises(TimeoutError):
            flow_alloc("here", timeo=0.05)


def test_start_twice():
    with ouroboros.Node() as node, pytest.raises(errors.NodeError, match="already"):
        node.start()


def test_errors_of_management(node):
    with pytest.raises(errors.IrmError, match="no-such-layer"):
        node.register("x", layer="no-such-layer")
    with pytest.raises(errors.IrmError):
        node.bind("x", pid=2**22 + 1)
    with pytest.raises(errors.IrmError):
        node.bind("")
    with pytest.raises(TypeError):
        node.bind("x", 5, program="p")
    with pytest.raises(TypeError):
        node.bind("x", args=[])


def test_missing_program(monkeypatch, tmp_path):
    monkeypatch.setenv("OUROBOROS_IRMD", str(tmp_path / "nothing"))
    with pytest.raises(errors.NodeError, match="OUROBOROS_IRMD"), ouroboros.Node():
        pass
    assert "OUROBOROS_RUNTIME_DIR" not in os.environ or os.environ["OUROBOROS_RUNTIME_DIR"]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo no such option; exit 2", "ended at its start; its log ends with: no such option"),
        ("exec sleep 1000", "not ready within"),
    ],
)
def test_daemon_that_does_not_start(monkeypatch, tmp_path, script, message):
    program = tmp_path / "irmd"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("OUROBOROS_IRMD", str(program))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(errors.NodeError, match=message), ouroboros.Node(timeout=0.5):
        pass
    monkeypatch.setattr("tempfile.tempdir", None)
    assert not list(tmp_path.glob("o7s-*"))


def test_kill_9_leaves_nothing(child):
    program = child("""
        import signal
        import ouroboros
        from ouroboros.dev import *
        node = ouroboros.Node().start()
        node.serve_name("oecho")
        print(node.dir)
        print(node.pid, *(ipcp.pid for ipcp in node.ipcps()))
        signal.pause()
    """)
    left = Path(program.line())
    pids = [int(pid) for pid in program.line().split()]
    assert left.exists()
    assert len(pids) == 2
    program.process.kill()
    program.process.wait()
    await_gone(*pids)
    assert not left.exists()


def test_sys_exit_inside_the_block(child):
    program = child("""
        import sys
        import ouroboros
        with ouroboros.Node() as node:
            node.local_layer()
            print(node.dir)
            print(node.pid, *(ipcp.pid for ipcp in node.ipcps()))
            sys.exit(0)
    """)
    left = Path(program.line())
    pids = [int(pid) for pid in program.line().split()]
    program.finish()
    await_gone(*pids)
    assert not left.exists()


def test_children_inherit_the_node(child):
    with ouroboros.Node() as node:
        node.serve_name("parent")
        program = child("""
            from ouroboros.dev import *
            with flow_alloc("parent") as flow:
                flow.writeline("hello parent")
        """)
        with flow_accept(PATIENCE) as flow:
            assert flow.readline() == "hello parent"
        program.finish()


def test_daemon_that_is_started_later(no_daemon):
    # The same process, without a restart: first no daemon, then one.
    with pytest.raises(errors.DaemonError):
        flow_alloc("late")
    read, write = os.pipe()
    daemon = subprocess.Popen(
        [find_program("irmd"), "--foreground", "--ready-fd", str(write)],
        pass_fds=(write,),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    try:
        with os.fdopen(read) as ready:
            assert ready.readline() == "ready\n"
        with pytest.raises(FlowException) as caught:
            flow_alloc("late")
        assert not isinstance(caught.value, errors.DaemonError)
    finally:
        daemon.terminate()
        assert daemon.wait(PATIENCE) == 0
    with pytest.raises(errors.DaemonError):
        flow_alloc("late")


def test_flows_survive_the_daemon(child):
    with ouroboros.Node() as node:
        node.serve_name("survivor")
        program = child("""
            from ouroboros.dev import *
            with flow_alloc("survivor") as flow:
                while line := flow.readline():
                    flow.writeline(line.upper())
                    if line == "end":
                        break
        """)
        flow = flow_accept(PATIENCE)
        flow.settimeout(PATIENCE)
        for line in ("with", "without", "end"):
            flow.writeline(line)
            assert flow.readline() == line.upper()
            if line == "with":
                os.kill(node.pid, 9)
                await_gone(node.pid)
        with pytest.raises(errors.DaemonError):
            flow_alloc("survivor")
        flow.close()
        program.finish()


def test_a_node_that_is_forgotten_is_stopped(child):
    program = child("""
        import ouroboros, warnings
        warnings.simplefilter('ignore', ResourceWarning)
        node = ouroboros.Node().start()
        print(node.dir)
    """)
    left = Path(program.line())
    program.finish()
    assert not left.exists()


def test_find_program_prefers_the_environment(monkeypatch):
    monkeypatch.setenv("OUROBOROS_IRMD", sys.executable)
    assert find_program("irmd") == Path(sys.executable)
    with pytest.raises(errors.NodeError, match="pip install"):
        find_program("no-such-program")


def test_forked_children_do_not_keep_the_daemon(child):
    program = child("""
        import os, signal
        import ouroboros
        node = ouroboros.Node().start()
        node.local_layer()
        print(node.dir)
        print(node.pid, *(ipcp.pid for ipcp in node.ipcps()))
        pid = os.fork()
        if pid == 0:
            node.stop()
            signal.pause()
        print(pid)
        signal.pause()
    """)
    left = Path(program.line())
    pids = [int(pid) for pid in program.line().split()]
    forked = int(program.line())
    try:
        program.process.kill()
        program.process.wait()
        await_gone(*pids)
        assert not left.exists()
        assert not gone(forked)
    finally:
        os.kill(forked, 9)


def test_a_directory_of_ones_own_is_kept(tmp_path):
    from ouroboros.daemon import Irmd

    where = tmp_path / "new" / "node"
    for _ in range(2):
        with Irmd(runtime_dir=where) as node:
            assert node.dir == where
            node.serve_name("kept")
        assert [path.suffix for path in where.iterdir() if "irm.sock" in path.name] == []
        assert (where / "irmd.log").exists()
