"""Test networks: nodes, functions on nodes, and what is left behind: nothing."""

import contextlib
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from conftest import EXAMPLES, PATIENCE
from test_node import await_gone

from ouroboros import errors
from ouroboros.dev import *
from ouroboros.testbed import RemoteTraceback, Testbed, why_no_links

NO_LINKS = why_no_links()
BOTH = [
    pytest.param(
        True, id="namespaces", marks=pytest.mark.skipif(NO_LINKS is not None, reason=str(NO_LINKS))
    ),
    pytest.param(False, id="plain"),
]


def own_namespaces():
    """The network namespaces of this process; other tests may run beside it."""
    with contextlib.suppress(FileNotFoundError):
        return {name for name in os.listdir("/run/netns") if f"-{os.getpid()}-" in name}
    return set()


@pytest.fixture(params=BOTH)
def net(request):
    with Testbed.line(2, namespaces=request.param) as net:
        yield net


def test_nodes_are_apart_and_this_process_is_on_none(net):
    before = os.environ.get("OUROBOROS_RUNTIME_DIR")
    assert [node.name for node in net] == ["n0", "n1"]
    assert len(net) == 2
    assert "n0" in net
    assert "n2" not in net
    one, two = net
    assert one.dir != two.dir
    assert one.pid != two.pid
    assert one.local_layer() in [ipcp.pid for ipcp in one.ipcps()]
    assert (one.status()["ipcps"], two.status()["ipcps"]) == (1, 0)
    assert one.env["OUROBOROS_RUNTIME_DIR"] == str(one.dir)
    assert os.environ.get("OUROBOROS_RUNTIME_DIR") == before
    with pytest.raises(errors.NodeError, match="not on the node n0"):
        one.bind("x")
    with pytest.raises(errors.NodeError, match="running already"):
        net.start()


def test_documented_program_on_a_node(net):
    node = net["n0"]
    program = EXAMPLES / "oecho.py"
    node.local_layer()
    node.register("oecho")
    node.bind("oecho", program=program)
    python = [sys.executable, "-u", program]
    with node.popen([*python, "-l"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == "Starting the server.\n"
        client = node.run(python)
        assert (client.returncode, client.stderr) == (0, "")
        assert server.stdout.readline() == "New flow.\n"
        assert server.stdout.readline() == "Message from client is Hello, PyOuroboros!\n"
        # The other node does not know the name.
        assert net["n1"].run(python).returncode != 0
        server.terminate()


def test_functions_talk_on_a_node(net):
    node = net["n1"]
    node.local_layer()
    node.register("upper")
    read, write = os.pipe()

    def serve():
        node.bind("upper")
        os.write(write, b"!")
        with flow_accept(PATIENCE) as flow:
            flow.settimeout(PATIENCE)
            flow.writeline(flow.readline().upper())
            return os.getpid()

    def ask(text):
        with flow_alloc("upper", None, PATIENCE) as flow:
            flow.settimeout(PATIENCE)
            flow.writeline(text)
            return flow.readline()

    server = node.submit(serve)
    assert os.read(read, 1) == b"!"
    os.close(read)
    os.close(write)
    assert node.call(ask, "hello") == "HELLO"
    assert server.result(PATIENCE) == server.pid
    assert server.done()
    with pytest.raises(errors.OuroborosError):
        net["n0"].call(ask, "hello")


def test_commands(net):
    node = net["n0"]
    done = node.run("irm ipcp list")
    assert done.returncode == 0, done.stderr
    echo = node.run(["sh", "-c", "echo $WHAT"], env={"WHAT": "this"}, check=True)
    assert echo.stdout == "this\n"
    assert node.run("cat", input="typed").stdout == "typed"
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        node.run("no-such-program --help")
    with pytest.raises(ValueError, match="empty"):
        node.run("")
    with pytest.raises(subprocess.CalledProcessError):
        node.run("false", check=True)


class Odd(Exception):
    """Cannot be made from its arguments."""

    def __init__(self, one, two):
        super().__init__(one)
        self.two = two


def test_results_and_exceptions_of_functions(net):
    node = net["n0"]
    factor = 6
    assert node.call(lambda a, b=1: a * b * factor, 7) == 42
    assert node.call(divmod, 7, 2) == (3, 1)
    assert len(node.call(bytes, 1 << 20)) == 1 << 20

    def fail():
        raise LookupError("where is it?")

    with pytest.raises(LookupError, match="where is it") as caught:
        node.call(fail)
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "in fail" in str(caught.value.__cause__)

    def flow_error():
        flow_alloc("nobody")

    with pytest.raises(FlowException) as caught:
        node.call(flow_error)
    assert caught.value.errno

    def odd():
        raise Odd(1, 2)

    with pytest.raises(errors.NodeError, match="raised Odd: 1"):
        node.call(odd)
    with pytest.raises(TypeError, match="cannot be pickled"):
        node.call(lambda: lambda: 1)
    with pytest.raises(errors.NodeError, match="SystemExit: 3"):
        node.call(sys.exit, 3)
    with pytest.raises(errors.NodeError, match=r"exited \(3\) before"):
        node.call(os._exit, 3)
    with pytest.raises(errors.NodeError, match="killed by SIGKILL"):
        node.call(lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_a_function_that_does_not_end(net):
    running = net["n0"].submit(signal.pause)
    with pytest.raises(TimeoutError, match="pause on n0"):
        running.result(0.01)
    assert not running.done()
    running.kill()
    assert running.done()
    await_gone(running.pid)
    with pytest.raises(errors.NodeError, match="SIGKILL"):
        running.result()


@pytest.mark.parametrize("namespaces", BOTH)
def test_all_is_undone(namespaces):
    net = Testbed.ring(3, namespaces=namespaces)
    with pytest.raises(KeyError, match="the test's own"), net:
        assert net.namespaces == namespaces
        for node in net:
            node.local_layer()
        left = [node.dir for node in net]
        pids = [node.pid for node in net] + [ipcp.pid for node in net for ipcp in node.ipcps()]
        program = net["n0"].popen("sleep 1000")
        running = net["n1"].submit(signal.pause)
        pids += [program.pid, running.pid]
        if namespaces:
            pids.append(net._relay.pid)
            assert {node.namespace for node in net} < own_namespaces()
            # A process that nobody knows of.
            script = "sleep 1000 >/dev/null 2>&1 & echo $!"
            pids.append(int(net["n2"].run(["sh", "-c", script]).stdout))
        raise KeyError("the test's own")
    await_gone(*pids)
    assert not any(path.exists() for path in left)
    assert not own_namespaces()
    with pytest.raises(errors.NodeError, match="not running"):
        net["n0"].status()
    with pytest.raises(errors.NodeError, match="not running"):
        net.link("n0", "n1").cut()
    # And again.
    net.stop()
    with net:
        assert net["n0"].run("irm ipcp list").returncode == 0


@pytest.mark.parametrize("namespaces", BOTH)
def test_a_start_that_fails_is_undone(namespaces, monkeypatch, tmp_path):
    program = tmp_path / "irmd"
    program.write_text("#!/bin/sh\necho no; exit 2\n")
    program.chmod(0o755)
    monkeypatch.setenv("OUROBOROS_IRMD", str(program))
    with (
        pytest.raises(errors.NodeError, match="ended at its start"),
        Testbed.line(2, namespaces=namespaces),
    ):
        pass
    assert not own_namespaces()


KILLED = """
    import signal, sys
    from ouroboros.testbed import Testbed
    net = Testbed.line(2, namespaces=sys.argv[1] == "yes").start()
    for node in net:
        node.local_layer()
    pids = [node.pid for node in net] + [ipcp.pid for node in net for ipcp in node.ipcps()]
    if net.namespaces:
        pids.append(net["n0"].popen("sleep 1000").pid)
        pids.append(net["n1"].submit(signal.pause).pid)
        pids.append(net._relay.pid)
    print(*(node.dir for node in net))
    print(*pids)
    print(*net._namespaces)
    signal.pause()
"""


@pytest.mark.parametrize("namespaces", BOTH)
def test_kill_9_leaves_nothing(namespaces, child):
    program = child(KILLED, "yes" if namespaces else "no")
    left = [Path(word) for word in program.line().split()]
    pids = [int(word) for word in program.line().split()]
    names = program.line().split()
    assert len(names) == (3 if namespaces else 0)
    assert set(names) <= set(os.listdir("/run/netns") if namespaces else [])
    program.process.kill()
    program.process.wait()
    await_gone(*pids)
    assert not any(path.exists() for path in left)
    assert not any(Path("/run/netns", name).exists() for name in names)


@pytest.mark.skipif(NO_LINKS is not None, reason=str(NO_LINKS))
def test_a_later_run_removes_what_was_left(child):
    program = child(KILLED, "yes")
    program.line()
    pids = [int(word) for word in program.line().split()]
    names = program.line().split()
    # The relay first, so that nobody is there to clean up.
    os.kill(pids[-1], signal.SIGKILL)
    program.process.kill()
    program.process.wait()
    # The daemons end by themselves; what else runs on the nodes, and the names, stay, unless
    # another test network of this machine removes them before ours does.
    await_gone(pids[-1], *pids[:-3])
    with Testbed.line(1):
        await_gone(*pids)
        assert not any(Path("/run/netns", name).exists() for name in names)


@pytest.mark.skipif(NO_LINKS is not None, reason=str(NO_LINKS))
def test_without_its_relay_a_testbed_says_so_and_is_undone():
    with Testbed.line(2) as net:
        names = list(net._namespaces)
        os.kill(net._relay.pid, signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(errors.NodeError, match="relay"):
                net.link("n0", "n1").stats()
    assert not any(Path("/run/netns", name).exists() for name in names)


@pytest.mark.skipif(NO_LINKS is not None, reason=str(NO_LINKS))
def test_missing_tools_are_named(monkeypatch):
    monkeypatch.setattr("ouroboros.testbed._namespaces._tool", lambda name: None)
    assert "apt-get install iproute2" in why_no_links()
    with pytest.raises(errors.NodeError, match=r"iproute2.*namespaces=False"):
        Testbed.line(2).start()
    with Testbed.line(2, namespaces=False) as net:
        assert net["n0"].status()["ipcps"] == 0


def test_without_rights_there_are_no_links(monkeypatch):
    monkeypatch.setattr("ouroboros.testbed._namespaces.may_have_namespaces", lambda: False)
    with Testbed.line(2) as net:
        assert not net.namespaces
        with pytest.raises(errors.NodeError, match=r"n0 and n1.*run as root"):
            net.link("n0", "n1").cut()
        with pytest.raises(errors.NodeError, match="no network of its own"):
            net["n0"].socket()
        with pytest.raises(errors.NodeError, match="no interface"):
            net["n0"].interface("n1")
        assert net["n0"].call(os.getpid) != os.getpid()
    with pytest.raises(errors.NodeError, match="run as root"):
        Testbed.line(2, namespaces=True).start()


def test_networks_that_cannot_be():
    for make, message in [
        (lambda: Testbed([]), "at least one"),
        (lambda: Testbed(["a", "a"]), "two nodes"),
        (lambda: Testbed(["a"], [("a", "b")]), "'b'"),
        (lambda: Testbed(["a"], [("a", "a")]), "own node"),
        (lambda: Testbed("ab", [("a", "b"), ("b", "a")]), "two links"),
        (lambda: Testbed("ab", [("a", "b", {"los": 1})]), "'los'"),
        (lambda: Testbed.ring(2), "at least 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()
    net = Testbed.star(4)
    assert [link.nodes for link in net.links] == [("n0", "n1"), ("n0", "n2"), ("n0", "n3")]
    assert net.link("n2", "n0") is net.link("n0", "n2")
    with pytest.raises(KeyError, match="between n1 and n2"):
        net.link("n1", "n2")
    with pytest.raises(KeyError, match="no node n7"):
        net["n7"]
    with pytest.raises(errors.NodeError, match="not running"):
        net.link("n0", "n1").stats()


class Graph:
    """As much of a networkx graph as is needed."""

    nodes = (1, "two", (3, 4))

    def __init__(self, multi=False):
        self.multi = multi

    def is_multigraph(self):
        return self.multi

    def is_directed(self):
        return False

    def edges(self, data):
        assert data
        return [(1, "two", {"delay": 0.01, "weight": 5}), ("two", (3, 4), {})]


def test_graphs():
    net = Testbed.from_graph(Graph())
    assert list(net.nodes) == ["1", "two", "(3, 4)"]
    assert net[1] is net["1"]
    assert net.link("two", (3, 4)).nodes == ("two", "(3, 4)")
    with pytest.raises(ValueError, match="one link"):
        Testbed.from_graph(Graph(multi=True))


def test_networkx():
    networkx = pytest.importorskip("networkx", reason="networkx is not installed")
    net = Testbed.from_graph(networkx.petersen_graph())
    assert (len(net), len(net.links)) == (10, 15)
    both = networkx.DiGraph([("a", "b"), ("b", "a")])
    assert len(Testbed.from_graph(both).links) == 1


SVG = "{http://www.w3.org/2000/svg}"


def parsed(picture):
    """Names of the nodes, classes of the links, other texts."""
    root = ET.fromstring(picture)
    assert root.tag == f"{SVG}svg"
    texts = [", ".join(element.itertext()) for element in root.iter(f"{SVG}text")]
    links = [element.get("class") for element in root.iter(f"{SVG}line")]
    nodes = len(list(root.iter(f"{SVG}circle")))
    return texts[len(texts) - nodes :], links, texts[: len(texts) - nodes]


@pytest.mark.parametrize(
    "net", [Testbed.line(1), Testbed.line(5), Testbed.ring(6), Testbed.star(4)], ids=repr
)
def test_pictures_of_shapes(net):
    names, links, labels = parsed(net.draw())
    assert names == list(net.nodes)
    assert links == ["link up"] * len(net.links)
    assert labels == []


def test_pictures_of_any_graph(tmp_path):
    nodes = ["<a>", "b&c", '"d"', "e"]
    net = Testbed(nodes, [("<a>", "b&c"), ("b&c", '"d"'), ('"d"', "<a>")])
    assert parsed(net._repr_svg_())[0] == nodes
    places = [(c.get("cx"), c.get("cy")) for c in ET.fromstring(net.draw()).iter(f"{SVG}circle")]
    assert len(set(places)) == 4
    net.draw(tmp_path / "net.svg")
    assert (tmp_path / "net.svg").read_text() == net.draw()
    with pytest.raises(ValueError, match=r"\.jpg"):
        net.draw(tmp_path / "net.jpg")


def test_png(tmp_path, monkeypatch):
    drawn = []

    class Cairo:
        @staticmethod
        def svg2png(bytestring, write_to, scale):
            drawn.append((bytestring, write_to))

    net = Testbed.line(2)
    monkeypatch.setitem(sys.modules, "cairosvg", Cairo)
    net.draw(tmp_path / "net.png")
    assert drawn == [(net.draw().encode(), str(tmp_path / "net.png"))]
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    with pytest.raises(errors.OuroborosError, match="pip install cairosvg"):
        net.draw(tmp_path / "net.png")
