"""What ouroboros.irm asks of the daemon, and what it makes of the answers."""

from __future__ import annotations

import sys

import pytest
import scripted

from ouroboros import cli
from ouroboros.irm import *
from ouroboros.qos import QoSSpec as Spec

EIPCP = 1003


def test_every_option_of_a_layer_is_sent(tmp_path):
    def answer(tag, message):
        if tag == scripted.BOOTSTRAP:
            return scripted.LAYER, scripted.encode({1: "l", 2: 1})
        return scripted.done()

    unicast = UnicastConfig(
        DtConfig(4, 7, 50, RoutingConfig(ls=LinkStateConfig(LinkStatePolicy.ECMP, 1, 2, 3))),
        DirConfig(dht=DhtConfig(1, 2, 10, 4, 5)),
        cong_avoid=CongestionAvoidPolicy.NONE,
    )
    with scripted.daemon(tmp_path, answer) as daemon:
        for config in [
            IpcpConfig(IpcpType.LOCAL, "l", DirectoryHashAlgo.SHA3_512, unicast=unicast),
            IpcpConfig(IpcpType.UNICAST, "l", unicast=unicast),
            IpcpConfig(IpcpType.UNICAST, "l"),
            IpcpConfig(IpcpType.ETH_DIX, "l", eth=EthConfig("lo", 0xA007)),
            IpcpConfig(IpcpType.UDP4, "l", udp4=Udp4Config("10.0.0.1", "9.9.9.9", 7)),
            IpcpConfig(IpcpType.UDP6, "l", udp6=Udp6Config("::1", "::2", 8)),
            IpcpConfig(IpcpType.BROADCAST, "l"),
            IpcpConfig(
                IpcpType.LOCAL, "l", local=LocalConfig(0.01, 0.02, 0.001, 0.5, 1, 0, 1400, 7)
            ),
            IpcpConfig(
                IpcpType.UDP4,
                "l",
                udp4=Udp4Config("10.0.0.1", hosts={"a": "10.0.0.2", "b": "10.0.0.3:9"}),
            ),
            IpcpConfig(IpcpType.UDP6, "l", udp6=Udp6Config("::1", hosts={"a": ["[::2]:9", "::3"]})),
        ]:
            bootstrap_ipcp(77, config)
        assert daemon.tags() == [scripted.BOOTSTRAP] * 10
        sent = [message for _, message in daemon.requests]
    assert all(scripted.get(message, 1) == 77 for message in sent)
    assert all(scripted.get(message, 2, 2, 1) == b"l" for message in sent)

    def of(number, *paths):
        return [scripted.get(sent[number], 2, *path) for path in paths]

    # Type, hash, and the parts of types (control/layer.rs).
    assert of(0, (1,), (2, 2), (30,)) == [None, 3, None]
    dt, ls, dht = (30, 1), (30, 1, 4, 2), (30, 2, 2)
    assert of(1, (1,), (2, 2)) == [1, 1]
    # What is not sent has its default: 4 of addr_size, 0 of the policies.
    assert of(1, *((*dt, tag) for tag in (1, 2, 3))) == [None, 7, 50]
    assert of(1, *((*ls, tag) for tag in (1, 2, 3, 4))) == [2, 1, 2, 3]
    assert of(1, *((*dht, tag) for tag in (1, 2, 3, 4, 5))) == [1, 2, 10, 4, 5]
    assert of(1, (30, 3), (30, 4)) == [None, 0]
    assert of(2, (*dt, 3), (30, 4)) == [None, None]
    assert of(3, (1,), (31, 1), (31, 2)) == [4, b"lo", 0xA007]
    assert of(4, (1,), (2, 2), (32, 1), (32, 2), (32, 3)) == [5, 5, 0x0A000001, 0x09090909, 7]
    assert of(5, (33, 1), (33, 2), (33, 3)) == [bytes(15) + b"\1", bytes(15) + b"\2", 8]
    assert of(6, (1,), (2, 2)) == [2, 1]
    # Probabilities in millionths, times in µs.
    values = [of(7, (10, tag))[0] for tag in range(1, 9)]
    assert values == [10_000, 20_000, 1_000, 500_000, 1_000_000, None, 1400, 7]
    part = scripted.decode(scripted.get(sent[8], 2, 32))
    hosts = [scripted.decode(host) for host in part[4]]
    assert hosts == [
        {1: [b"a"], 2: [0x0A000002]},
        {1: [b"b"], 2: [0x0A000003], 3: [9]},
    ]
    part = scripted.decode(scripted.get(sent[9], 2, 33))
    assert [scripted.decode(host) for host in part[4]] == [
        {1: [b"a"], 2: [bytes(15) + b"\2"], 3: [9]},
        {1: [b"a"], 2: [bytes(15) + b"\3"]},
    ]


def test_the_state_of_an_ipcp_is_a_dict_of_tables(tmp_path):
    sections = [
        {1: "ipcp", 2: ["property", "value"], 3: [{1: ["name", "n1"]}, {1: ["flows", "2"]}]},
        {1: "neighbours", 2: ["address", "cost"]},
    ]

    def answer(tag, message):
        if tag == scripted.LIST_IPCPS:
            return scripted.ipcps(scripted.ipcp(9, IpcpType.UNICAST, "n1", "lan"))
        assert (tag, message) == (scripted.SHOW, {1: [9]})
        return scripted.IPCP_STATUS, scripted.encode({1: sections})

    expected = {
        "ipcp": [
            {"property": "name", "value": "n1"},
            {"property": "flows", "value": "2"},
        ],
        "neighbours": [],
    }
    with scripted.daemon(tmp_path, answer):
        assert show_ipcp(9) == expected
        assert cli.show_ipcp("n1") == expected
        with pytest.raises(IrmError, match="no process id"):
            show_ipcp(0)


def test_a_connection_is_raw_unless_another_quality_is_asked(tmp_path):
    """Defect 36 of 0.23; component before dst."""
    with scripted.daemon(tmp_path, lambda tag, message: scripted.done()) as daemon:
        connect_ipcp(77, MGMT_COMP, "n2")
        connect_ipcp(77, DT_COMP, "n2", Spec.voice())
        disconnect_ipcp(77, component=DT_COMP, dst="n2")
        sent = daemon.requests
    assert [tag for tag, _ in sent] == [scripted.CONNECT, scripted.CONNECT, scripted.DISCONNECT]
    for _, message in sent:
        assert scripted.get(message, 2) == b"n2"
    assert [scripted.get(message, 3) for _, message in sent] == [
        b"Management",
        b"Data Transfer",
        b"Data Transfer",
    ]
    raw = [scripted.get(sent[0][1], 4, tag) for tag in (1, 2, 4, 5, 6, 7, 8)]
    assert raw == [0xFFFFFFFF, None, 1, 1, None, 0xFFFFFFFF, 120000]
    voice = [scripted.get(sent[1][1], 4, tag) for tag in (1, 2, 3, 4, 6, 7)]
    assert voice == [50, 100000, 5, 1, 1, 50]


def test_an_unknown_type_in_a_list_is_a_number(tmp_path):
    """Defect 39 of 0.23."""
    rows = [scripted.ipcp(7, 0, "a", "l"), scripted.ipcp(8, 99, "b")]
    with scripted.daemon(tmp_path, lambda tag, message: scripted.ipcps(*rows)):
        known, unknown = list_ipcps()
    assert (known.type, known.layer) == (IpcpType.LOCAL, "l")
    assert (type(unknown.type), unknown.type, unknown.layer) == (int, 99, "Not enrolled.")


def test_long_lists_come_whole(tmp_path):
    """In 0.23 they were cut at 10 KiB."""
    rows = [scripted.ipcp(pid, 0, "n" * 200, "l" * 200) for pid in range(1, 1001)]
    with scripted.daemon(tmp_path, lambda tag, message: scripted.ipcps(*rows)):
        assert len(list_ipcps()) == 1000


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: create_ipcp("a", IpcpType.UNICAST), IpcpCreateError),
        (lambda: destroy_ipcp(7), IrmError),
        (list_ipcps, IrmError),
        (list_names, IrmError),
        (lambda: enroll_ipcp(7, "a"), IpcpEnrollError),
        (lambda: bootstrap_ipcp(7, IpcpConfig(IpcpType.UNICAST, "a")), IpcpBootstrapError),
        (lambda: connect_ipcp(7, DT_COMP, "a"), IpcpConnectError),
        (lambda: disconnect_ipcp(7, DT_COMP, "a"), IpcpConnectError),
        (lambda: bind_program(sys.executable, "a"), BindError),
        (lambda: unbind_program("a", "a"), BindError),
        (lambda: bind_process(7, "a"), BindError),
        (lambda: unbind_process(7, "a"), BindError),
        (lambda: create_name(NameInfo("a")), IrmNameError),
        (lambda: destroy_name("a"), IrmNameError),
        (lambda: reg_name("a", 7), IrmNameError),
        (lambda: unreg_name("a", 7), IrmNameError),
    ],
)
def test_the_class_of_every_failure(tmp_path, call, kind):
    with (
        scripted.daemon(tmp_path, lambda tag, message: scripted.failure(EIPCP)),
        pytest.raises(IrmError, match="no such luck") as raised,
    ):
        call()
    assert type(raised.value) is kind
    assert raised.value.errno == EIPCP
