"""A test network on one machine: nodes, links, and what can go wrong with them.

>>> from ouroboros.testbed import Testbed
>>> with Testbed.line(3) as net:                                    # doctest: +SKIP
...     net["n0"].local_layer()
...     print(net["n0"].run("irm ipcp list").stdout)
...     net.link("n0", "n1").impair(loss=0.01, delay=0.02)
...     net.link("n1", "n2").cut()
...     net.draw("network.svg")

Each node is a private daemon. With root's rights each has a network namespace of its own, and
the links between them are pairs of virtual Ethernet interfaces, joined by a relay that loses,
delays and reorders frames on request; nothing of it touches the network of the machine. Without
these rights the nodes are separate daemons with no links. In both cases everything is undone at
the end of the with-statement, also after an exception, also when Python is killed.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import itertools
import logging
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Optional, Union

from ..errors import EIRMD, NodeError, OuroborosError
from ..node import find_program
from . import _draw, _namespaces
from ._call import Call, RemoteTraceback
from ._link import Link, LinkStats, seeds
from ._node import BedNode, Interface
from ._relay import Relay

__all__ = [
    "BedNode",
    "Call",
    "Interface",
    "Link",
    "LinkStats",
    "RemoteTraceback",
    "Testbed",
    "why_no_links",
]

_log = logging.getLogger("ouroboros.testbed")

_serials = itertools.count()

#: How many nodes are started or stopped at the same time.
_AT_ONCE = 16

#: The networks of the links are 10.x.y.0/24.
_MOST_LINKS = 1 << 16


def why_no_links() -> Optional[str]:
    """Why a testbed of this process has no links, and what to do; None if it can have them."""
    if not _namespaces.may_have_namespaces():
        return (
            "links need network namespaces, and these need root's rights (CAP_SYS_ADMIN, "
            "CAP_NET_ADMIN, CAP_NET_RAW); run as root"
        )
    missing = _namespaces.missing_tool()
    if missing is not None:
        return f"links need network namespaces: {missing}"
    try:
        find_program("o7s-relay")
    except NodeError as error:
        return f"links need the relay: {error.strerror}"
    return None


class Testbed:
    """A network of nodes; use it in a with-statement.

    nodes
        Their names.
    links
        Pairs of names; a third element, if any, is a dict with arguments for Link.impair().
    namespaces
        Whether each node has a network namespace, which links need. By default: if this process
        has the rights to make them.
    mtu
        Longest packet on the links, bytes.
    seed
        Chooses the links' own seeds (see Link.impair); the same number, the same network.
    log_level, timeout
        As for ouroboros.Node.
    """

    # pytest should not take it for a class of tests.
    __test__ = False

    def __init__(
        self,
        nodes: Iterable[object],
        links: Iterable[tuple[Any, ...]] = (),
        *,
        namespaces: Optional[bool] = None,
        mtu: int = 1500,
        seed: Optional[int] = None,
        log_level: Optional[str] = None,
        timeout: float = 20.0,
    ) -> None:
        #: The nodes, by name.
        self.nodes: dict[str, BedNode] = {}
        #: The links.
        self.links: list[Link] = []
        self._by_ends: dict[frozenset[str], Link] = {}
        self._wanted = namespaces
        self._mtu = mtu
        self._timeout = timeout
        self._shape = ""
        self._relay: Optional[Relay] = None
        self._namespaces: list[str] = []
        self._running = False
        self._pid = 0
        for node in nodes:
            name = str(node)
            if name in self.nodes:
                raise ValueError(f"two nodes have the name {name!r}")
            self.nodes[name] = BedNode(name, log_level=log_level, timeout=timeout)
        if not self.nodes:
            raise ValueError("a testbed needs at least one node")
        random = seeds(seed)
        for link in links:
            self._add_link(*link, seed=random.getrandbits(53))
        if len(self.links) > _MOST_LINKS:
            raise ValueError(f"a testbed has at most {_MOST_LINKS} links, not {len(self.links)}")

    def _add_link(
        self, a: object, b: object, impairment: Optional[dict[str, Any]] = None, *, seed: int
    ) -> None:
        ends = (str(a), str(b))
        for end in ends:
            if end not in self.nodes:
                raise ValueError(f"the link {ends} leads to {end!r}, which is no node")
        if ends[0] == ends[1]:
            raise ValueError(f"the link {ends} leads back to its own node")
        if frozenset(ends) in self._by_ends:
            raise ValueError(f"there are two links between {' and '.join(ends)}")
        link = Link(len(self.links), *ends, dict(impairment or {}), seed)
        self.links.append(link)
        self._by_ends[frozenset(ends)] = link

    # Shapes

    @classmethod
    def line(cls, n: int, **options: Any) -> Testbed:
        """Nodes n0 to n<n-1>, each linked to the next."""
        return cls._shaped("line", n, [(i, i + 1) for i in range(n - 1)], options)

    @classmethod
    def ring(cls, n: int, **options: Any) -> Testbed:
        """Nodes n0 to n<n-1>, each linked to the next, and the last to the first."""
        if n < 3:
            raise ValueError(f"a ring has at least 3 nodes, not {n}")
        return cls._shaped("ring", n, [(i, (i + 1) % n) for i in range(n)], options)

    @classmethod
    def star(cls, n: int, **options: Any) -> Testbed:
        """Nodes n0 to n<n-1>, all others linked to n0."""
        return cls._shaped("star", n, [(0, i) for i in range(1, n)], options)

    @classmethod
    def _shaped(
        cls, shape: str, n: int, links: list[tuple[int, int]], options: dict[str, Any]
    ) -> Testbed:
        net = cls((f"n{i}" for i in range(n)), ((f"n{a}", f"n{b}") for a, b in links), **options)
        net._shape = shape
        return net

    @classmethod
    def from_graph(cls, graph: Any, **options: Any) -> Testbed:
        """The nodes and edges of a networkx graph, by the text of their names.

        Attributes of edges that Link.impair() knows (loss, delay, rate, …) impair the links.
        """
        if graph.is_multigraph():
            raise ValueError("a testbed has one link between two nodes: pass nx.Graph(graph)")
        if graph.is_directed():
            graph = graph.to_undirected()
        known = ("loss", "delay", "jitter", "reorder", "duplicate", "corrupt", "rate", "queue")
        links = [
            (a, b, {key: value for key, value in data.items() if key in (*known, "seed")})
            for a, b, data in graph.edges(data=True)
        ]
        return cls(graph.nodes, links, **options)

    # Life

    @property
    def namespaces(self) -> bool:
        """Whether the nodes have network namespaces, and so links."""
        if self._running:
            return bool(self._namespaces)
        return _namespaces.may_have_namespaces() if self._wanted is None else self._wanted

    def start(self) -> Testbed:
        """Starts the nodes and links; the with-statement does it for you."""
        if self._running:
            raise NodeError(EIRMD, "the testbed is running already")
        self._pid = os.getpid()
        reason = None
        if self.namespaces:
            reason = why_no_links()
            if reason is not None:
                raise NodeError(errno.EPERM, f"{reason}; or pass namespaces=False: no links then")
        elif self._wanted is None:
            reason = why_no_links()
        else:
            reason = "it was made with namespaces=False"
        isolated = self.namespaces
        # Once before the threads do: 'sysconfig' is not ready for several at its first use.
        find_program("irmd")
        self._running = True
        try:
            if isolated:
                self._make_namespaces()
            self._all_nodes(BedNode.start)
            for link in self.links:
                link._start(self._relay, reason or "the testbed has no links")
        except BaseException:
            self.stop()
            raise
        _log.info("testbed of %d nodes and %d links runs", len(self.nodes), len(self.links))
        return self

    def _all_nodes(self, function: Callable[[BedNode], object]) -> None:
        """Does something with all nodes at the same time; the first exception, if any."""
        with ThreadPoolExecutor(min(_AT_ONCE, len(self.nodes))) as pool:
            work = [pool.submit(function, node) for node in self.nodes.values()]
        for each in work:
            each.result()

    def _make_namespaces(self) -> None:
        stale = _namespaces.stale()
        if stale:
            _log.warning("removing namespaces of a testbed that was killed: %s", ", ".join(stale))
            self._remove(Relay(self._timeout), stale)
        serial = next(_serials)
        # The last one has the middle ends of the links.
        names = [_namespaces.name(serial, index) for index in range(len(self.nodes) + 1)]
        self._relay = Relay(self._timeout)
        paths = [str(_namespaces.DIRECTORY / name) for name in names]
        # Before they are there: whatever happens, somebody removes them.
        self._relay.ask("guard", namespaces=paths)
        self._namespaces = names
        _namespaces.ip(f"netns add {name}" for name in names)
        for node, name in zip(self.nodes.values(), names):
            node._enter_namespace(name)
            node.interfaces.clear()
        middle = names[-1]
        _namespaces.inside(middle, _namespaces.quiet)
        _namespaces.ip(self._link_commands(), middle)
        for node in self.nodes.values():
            self._set_up(node)
        self._join(middle)

    @staticmethod
    def _remove(relay: Relay, names: list[str]) -> None:
        """Ends what runs in the namespaces and removes them."""
        with contextlib.suppress(NodeError):
            relay.ask("guard", namespaces=[str(_namespaces.DIRECTORY / name) for name in names])
        relay.close()
        _namespaces.remove(names)

    def _link_commands(self) -> Iterator[str]:
        """What makes the links, to be said in the middle namespace."""
        for index, link in enumerate(self.links):
            macs = [f"02:07:05:{index >> 8:02x}:{index & 255:02x}:{end:02x}" for end in (1, 2)]
            addresses = [f"10.{index >> 8}.{index & 255}.{end}" for end in (1, 2)]
            for end in (0, 1):
                node, peer = self.nodes[link.nodes[end]], link.nodes[1 - end]
                name = f"eth{len(node.interfaces)}"
                node.interfaces[peer] = Interface(
                    name, addresses[end], macs[end], peer, addresses[1 - end]
                )
                ours = f"{'ab'[end]}{index}"
                yield (
                    f"link add {ours} mtu {self._mtu} type veth peer name {name} "
                    f"address {macs[end]} mtu {self._mtu} netns {node.namespace}"
                )
                yield f"link set {ours} arp off up"

    def _set_up(self, node: BedNode) -> None:
        """Interfaces and addresses of a node."""
        assert node.namespace is not None
        interfaces = list(node.interfaces.values())
        _namespaces.inside(
            node.namespace, lambda: _namespaces.quiet(each.name for each in interfaces)
        )
        commands = ["link set lo up"]
        for each in interfaces:
            peer = self.nodes[each.peer].interfaces[node.name]
            commands += [
                f"addr add {each.address}/24 dev {each.name}",
                f"link set {each.name} up",
                # Nobody has to ask, so only the frames of the tests meet the impairments.
                f"neigh replace {peer.address} lladdr {peer.mac} dev {each.name} nud permanent",
            ]
        _namespaces.ip(commands, node.namespace)

    def _join(self, middle: str) -> None:
        """Gives the middle ends of the links to the relay."""
        relay = self._relay
        assert relay is not None

        def join() -> None:
            # One link at a time: the number of open files has a limit.
            for index in range(len(self.links)):
                with contextlib.ExitStack() as stack:
                    ports = [
                        stack.enter_context(_namespaces.packet_socket(f"{end}{index}"))
                        for end in "ab"
                    ]
                    relay.ask("add", ports, link=index)

        _namespaces.inside(middle, join)

    def stop(self) -> None:
        """Ends all that runs in the testbed and undoes it. A second call does nothing."""
        if not self._running or self._pid != os.getpid():
            return
        with contextlib.ExitStack() as stack:
            # From the last to the first; each happens whatever becomes of the others.
            stack.callback(self._remove_namespaces)
            stack.callback(self._all_nodes, BedNode.stop)
            for link in self.links:
                stack.callback(link._stop)
        self._running = False
        _log.info("testbed stopped")

    def _remove_namespaces(self) -> None:
        # The relay ends what still runs in the namespaces, and removes them.
        relay, self._relay = self._relay, None
        names, self._namespaces = self._namespaces, []
        if relay is not None:
            relay.close()
        _namespaces.remove(names)
        for node in self.nodes.values():
            node.namespace = None
            node._prefix = ()
            node.interfaces.clear()

    def __enter__(self) -> Testbed:
        return self.start()

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.stop()

    # Nodes and links

    def __getitem__(self, name: object) -> BedNode:
        try:
            return self.nodes[str(name)]
        except KeyError:
            raise KeyError(f"no node {name!s}; there are {', '.join(self.nodes)}") from None

    def __iter__(self) -> Iterator[BedNode]:
        return iter(self.nodes.values())

    def __len__(self) -> int:
        return len(self.nodes)

    def __contains__(self, name: object) -> bool:
        return str(name) in self.nodes

    def link(self, a: object, b: object) -> Link:
        """The link between two nodes, in whatever order."""
        for name in (a, b):
            self[name]
        try:
            return self._by_ends[frozenset((str(a), str(b)))]
        except KeyError:
            raise KeyError(f"no link between {a!s} and {b!s}; there are {self.links}") from None

    # Pictures

    def draw(self, path: Optional[Union[str, os.PathLike[str]]] = None) -> str:
        """The network as an SVG picture; with *path* also in a file, .svg or .png.

        Cut links are dashed and red, impaired ones orange with their numbers. PNG needs cairosvg.
        """
        names = list(self.nodes)
        ends = [tuple(names.index(node) for node in link.nodes) for link in self.links]
        pairs = [(a, b) for a, b in ends]
        lines = [
            _draw.Line(a, b, link.state, link._label()) for (a, b), link in zip(pairs, self.links)
        ]
        picture = _draw.svg(names, _draw.place(self._shape, len(names), pairs), lines)
        if path is None:
            return picture
        file = Path(path)
        if file.suffix.lower() == ".svg":
            file.write_text(picture, encoding="utf-8")
        elif file.suffix.lower() == ".png":
            try:
                cairosvg = importlib.import_module("cairosvg")
            except ImportError as error:
                raise OuroborosError(
                    errno.ENOPKG,
                    "PNG pictures need cairosvg: 'pip install cairosvg', or draw to a file .svg",
                ) from error
            cairosvg.svg2png(bytestring=picture.encode(), write_to=str(file), scale=2.0)
        else:
            raise ValueError(f"{file.name} is neither .svg nor .png")
        return picture

    def _repr_svg_(self) -> str:
        return self.draw()

    def __repr__(self) -> str:
        state = "running" if self._running else "not running"
        return f"<Testbed of {len(self.nodes)} nodes and {len(self.links)} links, {state}>"
