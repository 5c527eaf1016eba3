"""Layers whose members are connected by flows, managed from Python."""

from __future__ import annotations

import typing

import pytest

import ouroboros
from ouroboros.cli import *
from ouroboros.dev import flow_join

PATIENCE = 30.0


@pytest.fixture
def own() -> typing.Iterator[ouroboros.Node]:
    """An empty node of one test."""
    with ouroboros.Node() as node:
        yield node


def properties(name: str) -> dict[str, str]:
    return {row["property"]: row["value"] for row in show_ipcp(name)["ipcp"]}


def test_a_member_enrolls_connects_and_disconnects(own):
    autoboot("n1", IpcpType.UNICAST, "lan")
    create_ipcp("n2", IpcpType.UNICAST)
    with pytest.raises(OSError, match="in no layer yet"):
        connect_ipcp("n2", "n1")
    enroll_ipcp("n2", "lan", autobind=True)
    assert {ipcp.name: ipcp.layer for ipcp in list_ipcps()} == {"n1": "lan", "n2": "lan"}
    connect_ipcp("n2", "n1")
    # Two connections between the two.
    assert properties("n2")["flows_used"] == "2"
    assert properties("n2")["bound_to"] == "lan n2"
    disconnect_ipcp("n2", "n1")
    with pytest.raises(OSError, match="member of layer lan already"):
        enroll_ipcp("n2", "lan")
    destroy_ipcp("n2")
    assert [ipcp.name for ipcp in list_ipcps()] == ["n1"]


def test_programs_join_a_broadcast_layer(own):
    bootstrap_ipcp("b1", IpcpConfig(IpcpType.BROADCAST, "chat"))
    with flow_join("chat", timeo=PATIENCE) as one, flow_join("chat", timeo=PATIENCE) as two:
        one.set_rcv_timeout(PATIENCE)
        two.set_rcv_timeout(PATIENCE)
        one.writeline("hello")
        assert two.readline() == "hello"
        two.writeline("you too")
        assert one.readline() == "you too"
        assert properties("b1")["flows"] == "2"
    with pytest.raises(OSError, match="only broadcast layers are joined"):
        autoboot("l1", IpcpType.LOCAL, "home")
        flow_join("home", timeo=PATIENCE)
