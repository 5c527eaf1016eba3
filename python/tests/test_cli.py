"""ouroboros.cli: the verbs of irm as functions, and their further steps (spec/api.md B6)."""

from __future__ import annotations

import errno
import os
import sys
import typing

import pytest
import scripted

import ouroboros
from ouroboros import cli, errors, irm
from ouroboros.cli import *
from ouroboros.irm import (
    BIND_AUTO,
    DirectoryHashAlgo,
    IpcpBootstrapError,
    IpcpConnectError,
    IrmNameError,
    LoadBalancePolicy,
)

EIPCP = 1003


@pytest.fixture
def own() -> typing.Iterator[ouroboros.Node]:
    """An empty node of one test."""
    with ouroboros.Node() as node:
        yield node


def policies() -> dict[str, LoadBalancePolicy]:
    return {info.name: info.pol_lb for info in list_names()}


#: What the module offers.
DOCUMENTED = """
create_ipcp destroy_ipcp list_ipcps show_ipcp bootstrap_ipcp enroll_ipcp
connect_ipcp disconnect_ipcp
bind_program unbind_program bind_process unbind_process bind_ipcp unbind_ipcp
create_name destroy_name list_names reg_name unreg_name autoboot
BindError IrmError IpcpType IpcpConfig IpcpInfo NameInfo UnicastConfig DtConfig
RoutingConfig LinkStateConfig LinkStatePolicy EthConfig Udp4Config Udp6Config
DT_COMP MGMT_COMP QoSSpec
"""


def test_star_import():
    assert sorted(cli.__all__) == sorted(DOCUMENTED.split())
    for name in cli.__all__:
        assert globals()[name] is getattr(cli, name)
    assert cli.IpcpConfig is irm.IpcpConfig


# With a daemon


def test_the_documented_commands(own, tmp_path):
    """What the guide does with 'irm': bootstrap, register, bind."""
    program = tmp_path / "oecho.py"
    program.write_text(f"#!{sys.executable}\n")
    program.chmod(0o700)
    bootstrap_ipcp("local", IpcpConfig(IpcpType.LOCAL, "local"))
    reg_name("oecho", layer="local")
    bind_program(str(program), "oecho")
    (ipcp,) = list_ipcps()
    assert (ipcp.name, ipcp.layer, ipcp.type) == ("local", "local", IpcpType.LOCAL)
    assert policies() == {"oecho": LoadBalancePolicy.SPILL}
    unbind_program(str(program), "oecho")
    unreg_name("oecho", layer="local")
    destroy_name("oecho")
    destroy_ipcp("local")
    assert (list_ipcps(), list_names()) == ([], [])


def test_filters_are_exact(own):
    pid = create_ipcp("a", IpcpType.LOCAL)
    assert isinstance(pid, int)
    bootstrap_ipcp("ab", IpcpConfig(IpcpType.LOCAL, "lan"))
    bootstrap_ipcp("b", IpcpConfig(IpcpType.LOCAL, "lan2", DirectoryHashAlgo.SHA3_224))

    def names(*args, **kwargs):
        return [ipcp.name for ipcp in list_ipcps(*args, **kwargs)]

    assert names() == ["a", "ab", "b"]
    assert names("a") == ["a"]
    assert names(layer="lan") == ["ab"]
    assert names("b", "lan2", IpcpType.LOCAL) == ["b"]
    assert names("b", "lan") == names(ipcp_type=IpcpType.UDP4) == []
    create_name("n")
    create_name("n2")
    assert [info.name for info in list_names("n")] == ["n"]
    assert list_names("x") == []
    assert len(list_names()) == 2


def test_what_does_not_exist(own):
    for call in [
        lambda: destroy_ipcp("x"),
        lambda: enroll_ipcp("x", "y"),
        lambda: connect_ipcp("x", "y"),
        lambda: disconnect_ipcp("x", "y"),
        lambda: bind_ipcp("x", "y"),
        lambda: unbind_ipcp("x", "y"),
        lambda: reg_name("n", ipcp="x"),
        lambda: reg_name("n", ipcps=["x"]),
        lambda: reg_name("n", layer="x"),
        lambda: reg_name("n", layers=["x"]),
        lambda: unreg_name("n", layer="x"),
    ]:
        with pytest.raises(ValueError, match=r"there is no (IPCP|layer) 'x' here") as raised:
            call()
        assert isinstance(raised.value, IrmError)
    assert list_names() == []
    bootstrap_ipcp("a", IpcpConfig(IpcpType.LOCAL, "lan"))
    with pytest.raises(ValueError, match="there is 'a'"):
        destroy_ipcp("x")
    # All or none: the layer that exists is not taken when another does not.
    with pytest.raises(ValueError, match="no layer 'x' here; there is 'lan'"):
        reg_name("n", layers=["lan", "x"])
    with pytest.raises(ValueError, match="give a layer or an IPCP"):
        reg_name("n")
    # No layer is named so.
    create_ipcp("b", IpcpType.LOCAL)
    with pytest.raises(ValueError):
        reg_name("n", layer="Not enrolled.")
    assert list_names() == []
    with pytest.raises(TypeError):
        reg_name("n", layers="lan")


def test_names(own, tmp_path):
    key = tmp_path / "key"
    key.write_text("")
    key.chmod(0o600)
    create_name("a")
    create_name("b", LoadBalancePolicy.SPILL)
    create_name("c", 1)
    info = NameInfo("d", LoadBalancePolicy.SPILL, irm.NameSecPaths(key=str(key)))
    # The information wins.
    create_name("x", LoadBalancePolicy.ROUND_ROBIN, info)
    assert list_names() == [
        NameInfo("a"),
        NameInfo("b", LoadBalancePolicy.SPILL),
        NameInfo("c", LoadBalancePolicy.SPILL),
        info,
    ]
    with pytest.raises(IrmNameError) as raised:
        create_name("e", 2)
    assert isinstance(raised.value, ValueError)
    for name in "abcd":
        destroy_name(name)
    with pytest.raises(IrmNameError):
        destroy_name("a")


def test_registration_by_layers_and_ipcps(own):
    for name in ["one", "two", "three"]:
        bootstrap_ipcp(name, IpcpConfig(IpcpType.LOCAL, f"lan-{name}"))
    create_name("n", LoadBalancePolicy.ROUND_ROBIN)
    # Each IPCP once, however often it is meant.
    reg_name("n", "one", ["one", "two"], "lan-one", ["lan-one", "lan-three"])
    assert policies() == {"n": LoadBalancePolicy.ROUND_ROBIN}
    unreg_name("n", layers=["lan-one", "lan-two", "lan-three"])
    reg_name("new", layers=("lan-two",))
    assert policies()["new"] is LoadBalancePolicy.SPILL
    unreg_name("new", ipcp="two")
    assert "new" in policies()


def test_processes_and_ipcps(own):
    bind_process(os.getpid(), "mine")
    unbind_process(os.getpid(), "mine")
    create_ipcp("a", IpcpType.LOCAL)
    bind_ipcp("a", "n")
    with pytest.raises(BindError):
        bind_ipcp("a", "n")
    unbind_ipcp("a", "n")
    with pytest.raises(BindError):
        unbind_ipcp("a", "n")
    bind_ipcp("a", "n")
    bind_ipcp("a", "m")
    unbind_ipcp("a")
    with pytest.raises(BindError):
        unbind_ipcp("a", "m")


def test_programs(own, tmp_path, monkeypatch):
    program = tmp_path / "prog"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    # Made absolute: else the daemon could not start it.
    bind_program("./prog", "a", BIND_AUTO, ["-l"])
    monkeypatch.setenv("PATH", str(tmp_path))
    bind_program("prog", "b")
    for name in ["x/prog", "no-such-program"]:
        with pytest.raises(BindError) as raised:
            bind_program(name, "c")
        assert raised.value.errno == errno.ENOENT
    # Resolved like there; a base name will do.
    unbind_program("./prog", "a")
    unbind_program("prog", "b")
    with pytest.raises(BindError):
        unbind_program("prog", "b")


def test_autoboot_creates_only_what_is_missing(own):
    conf = IpcpConfig(IpcpType.LOCAL, "other", DirectoryHashAlgo.SHA3_512)
    autoboot("a", IpcpType.LOCAL, "lan", conf)
    # It worked on a copy.
    assert conf.layer_name == "other"
    (ipcp,) = list_ipcps()
    assert ipcp.layer == "lan"
    pid = create_ipcp("b", IpcpType.LOCAL)
    autoboot("b", IpcpType.LOCAL, "lan2")
    assert [(ipcp.pid, ipcp.layer) for ipcp in list_ipcps(name="b")] == [(pid, "lan2")]
    # A local IPCP has no use for names of its own.
    assert list_names() == []
    with pytest.raises(ValueError, match="is for type LOCAL, not UNICAST"):
        autoboot("c", IpcpType.UNICAST, "lan", conf)
    with pytest.raises(ValueError, match="IPCP 'b' is of type LOCAL"):
        autoboot("b", IpcpType.UNICAST, "lan")
    # What cannot be started leaves nothing.
    eth = IpcpConfig(IpcpType.ETH_DIX, eth=EthConfig("o7s-none"))
    with pytest.raises(IrmError):
        autoboot("c", IpcpType.ETH_DIX, "lan", eth)
    assert len(list_ipcps()) == 2
    assert list_names() == []


def test_a_failed_bootstrap_leaves_no_ipcp(own):
    with pytest.raises(IpcpBootstrapError):
        bootstrap_ipcp("a", IpcpConfig(IpcpType.LOCAL, ""))
    assert list_ipcps() == []
    # One that was there stays.
    pid = create_ipcp("a", IpcpType.LOCAL)
    with pytest.raises(IpcpBootstrapError):
        bootstrap_ipcp("a", IpcpConfig(IpcpType.LOCAL, ""))
    assert [ipcp.pid for ipcp in list_ipcps()] == [pid]


def test_every_call_without_a_daemon(no_daemon):
    conf = IpcpConfig(IpcpType.LOCAL, "l")
    for call in [
        lambda: create_ipcp("a", IpcpType.LOCAL),
        lambda: destroy_ipcp("a"),
        list_ipcps,
        lambda: bootstrap_ipcp("a", conf),
        lambda: enroll_ipcp("a", "b"),
        lambda: connect_ipcp("a", "b"),
        lambda: disconnect_ipcp("a", "b"),
        lambda: bind_program(sys.executable, "a"),
        lambda: unbind_program("a", "b"),
        lambda: bind_process(1, "a"),
        lambda: unbind_process(1, "a"),
        lambda: bind_ipcp("a", "b"),
        lambda: unbind_ipcp("a", "b"),
        lambda: create_name("a"),
        lambda: destroy_name("a"),
        list_names,
        lambda: reg_name("a", layer="b"),
        lambda: unreg_name("a", layer="b"),
        lambda: autoboot("a", IpcpType.LOCAL, "b"),
    ]:
        with pytest.raises(errors.DaemonError) as raised:
            call()
        assert isinstance(raised.value, IrmError)


# What is asked of the daemon, in which order


class Script:
    """A daemon with these IPCPs that refuses some requests."""

    def __init__(self, *ipcps, refuse=()) -> None:
        self.ipcps = list(ipcps)
        self.refuse = list(refuse)

    def __call__(self, tag, message):
        for refused, text in self.refuse:
            if tag == refused and text in repr(message):
                return scripted.failure(EIPCP, f"refused {text}")
        if tag == scripted.LIST_IPCPS:
            return scripted.ipcps(*self.ipcps)
        if tag == scripted.CREATE:
            return scripted.PID, scripted.encode({1: 9})
        if tag in (scripted.BOOTSTRAP, scripted.ENROLL):
            self.ipcps = [{**row, 4: "lan"} for row in self.ipcps]
            return scripted.LAYER, scripted.encode({1: "lan", 2: 1})
        if tag == scripted.LIST_NAMES:
            return scripted.NAMES, b""
        return scripted.done()


def asked(daemon):
    """The requests: number, and the strings in them."""
    return [
        (
            tag,
            *(
                value.decode()
                for tag, (value, *_) in sorted(message.items())
                if tag <= 3
                and isinstance(value, bytes)
                and value.isascii()
                and value.decode().isprintable()
            ),
        )
        for tag, message in daemon.requests
    ]


UNICAST = scripted.ipcp(9, IpcpType.UNICAST, "u")
CONF = IpcpConfig(IpcpType.UNICAST, "lan")


def test_autobind_comes_before_bootstrap(tmp_path):
    with scripted.daemon(tmp_path, Script(UNICAST)) as daemon:
        bootstrap_ipcp("u", CONF, autobind=True)
    assert daemon.tags() == [scripted.BIND, scripted.BIND, scripted.BOOTSTRAP]
    assert asked(daemon)[:2] == [(scripted.BIND, "u"), (scripted.BIND, "lan")]


def test_autobind_is_for_unicast_and_broadcast(tmp_path):
    for kind in IpcpType:
        directory = tmp_path / kind.name
        directory.mkdir()
        eth, udp4, udp6 = EthConfig("lo"), Udp4Config("10.0.0.1"), Udp6Config("::1")
        conf = IpcpConfig(kind, "lan", eth=eth, udp4=udp4, udp6=udp6)
        with scripted.daemon(directory, Script(scripted.ipcp(9, kind, "u"))) as daemon:
            bootstrap_ipcp("u", conf, True)
        bindable = kind in (IpcpType.UNICAST, IpcpType.BROADCAST)
        assert daemon.tags() == [scripted.BIND] * (2 * bindable) + [scripted.BOOTSTRAP], kind


def test_a_failed_bootstrap_is_undone(tmp_path):
    script = Script(UNICAST, refuse=[(scripted.BOOTSTRAP, "")])
    with (
        scripted.daemon(tmp_path, script) as daemon,
        pytest.raises(IpcpBootstrapError, match="refused"),
    ):
        bootstrap_ipcp("u", CONF, True)
    assert daemon.tags() == [
        scripted.BIND,
        scripted.BIND,
        scripted.BOOTSTRAP,
        scripted.UNBIND,
        scripted.UNBIND,
    ]


def test_a_failed_second_bind_is_undone(tmp_path):
    script = Script(UNICAST, refuse=[(scripted.BIND, "lan")])
    with scripted.daemon(tmp_path, script) as daemon, pytest.raises(BindError, match="refused lan"):
        bootstrap_ipcp("u", CONF, True)
    assert asked(daemon) == [
        (scripted.BIND, "u"),
        (scripted.BIND, "lan"),
        (scripted.UNBIND, "u"),
    ]


def test_a_failed_undoing_does_not_hide_the_first_error(tmp_path, caplog):
    script = Script(
        refuse=[(scripted.BOOTSTRAP, ""), (scripted.UNBIND, ""), (scripted.DESTROY, "")]
    )
    with (
        scripted.daemon(tmp_path, script) as daemon,
        pytest.raises(IpcpBootstrapError, match="refused"),
    ):
        bootstrap_ipcp("u", CONF, True)
    # An IPCP that was made for it is destroyed.
    assert daemon.tags()[0] == scripted.CREATE
    assert daemon.tags()[-3:] == [scripted.UNBIND, scripted.UNBIND, scripted.DESTROY]
    assert len(caplog.records) == 3


def test_autoboot_binds(tmp_path):
    with scripted.daemon(tmp_path, Script()) as daemon:
        autoboot("u", IpcpType.UNICAST, "lan")
    assert daemon.tags() == [
        scripted.CREATE,
        scripted.BIND,
        scripted.BIND,
        scripted.BOOTSTRAP,
    ]


def test_enrollment_comes_before_the_bindings(tmp_path):
    with scripted.daemon(tmp_path, Script(UNICAST)) as daemon:
        enroll_ipcp("u", "member", autobind=True)
    # The layer is learnt.
    assert asked(daemon) == [
        (scripted.ENROLL, "member"),
        (scripted.BIND, "u"),
        (scripted.BIND, "lan"),
    ]
    (tmp_path / "2").mkdir()
    with scripted.daemon(tmp_path / "2", Script(UNICAST)) as daemon:
        enroll_ipcp("u", "member")
    assert daemon.tags() == [scripted.ENROLL]


def components(daemon):
    return [
        (tag, scripted.get(message, 3).decode(), scripted.get(message, 4, 1))
        for tag, message in daemon.requests
    ]


def test_connections_are_made_management_first(tmp_path):
    with scripted.daemon(tmp_path, Script(UNICAST)) as daemon:
        connect_ipcp("u", "v", qos=QoSSpec.voice())
        connect_ipcp("u", "v", "mgmt", QoSSpec.voice())
        connect_ipcp("u", "v", "dt", QoSSpec.voice())
        connect_ipcp("u", "v", comp="*")
        disconnect_ipcp("u", "v")
        disconnect_ipcp("u", "v", "mgmt")
        disconnect_ipcp("u", "v", comp="dt")
    raw, voice = 0xFFFFFFFF, 50
    c, d = scripted.CONNECT, scripted.DISCONNECT
    assert components(daemon) == [
        # Management is raw whatever is asked.
        (c, MGMT_COMP, raw),
        (c, DT_COMP, voice),
        (c, MGMT_COMP, raw),
        (c, DT_COMP, voice),
        (c, MGMT_COMP, raw),
        (c, DT_COMP, raw),
        # The tool's order, not that of 0.23's Python.
        (d, DT_COMP, None),
        (d, MGMT_COMP, None),
        (d, MGMT_COMP, None),
        (d, DT_COMP, None),
    ]


def test_a_broadcast_ipcp_has_no_management(tmp_path):
    script = Script(scripted.ipcp(9, IpcpType.BROADCAST, "b", "bc"))
    with scripted.daemon(tmp_path, script) as daemon:
        connect_ipcp("b", "v")
        disconnect_ipcp("b", "v")
        connect_ipcp("b", "v", "mgmt")
    assert [component for _, component, _ in components(daemon)] == [DT_COMP, DT_COMP, MGMT_COMP]


def test_the_first_failed_connection_is_the_last(tmp_path):
    script = Script(UNICAST, refuse=[(scripted.CONNECT, "Management")])
    with (
        scripted.daemon(tmp_path, script) as daemon,
        pytest.raises(IpcpConnectError, match="refused"),
    ):
        connect_ipcp("u", "v")
        with pytest.raises(ValueError, match="no component 'foo'"):
            connect_ipcp("u", "v", "foo")
        with pytest.raises(ValueError, match="no component ''"):
            disconnect_ipcp("u", "v", "")
    assert daemon.tags() == [scripted.CONNECT]


def test_a_name_is_created_before_it_is_registered(tmp_path):
    rows = [
        scripted.ipcp(7, 0, "a", "lan"),
        scripted.ipcp(8, 0, "b", "lan"),
        scripted.ipcp(9, 0, "c"),
    ]
    with scripted.daemon(tmp_path, Script(*rows)) as daemon:
        reg_name("n", layer="lan")
    assert [(tag, scripted.get(message, 2)) for tag, message in daemon.requests] == [
        (scripted.CREATE_NAME, LoadBalancePolicy.SPILL),
        (scripted.REG, 7),
        (scripted.REG, 8),
    ]


def test_every_ipcp_that_is_meant_is_asked_once(tmp_path):
    rows = [
        scripted.ipcp(7, 0, "a", "one"),
        scripted.ipcp(8, 0, "b", "one"),
        scripted.ipcp(9, 0, "c", "two"),
        scripted.ipcp(10, 0, "d", "three"),
    ]
    script = Script(*rows, refuse=[(scripted.UNREG, "[9]")])
    with scripted.daemon(tmp_path, script) as daemon:
        reg_name("n", "c", ["a", "c"], "one", ["one"])
        with pytest.raises(IrmNameError, match="refused"):
            unreg_name("n", ipcps=["b"], layers=["two", "three"])
    reg, unreg = scripted.REG, scripted.UNREG
    # The first failure is the last request.
    assert [(tag, scripted.get(message, 2)) for tag, message in daemon.requests[1:]] == [
        (reg, 7),
        (reg, 8),
        (reg, 9),
        (unreg, 8),
        (unreg, 9),
    ]
