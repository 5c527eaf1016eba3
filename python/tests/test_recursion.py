"""Layers on layers, over networks of real machines: routes, repairs, deaths."""

import json
import multiprocessing
import os
import signal
import threading
import time

import pytest
from conftest import PATIENCE
from test_networks import OVER, RELIABLE, echo, good

import ouroboros.dev as dev
from ouroboros import errors
from ouroboros.testbed import Testbed, why_no_links

NO_LINKS = why_no_links()
pytestmark = pytest.mark.skipif(NO_LINKS is not None, reason=str(NO_LINKS))

ENCRYPTED = dev.QoSSpec(loss=0, ber=0, in_order=1, cypher_s=256)
# Routes are made a second after a change, not four.
QUICK = "ls_t_recalc 1"


def until(holds):
    """Asks again until it holds."""
    limit = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < limit


def shown(node, ipcp, section):
    """The rows of a section of the state of an IPCP."""
    state = json.loads(good(node, f"irm ipcp show name {ipcp} --json"))
    (ipcp,) = state if isinstance(state, list) else [state]
    return ipcp[section]


class Cables:
    """A layer on each link: what members of larger layers connect over."""

    def __init__(self, net, kind="eth-dix"):
        self.net, self.kind = net, kind
        for index, link in enumerate(net.links):
            for end, name in enumerate(link.nodes):
                node, peer = net[name], net[link.nodes[1 - end]]
                near = node.interfaces[peer.name]
                command = f"irm ipcp bootstrap name cable{index} type {kind} layer lan{index} "
                if kind == "udp4":
                    # Both layers of a node with two links have the same port.
                    command += f"ip {near.address}"
                    for other in ("u", "v", "b"):
                        command += f" host {other}-{peer.name}={near.peer_address}"
                else:
                    command += f"dev {near.name}"
                good(node, command)


class Layer:
    """A layer whose members are on all nodes of a network, connected as their nodes are linked."""

    def __init__(self, net, letter="u", kind="unicast", below="lan*", options=QUICK):
        self.net, self.letter, self.below, self.kind = net, letter, below, kind
        self.name = f"layer-{letter}"
        self.options = options
        first, *rest = list(net)
        good(first, self.bootstrap(first))
        self.announce(first)
        members = [first]
        while rest:
            node = next(each for each in rest if self.neighbours(each, members))
            rest.remove(node)
            self.join(node, members)
            members.append(node)

    def ipcp(self, node):
        return f"{self.letter}-{node.name}"

    def bootstrap(self, node):
        command = f"irm ipcp bootstrap name {self.ipcp(node)} type {self.kind} layer {self.name} "
        return command + (f"{self.options} autobind" if self.kind == "unicast" else "autobind")

    def neighbours(self, node, members):
        return [each for each in members if each.name in node.interfaces]

    def announce(self, node):
        good(node, f"irm name register {self.ipcp(node)} layer {self.below}")

    def join(self, node, members):
        """Makes a member of the node and connects it to its neighbours."""
        near = self.neighbours(node, members)
        ipcp = self.ipcp(node)
        good(
            node,
            f"irm ipcp enroll name {ipcp} type {self.kind} layer {self.name} "
            f"dst {self.ipcp(near[0])} autobind",
        )
        self.announce(node)
        for peer in near:
            good(node, f"irm ipcp connect name {ipcp} dst {self.ipcp(peer)}")

    def await_routes(self, count=None):
        """Waits until each member knows the way to all others, or to so many."""
        count = len(self.net) - 1 if count is None else count
        for node in self.net:
            until(lambda node=node: len(shown(node, self.ipcp(node), "routes")) == count)

    def serve(self, node, name="svc"):
        good(node, f"irm name register {name} layer {self.name}")


def comes_back(client, server, name="svc", qos=None):
    """A message goes to a name and comes back."""
    serving = echo(server, name)

    def talk():
        with dev.flow_alloc(name, qos) as flow:
            flow.set_rcv_timeout(PATIENCE)
            for size in (1, 64, 1000):
                flow.write(bytes(size))
                assert flow.read() == bytes(size)
            flow.write(OVER)
            return True

    assert client.call(talk)
    serving.result(PATIENCE)


def test_a_line_of_four():
    with Testbed.line(4, seed=1) as net:
        Cables(net)
        layer = Layer(net)
        layer.await_routes()
        layer.serve(net["n3"])
        for qos in (None, RELIABLE, ENCRYPTED):
            comes_back(net["n0"], net["n3"], qos=qos)
        out = good(net["n0"], "irm ipcp show name u-n0")
        assert "neighbours" in out


def test_a_ring_of_six():
    with Testbed.ring(6, seed=2) as net:
        Cables(net)
        layer = Layer(net)
        layer.await_routes()
        for node in list(net)[1:]:
            name = f"svc-{node.name}"
            layer.serve(node, name)
            comes_back(net["n0"], node, name)


@pytest.mark.parametrize("policy", ["link_state", "lfa"])
def test_a_triangle_with_a_cut_link(policy):
    with Testbed.ring(3, seed=3) as net:
        Cables(net)
        layer = Layer(net, options=f"{QUICK} routing {policy}")
        layer.await_routes()
        layer.serve(net["n1"])
        server = echo(net["n1"], "svc")
        here, there = multiprocessing.Pipe()

        def client():
            with dev.flow_alloc("svc", RELIABLE) as flow:
                flow.set_rcv_timeout(PATIENCE)
                longest = 0.0
                number = 0
                while not there.poll():
                    start = time.monotonic()
                    flow.write(number.to_bytes(4, "big"))
                    assert flow.read() == number.to_bytes(4, "big")
                    longest = max(longest, time.monotonic() - start)
                    number += 1
                    if number == 10:
                        there.send("going")
                    if number % 100 == 0:
                        there.send(number)
                flow.write(OVER)
                return longest

        running = net["n0"].submit(client)
        assert here.recv() == "going"
        # What is pulled out is seen at both ends, as with a real cable.
        for node, peer in (("n0", "n1"), ("n1", "n0")):
            good(net[node], f"ip link set {net[node].interface(peer).name} down")
        before = here.recv()
        while here.recv() < before + 500:
            pass
        here.send("enough")
        longest = running.result(PATIENCE)
        server.result(PATIENCE)
        print(f"interrupted for {longest * 1000:.0f} ms ({policy})")


@pytest.mark.parametrize("kind", ["eth-dix", "udp4"])
def test_three_levels(kind):
    with Testbed.line(3, seed=4) as net:
        Cables(net, kind)
        low = Layer(net, "u")
        low.await_routes()
        high = Layer(net, "v", below="layer-u")
        high.await_routes()
        high.serve(net["n2"])
        for qos in (None, RELIABLE, ENCRYPTED):
            comes_back(net["n0"], net["n2"], qos=qos)


def test_a_broadcast_tree_of_five():
    shape = ("abcde", [("a", "b"), ("a", "c"), ("c", "d"), ("c", "e")])
    with Testbed(*shape, seed=5) as net:
        Cables(net)
        layer = Layer(net, "b", kind="broadcast")
        ready = multiprocessing.SimpleQueue()

        def listen(name):
            with dev.flow_join(layer.name) as flow:
                ready.put(name)
                return flow.read()

        listeners = [net[name].submit(listen, name) for name in "bcde"]
        for _ in listeners:
            ready.get()

        def speak():
            with dev.flow_join(layer.name) as flow:
                flow.write(b"to all")
                return True

        assert net["a"].call(speak)
        assert [each.result(PATIENCE) for each in listeners] == [b"to all"] * 4


def test_a_killed_member_is_replaced():
    with Testbed.line(3, seed=6) as net:
        Cables(net)
        # Nothing on the wire says that a member is dead: its links must grow old.
        layer = Layer(net, options=f"{QUICK} ls_t_update 1 ls_t_timeo 3")
        layer.await_routes()
        layer.serve(net["n2"])
        comes_back(net["n0"], net["n2"])
        middle = net["n1"]
        (pid,) = [each.pid for each in middle.ipcps() if each.name == "u-n1"]
        os.kill(pid, signal.SIGKILL)
        until(lambda: "u-n1" not in [each.name for each in middle.ipcps()])
        layer.join(middle, [net["n0"]])
        good(net["n2"], "irm ipcp connect name u-n2 dst u-n1")

        def reached():
            serving = echo(net["n2"], "svc")
            try:
                net["n0"].call(once)
                serving.result(PATIENCE)
            except errors.OuroborosError:
                return False
            finally:
                serving.kill()
            return True

        def once():
            with dev.flow_alloc("svc", timeo=2) as flow:
                flow.set_rcv_timeout(2)
                flow.write(b"again")
                assert flow.read() == b"again"
                flow.write(OVER)

        until(reached)


def test_threads_share_a_flow_over_layers():
    with Testbed.line(2, seed=8) as net:
        Cables(net)
        layer = Layer(net)
        layer.await_routes()
        layer.serve(net["n1"])
        server = echo(net["n1"], "svc")

        def client():
            with dev.flow_alloc("svc", RELIABLE) as flow:
                flow.set_rcv_timeout(PATIENCE)

                def send():
                    for number in range(1000):
                        flow.write(number.to_bytes(4, "big"))

                sender = threading.Thread(target=send)
                sender.start()
                for number in range(1000):
                    assert flow.read() == number.to_bytes(4, "big")
                sender.join()
                flow.write(OVER)
                return True

        assert net["n0"].call(client)
        server.result(PATIENCE)
