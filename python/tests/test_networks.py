"""Layers on networks: nodes in network namespaces, with Ethernet and UDP between them."""

import multiprocessing
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import EXAMPLES, PATIENCE

import ouroboros.dev as dev
from ouroboros import errors
from ouroboros.testbed import Testbed, why_no_links

NO_LINKS = why_no_links()
pytestmark = pytest.mark.skipif(NO_LINKS is not None, reason=str(NO_LINKS))

TYPES = ("eth-dix", "eth-llc", "udp4", "udp6")
IPV6 = "fd00::{}"
OVER = b"over"

RELIABLE = dev.QoSSpec(loss=0, ber=0, in_order=1)
ENCRYPTED = dev.QoSSpec(loss=0, ber=0, in_order=1, cypher_s=256)


def good(node, command):
    """Runs a command that must succeed; what it printed."""
    done = node.run(command, timeout=PATIENCE)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def layer(net, kind, names=("svc", "oecho")):
    """A layer named 'net' of all nodes of a network whose nodes are linked to n0."""
    nodes = list(net)
    for node in nodes:
        peers = [each for each in nodes if each is not node and each.name in node.interfaces]
        near = next(iter(node.interfaces.values()))
        command = f"irm ipcp bootstrap name {kind} type {kind} layer net "
        if kind.startswith("eth"):
            command += f"dev {near.name}"
        elif kind == "udp4":
            command += f"ip {near.address}"
            for peer in peers:
                address = node.interfaces[peer.name].peer_address
                command += "".join(f" host {name}={address}" for name in names)
        else:
            number = nodes.index(node) + 1
            # The testbed keeps IPv6 quiet, so that nothing is sent that a test did not send.
            switch = Path(f"/proc/sys/net/ipv6/conf/{near.name}/disable_ipv6")
            node.call(switch.write_text, "0")
            good(node, f"ip addr add {IPV6.format(number)}/64 dev {near.name} nodad")
            command += f"ip {IPV6.format(number)}"
            for peer in peers:
                other = IPV6.format(nodes.index(peer) + 1)
                command += "".join(f" host {name}={other}" for name in names)
        good(node, command)


def echo(node, name, flows=1):
    """In a process of the node: answers each message of so many flows, until it says OVER.

    Nothing on the wire says that the other end of a flow is gone.
    """
    bound = multiprocessing.SimpleQueue()

    def serve():
        node.bind(name)
        bound.put(True)
        threads = []
        for _ in range(flows):
            flow = dev.flow_accept()
            thread = threading.Thread(target=answer, args=(flow,))
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()
        return flows

    def answer(flow):
        with flow:
            while (message := flow.read(1 << 20)) != OVER:
                flow.write(message)

    serving = node.submit(serve)
    bound.get()
    return serving


@pytest.fixture(params=TYPES)
def kind(request):
    return request.param


@pytest.fixture
def net(kind):
    with Testbed.line(2, seed=7) as net:
        layer(net, kind)
        yield net


def serve(net, name="svc"):
    good(net["n1"], f"irm name register {name} layer net")


def test_ping_finds_the_name_and_comes_back(net):
    serve(net, "svc")
    good(net["n1"], "irm bind program oping name svc")
    net["n1"].popen("oping -l")
    out = good(net["n0"], "oping -n svc -c 10 -i 1")
    assert "10 packets transmitted, 10 received" in out, out
    assert "0% packet loss" in re.sub(r"0\.0+%", "0%", out), out


@pytest.mark.parametrize("qos", [dev.QoSSpec(), RELIABLE, ENCRYPTED], ids=["raw", "rel", "enc"])
def test_messages_come_back(net, qos):
    serve(net)
    server = echo(net["n1"], "svc")

    def client():
        with dev.flow_alloc("svc", qos) as flow:
            flow.set_rcv_timeout(PATIENCE)
            for size in (1, 64, 1000):
                message = bytes(range(256)) * 4
                flow.write(message[:size])
                assert flow.read() == message[:size]
            flow.write(OVER)
            return True

    assert net["n0"].call(client)
    server.result(PATIENCE)


def test_an_unknown_name_is_told(net):
    def client():
        with pytest.raises(errors.OuroborosError) as info:
            dev.flow_alloc("nobody")
        return str(info.value)

    assert "nobody" in net["n0"].call(client)


def bulk(net, total, size, qos=RELIABLE):
    """Sends so many bytes to an echo and back, in messages of a size."""
    serve(net)
    server = echo(net["n1"], "svc")

    def client():
        message = bytes(range(251)) * (size // 251 + 1)
        with dev.flow_alloc("svc", qos) as flow:
            flow.set_rcv_timeout(PATIENCE)
            count = total // size

            def send():
                for number in range(count):
                    flow.write(number.to_bytes(4, "big") + message[: size - 4])

            sender = threading.Thread(target=send)
            sender.start()
            for number in range(count):
                came = flow.read(size + 1)
                assert came[:4] == number.to_bytes(4, "big")
                assert came[4:] == message[: size - 4]
            sender.join()
            flow.write(OVER)
            return count

    assert net["n0"].call(client) == total // size
    server.result(PATIENCE)


def test_reliable_flows_stand_a_bad_link(net):
    net.link("n0", "n1").impair(loss=0.02, delay=0.002, jitter=0.001, reorder=0.02, duplicate=0.01)
    bulk(net, 300_000, 1000)


def test_large_messages_on_reliable_flows(net):
    bulk(net, 1_000_000, 100_000)


def test_a_cut_link_is_healed(net):
    serve(net)
    server = echo(net["n1"], "svc")
    link = net.link("n0", "n1")
    here, there = multiprocessing.Pipe()

    def client():
        with dev.flow_alloc("svc", RELIABLE) as flow:
            flow.set_rcv_timeout(PATIENCE)
            for word in (b"before", b"while"):
                there.recv()
                flow.write(word)
                there.send("written")
            assert flow.read() == b"before"
            assert flow.read() == b"while"
            flow.write(OVER)
            return True

    running = net["n0"].submit(client)
    before = link.stats()
    here.send("go")
    here.recv()
    link.cut()
    here.send("go")
    here.recv()
    while link.stats().cut == before.cut:
        pass
    link.heal()
    assert running.result(PATIENCE)
    server.result(PATIENCE)


@pytest.mark.parametrize("mtu", [1500, 9000])
def test_packets_of_the_longest_size(kind, mtu):
    with Testbed.line(2, seed=7, mtu=mtu) as net:
        layer(net, kind)
        serve(net)
        server = echo(net["n1"], "svc")

        def client():
            with dev.flow_alloc("svc") as flow:
                flow.set_rcv_timeout(PATIENCE)
                # The length field of LLC says no more than 1,500.
                room = min(mtu, 1500) if kind == "eth-llc" else mtu
                size = room - {"eth-dix": 4, "eth-llc": 3, "udp4": 32, "udp6": 52}[kind]
                flow.write(bytes(size))
                assert flow.read(size + 1) == bytes(size)
                flow.write(OVER)
                return True

        assert net["n0"].call(client)
        server.result(PATIENCE)


def test_many_flows(kind):
    number = 60 if kind == "eth-llc" else 500
    with Testbed.line(2, seed=7) as net:
        layer(net, kind)
        serve(net)
        server = echo(net["n1"], "svc", number)

        def client():
            flows = [dev.flow_alloc("svc") for _ in range(number)]
            for index, flow in enumerate(flows):
                flow.set_rcv_timeout(PATIENCE)
                flow.write(b"%d" % index)
            for index, flow in enumerate(flows):
                assert flow.read() == b"%d" % index
                flow.write(OVER)
                flow.dealloc()
            return len(flows)

        assert net["n0"].call(client) == number
        server.result(PATIENCE)


def test_python_echo_of_the_documentation(net):
    program = EXAMPLES / "oecho.py"
    good(net["n1"], "irm name register oecho layer net")
    python = [sys.executable, "-u", str(program)]
    with net["n1"].popen([*python, "-l"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == "Starting the server.\n"
        good(net["n1"], f"irm bind process {server.pid} name oecho")
        client = net["n0"].run(python)
        assert (client.returncode, client.stderr) == (0, "")
        assert server.stdout.readline() == "New flow.\n"
        assert server.stdout.readline() == "Message from client is Hello, PyOuroboros!\n"
        server.terminate()
