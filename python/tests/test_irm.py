"""ouroboros.irm: names, numbers, defaults, calls and errors (spec/api.md B5, B9)."""

from __future__ import annotations

import builtins
import errno
import os
import pickle
import stat
import sys
import typing

import pytest
from authority import Authority

import ouroboros
from ouroboros import errors, irm
from ouroboros.dev import flow_alloc
from ouroboros.irm import *
from ouroboros.qos import QoSSpec as Spec

EIPCPTYPE, EIPCP, EIPCPSTATE, ENAME = 1001, 1003, 1004, 1007

FAMILY = [
    IpcpCreateError,
    IpcpBootstrapError,
    IpcpEnrollError,
    IpcpConnectError,
    IrmNameError,
    BindError,
]


@pytest.fixture
def own() -> typing.Iterator[ouroboros.Node]:
    """An empty node of one test."""
    with ouroboros.Node() as node:
        yield node


# Names, numbers, defaults


#: What the module offers.
DOCUMENTED = """
BIND_AUTO DT_COMP MGMT_COMP QoSSpec
IpcpType AddressAuthPolicy LinkStatePolicy RoutingPolicy CongestionAvoidPolicy
DirectoryPolicy DirectoryHashAlgo LoadBalancePolicy
LinkStateConfig RoutingConfig DtConfig DhtConfig DirConfig UnicastConfig EthConfig
Udp4Config Udp6Config LocalConfig IpcpConfig NameSecPaths NameInfo IpcpInfo
IrmError IpcpCreateError IpcpBootstrapError IpcpEnrollError IpcpConnectError NameError
BindError IrmNameError
create_ipcp destroy_ipcp list_ipcps show_ipcp enroll_ipcp bootstrap_ipcp
connect_ipcp disconnect_ipcp
bind_program unbind_program bind_process unbind_process
create_name destroy_name list_names reg_name unreg_name
"""


def test_star_import():
    assert sorted(irm.__all__) == sorted(DOCUMENTED.split())
    for name in irm.__all__:
        assert globals()[name] is getattr(irm, name)
    assert not {"ffi", "lib"} & set(irm.__all__)


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        (IpcpType, "LOCAL UNICAST BROADCAST ETH_LLC ETH_DIX UDP4 UDP6"),
        (AddressAuthPolicy, "FLAT_RANDOM"),
        (LinkStatePolicy, "SIMPLE LFA ECMP"),
        (RoutingPolicy, "LINK_STATE"),
        (CongestionAvoidPolicy, "NONE MB_ECN"),
        (DirectoryPolicy, "DHT"),
        (DirectoryHashAlgo, "SHA3_224 SHA3_256 SHA3_384 SHA3_512"),
        (LoadBalancePolicy, "ROUND_ROBIN SPILL"),
    ],
)
def test_enums_have_the_numbers_of_c(kind, members):
    assert [(one.name, one.value) for one in kind] == [
        (name, number) for number, name in enumerate(members.split())
    ]
    assert issubclass(kind, int)


def test_constants():
    assert (BIND_AUTO, DT_COMP, MGMT_COMP) == (1, "Data Transfer", "Management")


@pytest.mark.parametrize(
    ("made", "attributes"),
    [
        (LinkStateConfig(), {"pol": 0, "t_recalc": 4, "t_update": 15, "t_timeo": 60}),
        (RoutingConfig(), {"pol": 0, "ls": LinkStateConfig()}),
        (
            DtConfig(),
            {"addr_size": 4, "eid_size": 8, "max_ttl": 60, "routing": RoutingConfig()},
        ),
        (
            DhtConfig(),
            {"alpha": 3, "k": 8, "t_expire": 86400, "t_refresh": 900, "t_replicate": 900},
        ),
        (DirConfig(), {"pol": 0, "dht": DhtConfig()}),
        (
            UnicastConfig(),
            {"dt": DtConfig(), "dir": DirConfig(), "addr_auth": 0, "cong_avoid": 1},
        ),
        (EthConfig(), {"dev": "", "ethertype": 0xA000}),
        (Udp4Config(), {"ip_addr": "0.0.0.0", "dns_addr": "0.0.0.0", "port": 3435, "hosts": {}}),
        (Udp6Config(), {"ip_addr": "::", "dns_addr": "::", "port": 3435, "hosts": {}}),
        (
            LocalConfig(),
            {
                "loss": 0.0,
                "delay": 0.0,
                "jitter": 0.0,
                "reorder": 0.0,
                "duplicate": 0.0,
                "corrupt": 0.0,
                "mtu": 0,
                "seed": 0,
            },
        ),
        (NameSecPaths(), {"enc": "", "key": "", "crt": ""}),
        (
            NameInfo("n"),
            {"name": "n", "pol_lb": 0, "server_sec": NameSecPaths(), "client_sec": NameSecPaths()},
        ),
        (IpcpInfo(1, IpcpType.LOCAL, "n", "l"), {"pid": 1, "type": 0, "name": "n", "layer": "l"}),
    ],
    ids=lambda made: type(made).__name__,
)
def test_defaults(made, attributes):
    assert vars(made) == attributes
    # Equal to one made of these values, whatever the order; and it shows them.
    for name in attributes:
        assert name in repr(made)
    assert made == type(made)(*attributes.values())


def test_parameters_are_attributes_in_this_order():
    """Positional use works."""
    ls = LinkStateConfig(LinkStatePolicy.ECMP, 1, 2, 3)
    dt = DtConfig(4, 7, 50, RoutingConfig(RoutingPolicy.LINK_STATE, ls))
    unicast = UnicastConfig(
        dt,
        DirConfig(DirectoryPolicy.DHT, DhtConfig(1, 2, 10, 3, 4)),
        AddressAuthPolicy.FLAT_RANDOM,
        CongestionAvoidPolicy.NONE,
    )
    assert unicast.dt.routing.ls.t_timeo == 3
    assert unicast.dir.dht.t_replicate == 4
    # None is the default, and no two objects share one.
    first, second = RoutingConfig(ls=None), RoutingConfig(ls=None)
    first.ls.t_recalc = 9
    assert second.ls.t_recalc == 4


def test_an_ipcp_config_has_the_part_of_its_type():
    parts = {
        IpcpType.UNICAST: ("unicast", UnicastConfig()),
        IpcpType.ETH_LLC: ("eth", EthConfig()),
        IpcpType.ETH_DIX: ("eth", EthConfig()),
        IpcpType.UDP4: ("udp4", Udp4Config()),
        IpcpType.UDP6: ("udp6", Udp6Config()),
    }
    for kind in IpcpType:
        config = IpcpConfig(kind)
        assert (config.ipcp_type, config.layer_name) == (kind, "")
        assert config.dir_hash_algo is DirectoryHashAlgo.SHA3_256
        word, part = parts.get(kind, ("", None))
        for name in ("unicast", "eth", "udp4", "udp6"):
            assert getattr(config, name) == (part if name == word else None)
    udp = Udp4Config("10.0.0.1")
    assert IpcpConfig(IpcpType.UDP4, "l", udp4=udp).udp4 is udp


def test_errors():
    assert NameError is IrmNameError is irm.NameError
    assert NameError is not builtins.NameError
    for kind in FAMILY:
        assert issubclass(kind, IrmError)
        assert kind in vars(errors).values()
    assert issubclass(IrmError, errors.OuroborosError)
    assert issubclass(IrmError, OSError)


@pytest.mark.parametrize("kind", [IrmError, *FAMILY])
def test_a_management_error_is_also_what_its_number_is_elsewhere(kind):
    for number, also in [
        (errors.EIRMD, (errors.DaemonError, ConnectionError, errors.FlowException)),
        (errno.EINVAL, (ValueError, errors.FlowValueError)),
        (errno.EPERM, (PermissionError, errors.FlowPermissionException)),
        (errno.EACCES, (PermissionError,)),
        (errno.ETIMEDOUT, (TimeoutError, errors.FlowTimeout)),
        (errno.ENOENT, ()),
    ]:
        error = errors.irm_error(kind, number, "told")
        assert isinstance(error, (kind, *also))
        for one in also:
            assert isinstance(error, one)
        assert type(error).__name__ == kind.__name__
        assert (error.errno, error.strerror) == (number, "told")
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert again.args == error.args


# Calls


def test_an_ipcp_from_its_creation_to_its_end(own):
    assert list_ipcps() == []
    pid = create_ipcp("ipcp1", IpcpType.LOCAL)
    # The daemon's, not one that is looked up by the name.
    os.kill(pid, 0)
    assert list_ipcps() == [IpcpInfo(pid, IpcpType.LOCAL, "ipcp1", "Not enrolled.")]
    config = IpcpConfig(IpcpType.LOCAL, "home", DirectoryHashAlgo.SHA3_512)
    assert bootstrap_ipcp(pid, config) is None
    (info,) = list_ipcps()
    assert (info.type, info.layer) == (IpcpType.LOCAL, "home")
    assert isinstance(info.type, IpcpType)
    assert destroy_ipcp(pid) is None
    assert list_ipcps() == []


def test_names(own, tmp_path):
    Authority().issue(tmp_path, "n1")
    (tmp_path / "enc.conf").write_text("")
    enc, key, crt = (str(tmp_path / name) for name in ("enc.conf", "key.pem", "crt.pem"))
    assert list_names() == []
    info = NameInfo(
        "n1",
        LoadBalancePolicy.SPILL,
        NameSecPaths(enc, key, crt),
        NameSecPaths(crt=crt),
    )
    assert create_name(info) is None
    create_name(NameInfo("é" * 127))
    # All of it comes back: also the encryption paths, and long names whole.
    assert list_names() == [info, NameInfo("é" * 127)]
    create_name(info)
    with pytest.raises(NameError) as raised:
        create_name(NameInfo("n1"))
    assert raised.value.errno == errno.EEXIST
    pid = own.local_layer()
    assert reg_name("n1", pid) is None
    assert unreg_name("n1", pid) is None
    assert destroy_name("n1") is None
    assert [info.name for info in list_names()] == ["é" * 127]
    for call in [lambda: destroy_name("n1"), lambda: reg_name("n1", pid)]:
        with pytest.raises(NameError) as raised:
            call()
        assert raised.value.errno == ENAME


def test_processes(own):
    assert bind_process(os.getpid(), "mine") is None
    assert list_names() == [NameInfo("mine", LoadBalancePolicy.SPILL)]
    with pytest.raises(BindError) as raised:
        bind_process(os.getpid(), "mine")
    assert raised.value.errno == errno.EEXIST
    bind_process(os.getpid(), "also")
    assert unbind_process(os.getpid(), "mine") is None
    # Without a name: from all.
    unbind_process(os.getpid())
    with pytest.raises(BindError) as raised:
        unbind_process(os.getpid(), "also")
    assert raised.value.errno == errno.ENOENT
    with pytest.raises(BindError):
        bind_process(1, "init")


def test_programs(own, tmp_path, monkeypatch):
    program = tmp_path / "prog"
    program.write_text("#!/bin/sh\n")
    with pytest.raises(BindError) as raised:
        bind_program(str(program), "a")
    assert isinstance(raised.value, PermissionError)
    assert "chmod +x" in raised.value.strerror
    program.chmod(0o700)
    with pytest.raises(BindError) as raised:
        bind_program("o7s-no-such-program", "a")
    assert raised.value.errno == errno.ENOENT
    with pytest.raises(BindError) as raised:
        bind_program("./o7s-no-such-program", "a")
    assert raised.value.errno == errno.ENOENT
    assert list_names() == []

    # Relative; on the PATH, which is not damaged; a path object.
    monkeypatch.chdir(tmp_path)
    assert bind_program("./prog", "a") is None
    path = f"/nowhere:{tmp_path}:/usr/bin"
    monkeypatch.setenv("PATH", path)
    bind_program("prog", "b")
    bind_program("prog", "c")
    assert os.environ["PATH"] == path
    bind_program(program, "d", BIND_AUTO, ["-l"])
    # Known by its base name.
    with pytest.raises(BindError) as raised:
        bind_program("/usr/bin/../..//" + str(program), "a")
    assert raised.value.errno == errno.EEXIST
    assert unbind_program("prog", "a") is None
    unbind_program(str(program), "b")
    unbind_program("prog")
    with pytest.raises(BindError):
        unbind_program("prog", "c")
    with pytest.raises(BindError) as raised:
        bind_program(program, "a", 2)
    assert isinstance(raised.value, ValueError)
    with pytest.raises(TypeError):
        bind_program(program, "a", BIND_AUTO, "-l")


def test_a_link_is_known_by_its_own_name(own, tmp_path):
    link = tmp_path / "called"
    link.symlink_to(sys.executable)
    bind_program(link, "a")
    unbind_program("called", "a")


def test_the_daemon_starts_a_program_with_its_arguments(own, tmp_path):
    """The arguments arrive whole (in 0.23 they were freed before use)."""
    program = tmp_path / "server.py"
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "from ouroboros.dev import *\n"
        "with flow_accept() as f:\n"
        "    f.writeline('|'.join(sys.argv[1:]))\n"
        "    f.read()\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    arguments = [f"argument {number} é" for number in range(50)]
    bind_program(program, "auto", opts=BIND_AUTO, argv=arguments)
    pid = own.local_layer()
    reg_name("auto", pid)
    with flow_alloc("auto", timeo=30) as flow:
        assert flow.readline().split("|") == arguments


# Errors


def test_every_call_without_a_daemon(no_daemon):
    calls = {
        IpcpCreateError: [lambda: create_ipcp("a", IpcpType.LOCAL)],
        IrmError: [lambda: destroy_ipcp(1), list_ipcps, list_names],
        IpcpEnrollError: [lambda: enroll_ipcp(1, "a")],
        IpcpBootstrapError: [lambda: bootstrap_ipcp(1, IpcpConfig(IpcpType.LOCAL, "a"))],
        IpcpConnectError: [
            lambda: connect_ipcp(1, DT_COMP, "a"),
            lambda: disconnect_ipcp(1, DT_COMP, "a"),
        ],
        BindError: [
            lambda: bind_program(sys.executable, "a"),
            lambda: unbind_program("a", "a"),
            lambda: bind_process(1, "a"),
            lambda: unbind_process(1, "a"),
        ],
        NameError: [
            lambda: create_name(NameInfo("a")),
            lambda: destroy_name("a"),
            lambda: reg_name("a", 1),
            lambda: unreg_name("a", 1),
        ],
    }
    for kind, each in calls.items():
        for call in each:
            with pytest.raises(errors.DaemonError) as raised:
                call()
            assert isinstance(raised.value, kind)
            assert raised.value.errno == errors.EIRMD
            assert "start one with 'irmd'" in raised.value.strerror


def test_a_daemon_that_comes_later_is_used(no_daemon):
    with pytest.raises(errors.DaemonError):
        list_ipcps()
    with ouroboros.Node():
        assert list_ipcps() == []
    with pytest.raises(errors.DaemonError):
        list_ipcps()


def test_a_forked_child_has_connections_of_its_own(own, child):
    """Defect 42 of 0.23."""
    program = child(
        """
        import os
        from ouroboros.irm import *
        create_name(NameInfo("before"))
        pid = os.fork()
        if pid == 0:
            create_name(NameInfo("child"))
            bind_process(os.getpid(), "child")
            assert {"before", "child"} <= {info.name for info in list_names()}
            os._exit(0)
        create_name(NameInfo("parent"))
        assert os.waitpid(pid, 0)[1] == 0
        print([info.name for info in list_names()])
        """
    )
    program.expect("['before', 'child', 'parent']")
    program.finish()


def test_nothing_is_printed(own, capfd):
    with pytest.raises(IrmError):
        destroy_ipcp(os.getpid())
    with pytest.raises(IpcpCreateError):
        create_ipcp("", IpcpType.LOCAL)
    assert capfd.readouterr() == ("", "")


def test_strings_that_are_too_long_are_not_cut(own):
    """Defect 37 of 0.23."""
    long = "n" * 256
    pid = create_ipcp("n" * 255, IpcpType.LOCAL)
    for call in [
        lambda: create_ipcp(long, IpcpType.LOCAL),
        lambda: create_name(NameInfo(long)),
        lambda: bind_process(os.getpid(), long),
        lambda: bind_program(sys.executable, long),
        lambda: bootstrap_ipcp(pid, IpcpConfig(IpcpType.LOCAL, long)),
        lambda: enroll_ipcp(pid, long),
        lambda: connect_ipcp(pid, DT_COMP, long),
        lambda: reg_name(long, pid),
        lambda: destroy_name(long),
        lambda: create_name(NameInfo("")),
        lambda: create_name(NameInfo("a\0b")),
        lambda: create_name(NameInfo("a", server_sec=NameSecPaths(key="p" * 512))),
        lambda: create_name(NameInfo("a", client_sec=NameSecPaths(enc="p" * 512))),
    ]:
        with pytest.raises(ValueError):
            call()
    assert list_names() == []
    assert list_ipcps()[0].name == "n" * 255


def test_names_of_ipcps_are_unique(own):
    """So that no wrong one is found by its name (defect 38)."""
    create_ipcp("a", IpcpType.LOCAL)
    with pytest.raises(IpcpCreateError) as raised:
        create_ipcp("a", IpcpType.LOCAL)
    assert raised.value.errno == errno.EEXIST


@pytest.mark.parametrize("pid", [0, -1, 1 << 31, 1 << 80])
def test_what_is_no_process_id(own, pid):
    for call in [
        lambda: destroy_ipcp(pid),
        lambda: bind_process(pid, "a"),
        lambda: bootstrap_ipcp(pid, IpcpConfig(IpcpType.LOCAL, "a")),
        lambda: reg_name("a", pid),
    ]:
        with pytest.raises(IrmError, match="is no process id") as raised:
            call()
        assert isinstance(raised.value, ValueError)


def test_processes_that_are_no_ipcps(own):
    """In 0.23 destroy_ipcp() terminates any process."""
    with pytest.raises(IrmError) as raised:
        destroy_ipcp(os.getpid())
    assert raised.value.errno == errno.ENOENT
    for call, kind in [
        (lambda: enroll_ipcp(os.getpid(), "a"), IpcpEnrollError),
        (
            lambda: bootstrap_ipcp(os.getpid(), IpcpConfig(IpcpType.LOCAL, "a")),
            IpcpBootstrapError,
        ),
        (lambda: connect_ipcp(os.getpid(), DT_COMP, "a"), IpcpConnectError),
        (lambda: disconnect_ipcp(os.getpid(), DT_COMP, "a"), IpcpConnectError),
        (lambda: reg_name("a", os.getpid()), NameError),
    ]:
        with pytest.raises(kind) as raised:
            call()
        assert raised.value.errno == errno.ENOENT


def test_what_the_type_or_its_state_does_not_allow(own):
    pid = create_ipcp("a", IpcpType.LOCAL)
    create_name(NameInfo("n"))
    with pytest.raises(NameError) as raised:
        reg_name("n", pid)
    assert raised.value.errno == EIPCPSTATE
    with pytest.raises(IpcpBootstrapError) as raised:
        bootstrap_ipcp(pid, IpcpConfig(IpcpType.BROADCAST, "l"))
    assert isinstance(raised.value, ValueError)
    with pytest.raises(IpcpCreateError) as raised:
        create_ipcp("b", 7)
    assert raised.value.errno == EIPCPTYPE
    with pytest.raises(IpcpEnrollError) as raised:
        enroll_ipcp(pid, "x")
    assert raised.value.errno == errno.ENOTSUP
    with pytest.raises(IpcpConnectError) as raised:
        connect_ipcp(pid, DT_COMP, "x")
    assert raised.value.errno == EIPCP
    bootstrap_ipcp(pid, IpcpConfig(IpcpType.LOCAL, "l"))
    with pytest.raises(IpcpBootstrapError) as raised:
        bootstrap_ipcp(pid, IpcpConfig(IpcpType.LOCAL, "l"))
    assert raised.value.errno == EIPCPSTATE


def test_a_connection_has_no_encryption(own):
    pid = create_ipcp("a", IpcpType.LOCAL)
    with pytest.raises(IpcpConnectError) as raised:
        connect_ipcp(pid, DT_COMP, "x", Spec(cypher_s=256))
    assert raised.value.errno == errno.ENOTSUP


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (IpcpConfig(IpcpType.UDP4, "l"), "0.0.0.0 cannot be used"),
        (IpcpConfig(IpcpType.UDP6, "l"), ":: cannot be used"),
        (IpcpConfig(IpcpType.UDP4, "l", udp4=Udp4Config("10.0.0")), "'10.0.0'|\"10.0.0\""),
        (IpcpConfig(IpcpType.UDP4, "l", udp4=Udp4Config("::1")), "no IPv4 address"),
        (IpcpConfig(IpcpType.UDP4, "l", udp4=Udp4Config("10.0.0.1", "x")), 'dns_addr is "x"'),
        (IpcpConfig(IpcpType.UDP4, "l", udp4=Udp4Config("10.0.0.1", port=0)), "port is 0"),
        (IpcpConfig(IpcpType.UDP4, "l", udp4=Udp4Config("10.0.0.1", port=65536)), "port is 65536"),
        (IpcpConfig(IpcpType.UDP6, "l", udp6=Udp6Config("10.0.0.1")), "no IPv6 address"),
        (IpcpConfig(IpcpType.ETH_DIX, "l"), "network device has 0 bytes"),
        (IpcpConfig(IpcpType.ETH_LLC, "l", eth=EthConfig("d" * 256)), "has 256 bytes"),
        (IpcpConfig(IpcpType.ETH_DIX, "l", eth=EthConfig("lo", 1)), "ethertype is 0x0001"),
        (
            IpcpConfig(IpcpType.UNICAST, "l", unicast=UnicastConfig(DtConfig(addr_size=2))),
            "addr_size is 2; it must be 4",
        ),
        (
            IpcpConfig(IpcpType.UNICAST, "l", unicast=UnicastConfig(DtConfig(max_ttl=-1))),
            "max_ttl is -1; it must be 0 to",
        ),
        (
            IpcpConfig(
                IpcpType.UNICAST, "l", unicast=UnicastConfig(dir=DirConfig(dht=DhtConfig(k=21)))
            ),
            "dht k is 21; it must be 1 to 20",
        ),
        (
            IpcpConfig(
                IpcpType.UNICAST, "l", unicast=UnicastConfig(dir=DirConfig(dht=DhtConfig(1 << 70)))
            ),
            f"dht alpha is {1 << 70}",
        ),
        (
            IpcpConfig(IpcpType.UNICAST, "l", unicast=UnicastConfig(cong_avoid=7)),
            "no congestion avoidance policy with number 7",
        ),
        (
            IpcpConfig(IpcpType.UDP4, "l", udp4=Udp4Config("10.0.0.1", hosts={"a": "x"})),
            'the host "a" has the address "x"',
        ),
        (IpcpConfig(IpcpType.LOCAL, "l", local=LocalConfig(loss=2)), "loss is 2000000 millionths"),
        (IpcpConfig(IpcpType.LOCAL, "l", local=LocalConfig(delay=-1)), "delay is -1; it must be"),
        (IpcpConfig(IpcpType.LOCAL, "l", local=LocalConfig(mtu=1 << 30)), "mtu is 1073741824"),
        (IpcpConfig(IpcpType.LOCAL, ""), "must not be empty"),
    ],
)
def test_values_that_are_not_allowed(own, config, message):
    """They are refused before anything is sent: there is no IPCP of these types."""
    with pytest.raises(IpcpBootstrapError, match=message) as raised:
        bootstrap_ipcp(1, config)
    assert isinstance(raised.value, ValueError)
    assert raised.value.errno == errno.EINVAL


def test_values_of_the_wrong_type(own):
    with pytest.raises(TypeError):
        bootstrap_ipcp(1, IpcpConfig(IpcpType.UDP4, "l", udp4=Udp4Config(port="x")))
    with pytest.raises(AttributeError):
        bootstrap_ipcp(1, "local")
    with pytest.raises(TypeError):
        create_name(NameInfo(3))
