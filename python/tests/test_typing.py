"""Types: mypy --strict, stubs against the extension module, programs that use them."""

import subprocess
import sys
from pathlib import Path

import pytest

import ouroboros

pytest.importorskip("mypy")

ROOT = Path(__file__).resolve().parents[2]


def run(*command, **kwargs):
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False, **kwargs
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_stubs_match_the_extension_module(tmp_path):
    run("-m", "mypy.stubtest", "ouroboros", cwd=tmp_path)


def test_package_is_strictly_typed():
    run("-m", "mypy", "--config-file", ROOT / "pyproject.toml", cwd=ROOT)


def test_user_programs_are_checked(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "from ouroboros.dev import *\n"
        "from ouroboros.event import FEvent\n"
        "f: Flow = flow_alloc('x', QoSSpec(loss=1, cypher_s=0), 1.0)\n"
        "data: bytes = f.read()\n"
        "text: str = f.readline(5)\n"
        "written: int = f.write(memoryview(data), 3) + f.writeline(text)\n"
        "limit: Optional[float] = f.get_rcv_timeout()\n"
        "fq = FEventQueue()\n"
        "with FlowSet([f]) as fset:\n"
        "    fset.wait(fq, timeo=1)\n"
        "while ev := fq.next():\n"
        "    g, t = ev\n"
        "    line: str = g.readline()\n"
        "    same: bool = t == FEventType.FlowPkt\n"
        "for g, t in fq:\n"
        "    g.dealloc()\n"
    )
    run("-m", "mypy", "--strict", "--python-version", "3.10", program, cwd=tmp_path)


def test_asynchronous_user_programs_are_checked(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, os\n"
        "from ouroboros import aio\n"
        "from ouroboros.dev import *\n"
        "from ouroboros.dev import listen\n"
        "from ouroboros.names import bound, registered\n"
        "async def serve(flow: aio.Flow) -> None:\n"
        "    async with flow:\n"
        "        async for packet in flow:\n"
        "            await flow.write(packet)\n"
        "class Echo(aio.Protocol):\n"
        "    def datagram_received(self, data: bytes) -> None:\n"
        "        print(data)\n"
        "async def main() -> None:\n"
        "    async with await aio.start_server(serve), await aio.open_flow('x', timeout=1) as f:\n"
        "        text: str = await f.readline(3)\n"
        "        packets: list[bytes] = await f.read_many(3)\n"
        "        count: int = await f.write_many([bytearray(3), memoryview(b'x'), *packets])\n"
        "    transport, protocol = await aio.create_flow(Echo, 'x')\n"
        "    same: Echo = protocol\n"
        "    transport.write(text.encode() * count)\n"
        "asyncio.run(main())\n"
        "with registered('x'), bound(os.getpid(), 'x'), listen() as listener:\n"
        "    for flow in listener:\n"
        "        with flow.recv_view() as view:\n"
        "            size: int = view.nbytes\n"
        "        flow.send_bytes(flow.recv_bytes(10), 1, 2)\n"
    )
    run("-m", "mypy", "--strict", "--python-version", "3.10", program, cwd=tmp_path)


def test_managing_user_programs_are_checked(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "from ouroboros import cli, irm\n"
        "from ouroboros.irm import *\n"
        "conf = IpcpConfig(IpcpType.UNICAST, 'lan', unicast=UnicastConfig())\n"
        "if conf.unicast is not None:\n"
        "    seconds: int = conf.unicast.dt.routing.ls.t_recalc\n"
        "pid: int = irm.create_ipcp('a', IpcpType.LOCAL)\n"
        "try:\n"
        "    irm.bootstrap_ipcp(pid, conf)\n"
        "except IpcpBootstrapError as error:\n"
        "    number: int | None = error.errno\n"
        "for info in irm.list_ipcps():\n"
        "    kind: IpcpType | int = info.type\n"
        "paths: list[str] = [info.server_sec.key for info in irm.list_names()]\n"
        "irm.connect_ipcp(pid, DT_COMP, 'b', QoSSpec.voice())\n"
        "cli.bind_program('prog', 'name', opts=BIND_AUTO, argv=('-l',))\n"
        "cli.reg_name('name', layers=['a', 'b'])\n"
        "cli.autoboot('a', IpcpType.UNICAST, 'lan', conf)\n"
    )
    run("-m", "mypy", "--strict", "--python-version", "3.10", program, cwd=tmp_path)


def test_package_says_that_it_is_typed():
    assert (Path(ouroboros.__file__).parent / "py.typed").exists()


def test_version():
    major, minor, *_ = ouroboros.__version__.split(".")
    # Programs written for PyOuroboros 0.23 look at these two.
    assert (major, minor) == ("0", "23")
