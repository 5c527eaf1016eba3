"""Fixtures: private nodes, pairs of flows, programs that run beside the tests."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Optional

import pytest

import ouroboros
from ouroboros import aio
from ouroboros.dev import Flow, FlowSet, QoSSpec, flow_accept, flow_alloc

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

# Bound on everything that must happen, seconds; nothing is measured with it.
PATIENCE = 30.0

# A background job of a shell without job control ignores SIGINT, and so do its children.
CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
# Bound on a whole test, seconds.
LIMIT = 300


class Pair(NamedTuple):
    """Both ends of a flow in this process."""

    client: Flow
    server: Flow


class Child:
    """A Python program that runs beside the test and reports by lines."""

    def __init__(self, code: str, *arguments: str, env: Optional[dict[str, str]] = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", CTRL_C + textwrap.dedent(code), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(env or {})},
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def expect(self, text: str) -> None:
        """Its next line must be *text*."""
        line = self.line()
        if line != text:
            assert self.process.stdout is not None
            rest = self.process.stdout.read() if self.process.poll() is not None else ""
            pytest.fail(f"expected {text!r}, got {line!r}\n{rest}")

    def tell(self, text: str = "go") -> None:
        """Gives it a line to read."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def await_sleep(self) -> None:
        """Waits until its main thread sleeps in the kernel."""
        while True:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
            state = stat.rpartition(")")[2].split()[0]
            if state == "S":
                return
            assert state not in "ZX", self.finish()

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def finish(self) -> str:
        """Waits for a good end; what it printed last."""
        out, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, out
        return out

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None and not stream.closed:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass


@pytest.fixture(autouse=True)
def no_test_hangs() -> Iterator[None]:
    """A test that hangs fails, and the others go on."""

    def give_up(number: int, frame: object) -> None:
        pytest.fail(f"the test took more than {LIMIT} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def child() -> Iterator[type[Child]]:
    """Starts programs; those that still run at the end are killed."""
    started: list[Child] = []

    class Tracked(Child):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            started.append(self)

    yield Tracked
    for program in started:
        program.close()


@pytest.fixture(scope="module")
def node() -> Iterator[ouroboros.Node]:
    """A private node with a local layer."""
    with ouroboros.Node() as node:
        node.local_layer()
        yield node


@pytest.fixture
def name(node: ouroboros.Node) -> str:
    """A fresh name that this process serves."""
    name = f"test-{uuid.uuid4().hex}"
    node.serve_name(name)
    return name


def connect(name: str, qos: Optional[QoSSpec] = None) -> Pair:
    """A flow to a name of this process: both ends."""
    accepted: list[Flow] = []
    thread = threading.Thread(target=lambda: accepted.append(flow_accept(PATIENCE)))
    thread.start()
    client = flow_alloc(name, qos, PATIENCE)
    thread.join()
    return Pair(client, accepted[0])


def settle(flow: Flow) -> None:
    """Waits until an allocation that was not waited for has its outcome."""
    with FlowSet([flow]) as fset:
        while flow.state == "pending":
            fset.select(PATIENCE)


@pytest.fixture
def pair(name: str) -> Iterator[Pair]:
    """Both ends of a flow; reads that would wait for ever fail instead."""
    pair = connect(name)
    for flow in pair:
        flow.settimeout(PATIENCE)
    yield pair
    for flow in pair:
        flow.close()


@pytest.fixture
def no_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory without a daemon."""
    from ouroboros import _native

    monkeypatch.setenv("OUROBOROS_RUNTIME_DIR", str(tmp_path / "rt"))
    before = _native.runtime_dir()
    _native.set_runtime_dir(None)
    yield tmp_path / "rt"
    monkeypatch.undo()
    _native.set_runtime_dir(before if os.path.exists(before) else None)


def _runners() -> list[Any]:
    """The event loops that everything asynchronous must run in."""
    runners = [pytest.param(asyncio.run, id="asyncio")]
    try:
        import uvloop
    except ImportError:
        runners.append(
            pytest.param(None, id="uvloop", marks=pytest.mark.skip(reason="uvloop is missing"))
        )
    else:
        runners.append(pytest.param(uvloop.run, id="uvloop"))
    return runners


@pytest.fixture(params=_runners())
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine in a loop of its own, within the patience of the tests."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        async def bounded() -> Any:
            return await asyncio.wait_for(main, PATIENCE)

        return request.param(bounded())

    return run


async def meet(name: str, qos: Optional[QoSSpec] = None) -> list[aio.Flow]:
    """Both ends of a flow."""
    return list(await asyncio.gather(aio.open_flow(name, qos), aio.accept_flow()))
