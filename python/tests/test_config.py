"""Nodes with a configuration file: ouroboros.daemon.Irmd, irmd --config, irmd --check-config."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ouroboros import errors
from ouroboros.daemon import Irmd
from ouroboros.dev import flow_alloc
from ouroboros.irm import IpcpInfo, IpcpType, LoadBalancePolicy, NameInfo, list_ipcps, list_names
from ouroboros.node import find_program


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "irmd.conf"
    path.write_text(text)
    return path


def check(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(find_program("irmd")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_node_is_set_up_when_the_block_begins(tmp_path):
    """Names, programs that are started when needed, layers: from a file to a flow."""
    program = tmp_path / "server.py"
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "from ouroboros.dev import *\n"
        "with flow_accept() as f:\n"
        "    f.writeline('|'.join(sys.argv[1:]))\n"
        "    f.read()\n"
    )
    program.chmod(0o700)
    config = file(
        tmp_path,
        f'[name.greeter]\nlb = "round-robin"\nprog = ["{program}"]\nargs = ["--to world"]\n'
        '[local.l1]\nbootstrap = "home"\nreg = ["greeter", "new"]\n',
    )
    with Irmd(config) as node:
        (ipcp,) = list_ipcps()
        assert ipcp == IpcpInfo(ipcp.pid, IpcpType.LOCAL, "l1", "home")
        assert list_names() == [
            NameInfo("greeter"),
            NameInfo("new", LoadBalancePolicy.SPILL),
        ]
        with flow_alloc("greeter", timeo=30) as flow:
            assert flow.readline() == "--to|world"
        assert "2 entries carried out" in node.log.read_text()


def test_a_relative_path_and_a_directory_of_ones_own(tmp_path, monkeypatch):
    file(tmp_path, "[local.l1]\n")
    monkeypatch.chdir(tmp_path)
    with Irmd("irmd.conf", tmp_path / "run") as node:
        assert node.dir == tmp_path / "run"
        assert [ipcp.name for ipcp in list_ipcps()] == ["l1"]


def test_a_file_with_mistakes_starts_no_daemon(tmp_path):
    config = file(tmp_path, '[name.a]\nlb = "spil"\n[locl.b]\n')
    with pytest.raises(errors.NodeError) as raised:
        Irmd(config, tmp_path / "run").start()
    text = raised.value.strerror
    assert f"--> {config}:2:6\n" in text
    assert '2 | lb = "spil"\n  |      ^^^^^^\n  = help: allowed are "spill", "round-robin"' in text
    assert 'did you mean "local"?' in text
    assert text.endswith("2 errors")
    with pytest.raises(errors.NodeError, match="No such file"):
        Irmd(tmp_path / "none").start()


def test_an_entry_that_fails_ends_the_daemon_unless_it_may(tmp_path):
    config = file(tmp_path, '[name.u]\nprog = ["/x/o", "/y/o"]\n[local.l]\nbootstrap = "home"\n')
    with pytest.raises(errors.NodeError) as raised:
        Irmd(config).start()
    assert f'{config}:2: cannot bind the program /y/o to "u"' in raised.value.strerror
    with Irmd(config, strict=False) as node:
        # The others are carried out.
        assert [ipcp.layer for ipcp in list_ipcps()] == ["home"]
        assert "1 of 2 entries failed" in node.log.read_text()


def test_a_file_is_checked_without_a_daemon(tmp_path, no_daemon):
    good = file(tmp_path, "[local.l]\n")
    result = check("--check-config", good)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{good}: good: 0 names, 1 IPCP\n"
    # That of --config.
    assert check("--config", good, "--check-config").stdout == result.stdout
    good.write_text("[local.l\n")
    result = check("--check-config", good)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert not os.path.exists(no_daemon)
