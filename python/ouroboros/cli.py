"""Management by names: the verbs of the command irm as functions.

>>> from ouroboros.cli import *
>>> from ouroboros.irm import IpcpConfig, IpcpType
>>> autoboot("ipcp1", IpcpType.LOCAL, "local")          # doctest: +SKIP
>>> reg_name("oecho", layer="local")                    # doctest: +SKIP
>>> bind_program("./oecho.py", "oecho")                 # doctest: +SKIP

IPCPs are meant by their names. One that does not exist, or a layer that this machine is not in,
raises an IrmError that is also a ValueError. All else is as in ouroboros.irm.
"""

from __future__ import annotations

import copy
import errno
import logging
import os
from collections.abc import Iterable, Sequence
from typing import Optional, Union

from . import irm as _irm
from .errors import BindError, IpcpConnectError, IrmError, IrmNameError, OuroborosError, irm_error
from .irm import (
    DT_COMP,
    MGMT_COMP,
    DtConfig,
    EthConfig,
    IpcpConfig,
    IpcpInfo,
    IpcpType,
    LinkStateConfig,
    LinkStatePolicy,
    LoadBalancePolicy,
    NameInfo,
    RoutingConfig,
    Udp4Config,
    Udp6Config,
    UnicastConfig,
)
from .qos import QoSSpec

__all__ = [
    "DT_COMP",
    "MGMT_COMP",
    "BindError",
    "DtConfig",
    "EthConfig",
    "IpcpConfig",
    "IpcpInfo",
    "IpcpType",
    "IrmError",
    "LinkStateConfig",
    "LinkStatePolicy",
    "NameInfo",
    "QoSSpec",
    "RoutingConfig",
    "Udp4Config",
    "Udp6Config",
    "UnicastConfig",
    "autoboot",
    "bind_ipcp",
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
    "unbind_ipcp",
    "unbind_process",
    "unbind_program",
    "unreg_name",
]

_PathLike = Union[str, "os.PathLike[str]"]

_log = logging.getLogger("ouroboros.cli")

# Types whose IPCPs can be bound to names of their own.
_BINDABLE = (IpcpType.UNICAST, IpcpType.BROADCAST)


# IPCPs


def create_ipcp(name: str, ipcp_type: IpcpType) -> int:
    """Starts an IPCP, in no layer yet; its pid. As 'irm ipcp create'."""
    return _irm.create_ipcp(name, ipcp_type)


def destroy_ipcp(name: str) -> None:
    """Stops an IPCP. As 'irm ipcp destroy'."""
    _irm.destroy_ipcp(_ipcp(name).pid)


def list_ipcps(
    name: Optional[str] = None,
    layer: Optional[str] = None,
    ipcp_type: Optional[IpcpType] = None,
) -> list[IpcpInfo]:
    """The IPCPs with exactly this name, layer and type; None = any. As 'irm ipcp list'."""
    return [
        ipcp
        for ipcp in _irm.list_ipcps()
        if (name is None or ipcp.name == name)
        and (layer is None or ipcp.layer == layer)
        and (ipcp_type is None or ipcp.type == ipcp_type)
    ]


def show_ipcp(name: str) -> dict[str, list[dict[str, str]]]:
    """The state of an IPCP. As 'irm ipcp show'; see ouroboros.irm.show_ipcp()."""
    return _irm.show_ipcp(_ipcp(name).pid)


def bootstrap_ipcp(name: str, conf: IpcpConfig, autobind: bool = False) -> None:
    """Makes an IPCP the first member of a new layer; created if it is missing.

    With *autobind* an IPCP of type UNICAST or BROADCAST is bound to its name and to its layer's
    first. If something fails, what was done is undone. As 'irm ipcp bootstrap'.
    """
    _bootstrap(name, conf, autobind)


def enroll_ipcp(name: str, dst: str, autobind: bool = False) -> None:
    """Makes an IPCP a member of the layer of *dst*: a member's name, or the layer's.

    With *autobind* it is then bound to its name and to its layer's. As 'irm ipcp enroll'.
    """
    pid = _ipcp(name).pid
    _irm.enroll_ipcp(pid, dst)
    if autobind:
        layer = next((ipcp.layer for ipcp in _irm.list_ipcps() if ipcp.pid == pid), name)
        _bind_all(pid, [name, layer])


def connect_ipcp(name: str, dst: str, comp: str = "*", qos: Optional[QoSSpec] = None) -> None:
    """Connects an IPCP to its neighbour *dst*.

    *comp* is "mgmt", "dt" or "*" (all it has): management first, which is always raw, then data
    transfer with *qos*. A broadcast IPCP has no management. As 'irm ipcp connect'.
    """
    components = _components(comp, [MGMT_COMP, DT_COMP])
    ipcp = _ipcp(name)
    for component in _had(ipcp, components):
        _irm.connect_ipcp(ipcp.pid, component, dst, qos if component == DT_COMP else None)


def disconnect_ipcp(name: str, dst: str, comp: str = "*") -> None:
    """Disconnects an IPCP from *dst*: data transfer first. As 'irm ipcp disconnect'."""
    components = _components(comp, [DT_COMP, MGMT_COMP])
    ipcp = _ipcp(name)
    for component in _had(ipcp, components):
        _irm.disconnect_ipcp(ipcp.pid, component, dst)


def autoboot(name: str, ipcp_type: IpcpType, layer: str, conf: Optional[IpcpConfig] = None) -> None:
    """Makes an IPCP the first member of *layer*, bound to its name and its layer's if it can be.

    The IPCP is created if it is missing. *conf* gives the options of the layer; it is not changed.
    """
    if conf is None:
        conf = IpcpConfig(ipcp_type)
    elif conf.ipcp_type != ipcp_type:
        raise irm_error(
            IrmError,
            errno.EINVAL,
            f"the configuration is for type {_shown(conf.ipcp_type)}, not {_shown(ipcp_type)}",
        )
    conf = copy.copy(conf)
    conf.layer_name = layer
    _bootstrap(name, conf, True)


# Bindings


def bind_program(
    prog: _PathLike, name: str, opts: int = 0, argv: Optional[Sequence[str]] = None
) -> None:
    """Binds a program to *name*. As 'irm bind program'; see ouroboros.irm.bind_program()."""
    _irm.bind_program(prog, name, opts, argv)


def unbind_program(prog: _PathLike, name: Optional[str] = None) -> None:
    """Unbinds a program, by its path or base name. As 'irm unbind program'."""
    _irm.unbind_program(prog, name)


def bind_process(pid: int, name: str) -> None:
    """Binds a running process to *name*. As 'irm bind process'."""
    _irm.bind_process(pid, name)


def unbind_process(pid: int, name: Optional[str] = None) -> None:
    """Unbinds a process. As 'irm unbind process'."""
    _irm.unbind_process(pid, name)


def bind_ipcp(ipcp: str, name: str) -> None:
    """Binds an IPCP to *name*. As 'irm bind ipcp'."""
    _irm.bind_process(_ipcp(ipcp).pid, name)


def unbind_ipcp(ipcp: str, name: Optional[str] = None) -> None:
    """Unbinds an IPCP. As 'irm unbind ipcp'."""
    _irm.unbind_process(_ipcp(ipcp).pid, name)


# Names


def create_name(name: str, pol_lb: Optional[int] = None, info: Optional[NameInfo] = None) -> None:
    """Creates a name. With *info* the other two are not looked at. As 'irm name create'."""
    if info is None:
        policy = LoadBalancePolicy.ROUND_ROBIN if pol_lb is None else _policy(pol_lb)
        info = NameInfo(name, policy)
    _irm.create_name(info)


def destroy_name(name: str) -> None:
    """Forgets a name and its bindings. As 'irm name destroy'."""
    _irm.destroy_name(name)


def list_names(name: Optional[str] = None) -> list[NameInfo]:
    """The names; with *name* exactly that, if it exists. As 'irm name list'."""
    return [info for info in _irm.list_names() if name is None or info.name == name]


def reg_name(
    name: str,
    ipcp: Optional[str] = None,
    ipcps: Optional[Iterable[str]] = None,
    layer: Optional[str] = None,
    layers: Optional[Iterable[str]] = None,
) -> None:
    """Registers a name with layers, meant by their own names or by those of their IPCPs.

    The name is created (policy spill) if it is unknown. As 'irm name register'.
    """
    pids = _selected(ipcp, ipcps, layer, layers)
    if not list_names(name):
        _irm.create_name(NameInfo(name, LoadBalancePolicy.SPILL))
    for pid in pids:
        _irm.reg_name(name, pid)


def unreg_name(
    name: str,
    ipcp: Optional[str] = None,
    ipcps: Optional[Iterable[str]] = None,
    layer: Optional[str] = None,
    layers: Optional[Iterable[str]] = None,
) -> None:
    """Undoes reg_name(); the name stays. As 'irm name unregister'."""
    for pid in _selected(ipcp, ipcps, layer, layers):
        _irm.unreg_name(name, pid)


# What these have in common


def _ipcp(name: str) -> IpcpInfo:
    """The IPCP with exactly this name."""
    ipcps = _irm.list_ipcps()
    for ipcp in ipcps:
        if ipcp.name == name:
            return ipcp
    raise _unknown(IrmError, "IPCP", name, (ipcp.name for ipcp in ipcps))


def _unknown(kind: type[IrmError], what: str, name: str, known: Iterable[str]) -> IrmError:
    there = ", ".join(sorted({repr(name) for name in known}))
    return irm_error(
        kind,
        errno.EINVAL,
        f"there is no {what} {name!r} here; there is {there}"
        if there
        else f"there is no {what} {name!r} here, and no other",
    )


def _bootstrap(name: str, conf: IpcpConfig, autobind: bool) -> None:
    found = list_ipcps(name=name)
    if found and found[0].type != conf.ipcp_type:
        raise irm_error(
            _irm.IpcpBootstrapError,
            errno.EINVAL,
            f"IPCP {name!r} is of type {_shown(found[0].type)}, the configuration is for type "
            f"{_shown(conf.ipcp_type)}",
        )
    pid = found[0].pid if found else _irm.create_ipcp(name, conf.ipcp_type)
    bound: list[str] = []
    try:
        if autobind and conf.ipcp_type in _BINDABLE:
            bound = _bind_all(pid, [name, conf.layer_name])
        _irm.bootstrap_ipcp(pid, conf)
    except BaseException:
        _unbind_all(pid, bound)
        if not found:
            try:
                _irm.destroy_ipcp(pid)
            except OuroborosError as error:
                _log.warning("cannot destroy the IPCP %r: %s", name, error)
        raise


def _bind_all(pid: int, names: Iterable[str]) -> list[str]:
    """Binds a process to all of these names, or to none; the names that are bound now."""
    bound: list[str] = []
    try:
        for name in dict.fromkeys(names):
            _irm.bind_process(pid, name)
            bound.append(name)
    except BaseException:
        _unbind_all(pid, bound)
        raise
    return bound


def _unbind_all(pid: int, names: Iterable[str]) -> None:
    for name in names:
        try:
            _irm.unbind_process(pid, name)
        except OuroborosError as error:
            _log.warning("cannot unbind process %d from %r: %s", pid, name, error)


def _components(comp: str, order: list[str]) -> list[str]:
    chosen = {"mgmt": [MGMT_COMP], "dt": [DT_COMP], "*": order}.get(comp)
    if chosen is None:
        raise irm_error(
            IpcpConnectError,
            errno.EINVAL,
            f'there is no component {comp!r}; use "mgmt", "dt" or "*"',
        )
    return chosen


def _had(ipcp: IpcpInfo, components: list[str]) -> list[str]:
    """Of several components those that the IPCP has: a broadcast IPCP has no management."""
    if len(components) > 1 and ipcp.type == IpcpType.BROADCAST:
        return [DT_COMP]
    return components


def _selected(
    ipcp: Optional[str],
    ipcps: Optional[Iterable[str]],
    layer: Optional[str],
    layers: Optional[Iterable[str]],
) -> list[int]:
    """The pids of the IPCPs that are meant, each once, in list order."""
    wanted_ipcps = _together(ipcp, ipcps, "ipcps")
    wanted_layers = _together(layer, layers, "layers")
    if not wanted_ipcps and not wanted_layers:
        raise irm_error(
            IrmNameError, errno.EINVAL, "give a layer or an IPCP: layer=, layers=, ipcp= or ipcps="
        )
    known = _irm.list_ipcps()
    for name in wanted_ipcps:
        if all(info.name != name for info in known):
            raise _unknown(IrmNameError, "IPCP", name, (info.name for info in known))
    members = [info for info in known if info.layer != _irm._NO_LAYER]
    for name in wanted_layers:
        if all(info.layer != name for info in members):
            raise _unknown(IrmNameError, "layer", name, (info.layer for info in members))
    return [
        info.pid
        for info in known
        if info.name in wanted_ipcps or (info in members and info.layer in wanted_layers)
    ]


def _together(one: Optional[str], more: Optional[Iterable[str]], what: str) -> list[str]:
    if isinstance(more, str):
        raise TypeError(f"{what} must be a list of strings, not one string")
    return ([] if one is None else [one]) + list(more or [])


def _policy(number: int) -> LoadBalancePolicy:
    try:
        return LoadBalancePolicy(number)
    except ValueError:
        raise irm_error(
            IrmNameError,
            errno.EINVAL,
            f"there is no load balancing policy {number}; use LoadBalancePolicy.ROUND_ROBIN or "
            "SPILL",
        ) from None


def _shown(kind: Union[IpcpType, int]) -> str:
    return kind.name if isinstance(kind, IpcpType) else str(kind)
