"""Links of test networks: what passes, what does not, and how late."""

import socket
import sys
import time

import pytest
from conftest import PATIENCE
from test_testbed import parsed

from ouroboros import errors
from ouroboros.testbed import Testbed, why_no_links

NO_LINKS = why_no_links()
pytestmark = pytest.mark.skipif(NO_LINKS is not None, reason=str(NO_LINKS))


@pytest.fixture(scope="module")
def bed():
    with Testbed.line(2, seed=1) as net:
        yield net


@pytest.fixture
def net(bed):
    yield bed
    link = bed.link("n0", "n1")
    link.heal()
    link.impair()


@pytest.fixture
def link(net):
    return net.link("n0", "n1")


@pytest.fixture
def ends(net):
    """A UDP socket on each node, connected to each other."""
    with net["n0"].socket() as a, net["n1"].socket() as b:
        for end, node, peer in ((a, "n0", "n1"), (b, "n1", "n0")):
            end.settimeout(PATIENCE)
            end.bind((net[node].interface(peer).address, 0))
        a.connect(b.getsockname())
        b.connect(a.getsockname())
        yield a, b


def until(stop, end):
    """What comes before *stop*."""
    came = []
    while (message := end.recv(2000)) != stop:
        came.append(message)
    return came


class Change:
    """What a link counted since."""

    def __init__(self, link, towards):
        self.link, self.towards = link, towards
        self.before = link.stats(towards=towards)

    def __getattr__(self, name):
        return getattr(self.link.stats(towards=self.towards), name) - getattr(self.before, name)

    def await_received(self, number):
        """Waits until so many frames have come to the link since."""
        while self.received < number:
            pass


def test_frames_pass_and_are_counted(link, ends):
    a, b = ends
    there, back = Change(link, "n1"), Change(link, "n0")
    for size in (0, 1, 100, 1472):
        a.send(bytes(size))
        assert b.recv(2000) == bytes(size)
    b.send(b"back")
    assert a.recv(2000) == b"back"
    assert (there.received, there.passed, there.dropped) == (4, 4, 0)
    assert there.passed_bytes == 4 * (14 + 20 + 8) + 1573
    assert back.passed == 1
    assert link.stats().passed == link.stats(towards="n0").passed + link.stats(towards="n1").passed


def test_streams_pass(net):
    # TCP with large segments: checksums and offloads.
    payload = bytes(range(256)) * 4096
    with net["n1"].socket(type=socket.SOCK_STREAM) as listener:
        listener.bind((net["n1"].interface("n0").address, 0))
        listener.listen()
        listener.settimeout(PATIENCE)
        address = listener.getsockname()

        def send():
            with socket.create_connection(address, PATIENCE) as connection:
                connection.sendall(payload)

        sender = net["n0"].submit(send)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(PATIENCE)
            came = b""
            while part := connection.recv(1 << 16):
                came += part
        sender.result(PATIENCE)
    assert came == payload


def test_cut_and_heal(link, ends):
    a, b = ends
    change = Change(link, "n1")
    a.send(b"before")
    change.await_received(1)
    link.cut()
    assert (link.is_cut, link.state) == (True, "cut")
    for _ in range(10):
        a.send(b"while")
    change.await_received(11)
    link.heal()
    assert (link.is_cut, link.state) == (False, "up")
    a.send(b"after")
    assert until(b"after", b) == [b"before"]
    assert (change.cut, change.passed) == (10, 2)


def test_cut_in_one_direction(link, ends):
    a, b = ends
    change = Change(link, "n1")
    link.cut(towards="n1")
    a.send(b"lost")
    b.send(b"back")
    assert a.recv(2000) == b"back"
    change.await_received(1)
    link.heal(towards="n1")
    a.send(b"there")
    assert b.recv(2000) == b"there"
    with pytest.raises(ValueError, match="'n7'"):
        link.cut(towards="n7")


def test_loss_is_the_same_with_the_same_seed(link, ends):
    a, b = ends

    def fate(seed):
        sent = Change(link, "n1")
        link.impair(loss=0.3, seed=seed)
        for index in range(200):
            a.send(b"%d" % index)
        sent.await_received(200)
        link.impair()
        a.send(b"end")
        return until(b"end", b)

    change = Change(link, "n1")
    first = fate(5)
    assert change.lost == 200 - len(first)
    assert 80 < len(first) < 190
    assert fate(5) == first
    assert fate(6) != first


def test_delay(link, ends):
    a, b = ends
    link.impair(delay=0.03, towards="n1")
    link.impair(delay=0.02, towards="n0")
    start = time.monotonic()
    a.send(b"there")
    assert b.recv(2000) == b"there"
    b.send(b"back")
    assert a.recv(2000) == b"back"
    assert time.monotonic() - start >= 0.05
    assert link.impairment(towards="n0")["delay"] == 0.02


def test_jitter_keeps_order_and_reordering_does_not(link, ends):
    a, b = ends
    link.impair(delay=0.005, jitter=0.005)
    sent = [b"%d" % index for index in range(100)]
    for message in [*sent, b"end"]:
        a.send(message)
    assert until(b"end", b) == sent
    change = Change(link, "n1")
    link.impair(reorder=0.2, seed=3)
    for message in sent:
        a.send(message)
    change.await_received(100)
    link.impair()
    a.send(b"end")
    # The last one may be overtaken by the end.
    came = [b.recv(2000) for _ in range(101)]
    assert came != [*sent, b"end"]
    assert sorted(came) == sorted([*sent, b"end"])


def test_duplicates(link, ends):
    a, b = ends
    change = Change(link, "n1")
    link.impair(duplicate=1.0)
    a.send(b"twice")
    change.await_received(1)
    link.impair()
    a.send(b"end")
    assert until(b"end", b) == [b"twice", b"twice"]


def test_corruption_is_noticed_by_the_node(link, ends):
    a, b = ends
    change = Change(link, "n1")
    link.impair(corrupt=1.0)
    for _ in range(20):
        a.send(b"x" * 1000)
    change.await_received(20)
    link.impair()
    a.send(b"end")
    # Checksums see a flipped bit wherever it is.
    assert until(b"end", b) == []
    assert (change.corrupted, change.passed) == (20, 21)


def test_rate(link, ends):
    a, b = ends
    link.impair(rate=1e6)
    start = time.monotonic()
    for _ in range(10):
        a.send(bytes(1208))
    for _ in range(10):
        assert len(b.recv(2000)) == 1208
    # 10 frames of 1250 bytes at 1 Mbit/s.
    assert time.monotonic() - start >= 0.1
    change = Change(link, "n1")
    link.impair(rate=1e6, queue=5000)
    for _ in range(100):
        a.send(bytes(1208))
    change.await_received(100)
    assert change.overflow > 50


def test_wrong_values_change_nothing(link, ends):
    a, b = ends
    link.impair(loss=1.0)
    for wrong, name in (
        ({"loss": 1.5}, "loss"),
        ({"delay": -1}, "delay"),
        ({"rate": 0}, "rate"),
    ):
        with pytest.raises(ValueError, match=name):
            link.impair(**wrong)
    change = Change(link, "n1")
    a.send(b"lost")
    change.await_received(1)
    link.impair()
    a.send(b"end")
    assert until(b"end", b) == []


def test_pictures_show_the_state(net, link):
    link.cut()
    assert parsed(net.draw())[1:] == (["link cut"], ["cut"])
    assert "stroke-dasharray" in net.draw()
    assert repr(link) == "<Link n0 - n1: cut>"
    link.heal()
    link.impair(loss=0.01, delay=0.02, jitter=0.005, rate=10e6)
    label = "loss 1 %, delay 20 ms ± 5 ms, 10 Mbit/s"
    assert parsed(net.draw())[1:] == (["link impaired"], [label])
    link.impair(towards="n0")
    assert parsed(net.draw())[2] == [f"to n1: {label}"]
    link.impair()
    assert parsed(net.draw())[1:] == (["link up"], [])


def test_nothing_of_it_is_on_the_machines_network(net):
    mine = {name for _, name in socket.if_nameindex()}
    theirs = {name for _, name in net["n0"].call(socket.if_nameindex)}
    assert theirs == {"lo", "eth0"}
    assert not mine & {"a0", "b0"}
    names = net["n0"].run([sys.executable, "-c", "import socket; print(socket.if_nameindex())"])
    assert names.stdout == f"{net['n0'].call(socket.if_nameindex)}\n"


def test_a_larger_network_and_links_of_a_graph():
    nodes = [f"r{index}" for index in range(8)]
    links = [(a, b) for a in nodes for b in nodes if a < b]
    links[0] = (*links[0], {"loss": 1.0})
    with Testbed(nodes, links, mtu=9000) as net:
        assert net.link("r0", "r1").state == "impaired"
        for link in net.links[1:]:
            one, two = (net[name] for name in link.nodes)
            with one.socket() as a, two.socket() as b:
                b.settimeout(PATIENCE)
                b.bind((two.interface(one.name).address, 0))
                a.sendto(bytes(8000), b.getsockname())
                assert len(b.recv(9000)) == 8000
            assert link.stats().passed == 1
            assert link.stats().dropped == 0
        with pytest.raises(errors.NodeError, match="its peers are r1"):
            net["r0"].interface("r9")
