"""Management: IPCPs, layers, names and bindings, by process ids.

>>> from ouroboros.irm import *
>>> pid = create_ipcp("ipcp1", IpcpType.LOCAL)                          # doctest: +SKIP
>>> bootstrap_ipcp(pid, IpcpConfig(IpcpType.LOCAL, "local"))            # doctest: +SKIP
>>> create_name(NameInfo("oecho"))                                      # doctest: +SKIP
>>> reg_name("oecho", pid)                                              # doctest: +SKIP
>>> bind_program("./oecho.py", "oecho")                                 # doctest: +SKIP

Every call is one request to the irmd that this process uses, and raises an IrmError (an OSError
with errno) if it fails. Calls that take names instead of process ids are in ouroboros.cli.

Numbers are checked when they are used: a value that is not allowed raises a ValueError that says
what is.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Optional, TypeVar, Union

from . import _native
from ._program import program_path
from .errors import (
    BindError,
    IpcpBootstrapError,
    IpcpConnectError,
    IpcpCreateError,
    IpcpEnrollError,
    IrmError,
    IrmNameError,
    irm_error,
)
from .qos import QoSSpec

__all__ = [
    "BIND_AUTO",
    "DT_COMP",
    "MGMT_COMP",
    "AddressAuthPolicy",
    "BindError",
    "CongestionAvoidPolicy",
    "DhtConfig",
    "DirConfig",
    "DirectoryHashAlgo",
    "DirectoryPolicy",
    "DtConfig",
    "EthConfig",
    "IpcpBootstrapError",
    "IpcpConfig",
    "IpcpConnectError",
    "IpcpCreateError",
    "IpcpEnrollError",
    "IpcpInfo",
    "IpcpType",
    "IrmError",
    "IrmNameError",
    "LinkStateConfig",
    "LinkStatePolicy",
    "LoadBalancePolicy",
    "LocalConfig",
    "NameError",
    "NameInfo",
    "NameSecPaths",
    "QoSSpec",
    "RoutingConfig",
    "RoutingPolicy",
    "Udp4Config",
    "Udp6Config",
    "UnicastConfig",
    "bind_process",
    "bind_program",
    "bootstrap_ipcp",
    "connect_ipcp",
    "create_ipcp",
    "create_name",
    "destroy_ipcp",
    "destroy_name",
    "disconnect_ipcp",
    "enroll_ipcp",
    "list_ipcps",
    "list_names",
    "reg_name",
    "show_ipcp",
    "unbind_process",
    "unbind_program",
    "unreg_name",
]

#: The same class under the name of 0.23, which hides the builtin one after a star import.
NameError = IrmNameError

#: Option of bind_program(): the irmd starts the program when a flow request finds nobody.
BIND_AUTO: Final = 1
#: Component of an IPCP: data transfer.
DT_COMP: Final = "Data Transfer"
#: Component of an IPCP: management.
MGMT_COMP: Final = "Management"

# The layer of an IPCP that is in none, as lists show it.
_NO_LAYER: Final = "Not enrolled."

_PathLike = Union[str, "os.PathLike[str]"]


# Numbers


class IpcpType(IntEnum):
    """Types of IPCPs; the order is that in which layers are asked for a name."""

    LOCAL = 0
    UNICAST = 1
    BROADCAST = 2
    ETH_LLC = 3
    ETH_DIX = 4
    UDP4 = 5
    UDP6 = 6


class AddressAuthPolicy(IntEnum):
    """How addresses are assigned."""

    FLAT_RANDOM = 0


class LinkStatePolicy(IntEnum):
    """What link-state routing makes of the graph."""

    SIMPLE = 0
    LFA = 1
    ECMP = 2


class RoutingPolicy(IntEnum):
    """How routes are found."""

    LINK_STATE = 0


class CongestionAvoidPolicy(IntEnum):
    """How congestion is avoided."""

    NONE = 0
    MB_ECN = 1


class DirectoryPolicy(IntEnum):
    """How names are found in a layer."""

    DHT = 0


class DirectoryHashAlgo(IntEnum):
    """Hash of names in a layer. Layers over UDP use MD5 whatever is chosen."""

    SHA3_224 = 0
    SHA3_256 = 1
    SHA3_384 = 2
    SHA3_512 = 3


class LoadBalancePolicy(IntEnum):
    """Which of several waiting processes gets the next flow."""

    #: The one that waits longest.
    ROUND_ROBIN = 0
    #: The one that called accept last.
    SPILL = 1


# Configuration


@dataclass
class LinkStateConfig:
    """Link-state routing: policy, and times in seconds from 1."""

    pol: LinkStatePolicy = LinkStatePolicy.SIMPLE
    t_recalc: int = 4
    t_update: int = 15
    t_timeo: int = 60


@dataclass(init=False)
class RoutingConfig:
    """Routing of a unicast layer."""

    pol: RoutingPolicy
    ls: LinkStateConfig

    def __init__(
        self,
        pol: RoutingPolicy = RoutingPolicy.LINK_STATE,
        ls: Optional[LinkStateConfig] = None,
    ) -> None:
        self.pol = pol
        self.ls = LinkStateConfig() if ls is None else ls


@dataclass(init=False)
class DtConfig:
    """Data transfer of a unicast layer.

    addr_size
        Bytes of an address: 4.
    eid_size
        Bytes of an endpoint id; 8 is used.
    max_ttl
        Hops, 1 to 255.
    routing
        None = the defaults.
    """

    addr_size: int
    eid_size: int
    max_ttl: int
    routing: RoutingConfig

    def __init__(
        self,
        addr_size: int = 4,
        eid_size: int = 8,
        max_ttl: int = 60,
        routing: Optional[RoutingConfig] = None,
    ) -> None:
        self.addr_size = addr_size
        self.eid_size = eid_size
        self.max_ttl = max_ttl
        self.routing = RoutingConfig() if routing is None else routing


@dataclass
class DhtConfig:
    """The distributed hash table of a unicast layer.

    alpha
        Parallel requests, 1 to 10.
    k
        Replicas, 1 to 20.
    t_expire
        Life of an entry, 10 to 86400 s.
    t_refresh, t_replicate
        Intervals, 3 to 3600 s.
    """

    alpha: int = 3
    k: int = 8
    t_expire: int = 86400
    t_refresh: int = 900
    t_replicate: int = 900


@dataclass(init=False)
class DirConfig:
    """The directory of a unicast layer."""

    pol: DirectoryPolicy
    dht: DhtConfig

    def __init__(
        self, pol: DirectoryPolicy = DirectoryPolicy.DHT, dht: Optional[DhtConfig] = None
    ) -> None:
        self.pol = pol
        self.dht = DhtConfig() if dht is None else dht


@dataclass(init=False)
class UnicastConfig:
    """A unicast layer; None = the defaults."""

    dt: DtConfig
    dir: DirConfig
    addr_auth: AddressAuthPolicy
    cong_avoid: CongestionAvoidPolicy

    def __init__(
        self,
        dt: Optional[DtConfig] = None,
        dir: Optional[DirConfig] = None,
        addr_auth: AddressAuthPolicy = AddressAuthPolicy.FLAT_RANDOM,
        cong_avoid: CongestionAvoidPolicy = CongestionAvoidPolicy.MB_ECN,
    ) -> None:
        self.dt = DtConfig() if dt is None else dt
        self.dir = DirConfig() if dir is None else dir
        self.addr_auth = addr_auth
        self.cong_avoid = cong_avoid


@dataclass
class EthConfig:
    """A layer over Ethernet.

    dev
        Network device; must be given.
    ethertype
        Of type ETH_DIX: 0x0600 to 0xFFFE.
    """

    dev: str = ""
    ethertype: int = 0xA000


@dataclass
class LocalConfig:
    """A layer of this machine that does something to packets, to test what stands such a network.

    Its flows pass through its IPCP; without this configuration programs share memory.

    loss, reorder, duplicate, corrupt
        Probabilities, 0 to 1, that a packet is lost, overtaken by the next, doubled, or has a bit
        flipped.
    delay, jitter
        Seconds that a packet takes, and by how much that varies either way; up to 60.
    mtu
        Longest packet in bytes; longer ones are dropped. 0 = no limit.
    seed
        Chooses the packets that are hit.
    """

    loss: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    mtu: int = 0
    seed: int = 0


@dataclass
class Udp4Config:
    """A layer over UDP and IPv4.

    ip_addr
        This machine's address; must be given.
    dns_addr
        Name server; 0.0.0.0 = none.
    port
        UDP port.
    hosts
        Who serves which name, where no name server knows it: {"oping": "192.0.2.7"}; with a port
        of its own "192.0.2.7:4000". A list of addresses is asked one after the other.
    """

    ip_addr: str = "0.0.0.0"
    dns_addr: str = "0.0.0.0"
    port: int = 3435
    hosts: Mapping[str, Union[str, Sequence[str]]] = field(default_factory=dict)


@dataclass
class Udp6Config:
    """A layer over UDP and IPv6.

    ip_addr
        This machine's address; must be given.
    dns_addr
        Name server; :: = none.
    port
        UDP port.
    hosts
        Who serves which name, where no name server knows it: {"oping": "2001:db8::7"}; with a port
        of its own "[2001:db8::7]:4000". A list of addresses is asked one after the other.
    """

    ip_addr: str = "::"
    dns_addr: str = "::"
    port: int = 3435
    hosts: Mapping[str, Union[str, Sequence[str]]] = field(default_factory=dict)


@dataclass(init=False)
class IpcpConfig:
    """The configuration of a layer.

    The part of the type is made with its defaults if it is None (but for LOCAL: then nothing
    happens to packets); those of other types are not looked at.
    """

    ipcp_type: IpcpType
    layer_name: str
    dir_hash_algo: DirectoryHashAlgo
    unicast: Optional[UnicastConfig]
    eth: Optional[EthConfig]
    udp4: Optional[Udp4Config]
    udp6: Optional[Udp6Config]
    local: Optional[LocalConfig]

    def __init__(
        self,
        ipcp_type: IpcpType,
        layer_name: str = "",
        dir_hash_algo: DirectoryHashAlgo = DirectoryHashAlgo.SHA3_256,
        unicast: Optional[UnicastConfig] = None,
        eth: Optional[EthConfig] = None,
        udp4: Optional[Udp4Config] = None,
        udp6: Optional[Udp6Config] = None,
        local: Optional[LocalConfig] = None,
    ) -> None:
        if unicast is None and ipcp_type == IpcpType.UNICAST:
            unicast = UnicastConfig()
        if eth is None and ipcp_type in (IpcpType.ETH_LLC, IpcpType.ETH_DIX):
            eth = EthConfig()
        if udp4 is None and ipcp_type == IpcpType.UDP4:
            udp4 = Udp4Config()
        if udp6 is None and ipcp_type == IpcpType.UDP6:
            udp6 = Udp6Config()
        self.ipcp_type = ipcp_type
        self.layer_name = layer_name
        self.dir_hash_algo = dir_hash_algo
        self.unicast = unicast
        self.eth = eth
        self.udp4 = udp4
        self.udp6 = udp6
        self.local = local


@dataclass
class NameSecPaths:
    """Security files of one role: encryption configuration, key, certificate; "" = the default."""

    enc: str = ""
    key: str = ""
    crt: str = ""


@dataclass(init=False)
class NameInfo:
    """A name.

    name
        1 to 255 bytes of UTF-8.
    pol_lb
        Which of several waiting processes gets a flow.
    server_sec, client_sec
        Files used when accepting for the name, and when allocating to it; None = the defaults.
    """

    name: str
    pol_lb: LoadBalancePolicy
    server_sec: NameSecPaths
    client_sec: NameSecPaths

    def __init__(
        self,
        name: str,
        pol_lb: LoadBalancePolicy = LoadBalancePolicy.ROUND_ROBIN,
        server_sec: Optional[NameSecPaths] = None,
        client_sec: Optional[NameSecPaths] = None,
    ) -> None:
        self.name = name
        self.pol_lb = pol_lb
        self.server_sec = NameSecPaths() if server_sec is None else server_sec
        self.client_sec = NameSecPaths() if client_sec is None else client_sec


@dataclass(init=False)
class IpcpInfo:
    """An IPCP of this machine.

    pid
        Its process id.
    type
        Its type; a plain int if this version does not know it.
    name
        Its name.
    layer
        Its layer's name; "Not enrolled." while it is in none.
    """

    pid: int
    type: Union[IpcpType, int]
    name: str
    layer: str

    def __init__(self, pid: int, ipcp_type: Union[IpcpType, int], name: str, layer: str) -> None:
        self.pid = pid
        self.type = ipcp_type
        self.name = name
        self.layer = layer


# Calls


def create_ipcp(name: str, ipcp_type: IpcpType) -> int:
    """Starts an IPCP, in no layer yet; its pid. Names of IPCPs are unique.

    Raises IpcpCreateError.
    """
    return _irm().create_ipcp(name, ipcp_type)


def destroy_ipcp(pid: int) -> None:
    """Stops an IPCP and waits for its end. Raises IrmError, also if *pid* is no IPCP."""
    _irm().destroy_ipcp(_pid(pid, IrmError))


def list_ipcps() -> list[IpcpInfo]:
    """The IPCPs, in the order in which their layers are asked for a name. Raises IrmError."""
    return [
        IpcpInfo(pid, _number(IpcpType, kind), name, layer or _NO_LAYER)
        for pid, kind, name, layer in _irm().list_ipcps()
    ]


def show_ipcp(pid: int) -> dict[str, list[dict[str, str]]]:
    """The state of an IPCP: tables by name, each a list of rows, each a dict from title to cell.

    The table "ipcp" has the rows "property" and "value"; which others there are depends on the type
    (flows, directory, neighbours, routes, …). Raises IrmError.
    """
    return {
        name: [dict(zip(titles, row)) for row in rows]
        for name, titles, rows in _irm().show_ipcp(_pid(pid, IrmError))
    }


def enroll_ipcp(pid: int, dst: str) -> None:
    """Makes an IPCP a member of the layer of *dst*: a member's name, or the layer's.

    Raises IpcpEnrollError.
    """
    _irm().enroll_ipcp(_pid(pid, IpcpEnrollError), dst)


def bootstrap_ipcp(pid: int, conf: IpcpConfig) -> None:
    """Makes an IPCP the first member of a new layer.

    Raises IpcpBootstrapError; for a value that is not allowed, such as a bad address, one that is a
    ValueError too.
    """
    _irm().bootstrap_ipcp(_pid(pid, IpcpBootstrapError), conf)


def connect_ipcp(pid: int, component: str, dst: str, qos: Optional[QoSSpec] = None) -> None:
    """Connects *component* (DT_COMP or MGMT_COMP) of an IPCP to its neighbour *dst*.

    What is connected already stays as it is.

    Without *qos* the connection is raw. It has no encryption of its own: a *qos* that asks for it
    raises an error with errno ENOTSUP. Raises IpcpConnectError.
    """
    if qos is None:
        qos = QoSSpec.raw()
    if qos.cypher_s > 0:
        raise IpcpConnectError(
            errno.ENOTSUP,
            f"cannot connect to {dst!r} with cypher_s={qos.cypher_s}: connections of IPCPs have no "
            "encryption; leave cypher_s out",
        )
    _irm().connect_ipcp(_pid(pid, IpcpConnectError), dst, component, qos._fields())


def disconnect_ipcp(pid: int, component: str, dst: str) -> None:
    """Undoes connect_ipcp(). Raises IpcpConnectError."""
    _irm().disconnect_ipcp(_pid(pid, IpcpConnectError), dst, component)


def bind_program(
    prog: _PathLike, name: str, opts: int = 0, argv: Optional[Sequence[str]] = None
) -> None:
    """Binds a program to *name*, which is created (policy spill) if it is unknown.

    A program is known by the base name of its path. *prog* without a / is looked for on the PATH.
    With BIND_AUTO in *opts* the irmd starts it with the arguments *argv* (without the program
    itself) when a flow to the name finds nobody who accepts. Raises BindError.
    """
    if opts & ~BIND_AUTO:
        raise irm_error(
            BindError, errno.EINVAL, f"opts is {opts}; the only option is BIND_AUTO ({BIND_AUTO})"
        )
    if isinstance(argv, str):
        raise TypeError("argv must be a sequence of strings, not one string")
    arguments = [] if argv is None else list(argv)
    _irm().bind_program(program_path(prog), name, bool(opts & BIND_AUTO), arguments)


def unbind_program(prog: _PathLike, name: Optional[str] = None) -> None:
    """Unbinds a program, by its path or base name, from *name*, or from all names.

    Raises BindError.
    """
    _irm().unbind_program(os.fspath(prog), name)


def bind_process(pid: int, name: str) -> None:
    """Binds a running process to *name*, which is created (policy spill) if it is unknown.

    Raises BindError.
    """
    if pid == os.getpid():
        # A process is bound once the irmd knows it.
        _native.announce()
    _irm().bind_process(_pid(pid, BindError), name)


def unbind_process(pid: int, name: Optional[str] = None) -> None:
    """Unbinds a process from *name*, or from all names. Raises BindError."""
    _irm().unbind_process(_pid(pid, BindError), name)


def create_name(info: NameInfo) -> None:
    """Creates a name. Creating it again with the same attributes does nothing.

    Raises NameError.
    """
    _irm().create_name(info.name, info.pol_lb, _files(info.server_sec), _files(info.client_sec))


def destroy_name(name: str) -> None:
    """Forgets a name and its bindings. Raises NameError."""
    _irm().destroy_name(name)


def list_names() -> list[NameInfo]:
    """The names, sorted. Raises IrmError."""
    return [
        NameInfo(
            name,
            LoadBalancePolicy(balance),
            NameSecPaths(*server),
            NameSecPaths(*client),
        )
        for name, balance, _pids, _programs, server, client in _irm().list_names()
    ]


def reg_name(name: str, pid: int) -> None:
    """Registers a name with the layer of an IPCP. Raises NameError."""
    _irm().reg_name(name, _pid(pid, IrmNameError))


def unreg_name(name: str, pid: int) -> None:
    """Undoes reg_name(). Raises NameError."""
    _irm().unreg_name(name, _pid(pid, IrmNameError))


def _irm() -> _native.Irm:
    """The daemon that is used now."""
    return _native.Irm.current()


def _pid(pid: int, kind: type[IrmError]) -> int:
    """A process id that a message can hold."""
    if not 0 < pid < 1 << 31:
        raise irm_error(kind, errno.EINVAL, f"{pid} is no process id")
    return pid


def _files(paths: NameSecPaths) -> tuple[str, str, str]:
    return paths.enc, paths.key, paths.crt


_Enum = TypeVar("_Enum", bound=IntEnum)


def _number(kind: type[_Enum], number: int) -> Union[_Enum, int]:
    """The member with this number; the number itself if this version knows no such member."""
    try:
        return kind(number)
    except ValueError:
        return number
