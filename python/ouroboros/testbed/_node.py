"""A node of a test network: a private daemon, perhaps in a network namespace of its own."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple, Optional, Union

from .. import _native
from ..errors import EIRMD, NodeError
from ..node import Node, find_program
from . import _namespaces
from ._call import Call

_Command = Union[str, "os.PathLike[str]", Sequence[Union[str, "os.PathLike[str]"]]]


class Interface(NamedTuple):
    """A node's end of a link."""

    #: Its name on the node: eth0, eth1, …
    name: str
    #: Its IPv4 address; the network has 24 bits.
    address: str
    #: Its hardware address.
    mac: str
    #: The node at the other end.
    peer: str
    #: The IPv4 address at the other end.
    peer_address: str


class BedNode(Node):
    """A node of a testbed: ``net["n0"]``.

    It has what ouroboros.Node has, except that this process is not on it: what should happen on
    the node is a command (run, popen) or a function (call, submit).
    """

    _adopted = False

    def __init__(
        self, name: str, *, log_level: Optional[str] = None, timeout: float = 20.0
    ) -> None:
        super().__init__(log_level=log_level, timeout=timeout)
        #: The name in the testbed.
        self.name = name
        #: The name of its network namespace ('ip netns exec …'); None if it has none.
        self.namespace: Optional[str] = None
        #: Its ends of links, by the name of the node at the other end.
        self.interfaces: dict[str, Interface] = {}
        self._programs: list[subprocess.Popen[Any]] = []
        self._calls: list[Call] = []
        self._inside = False

    def _enter_namespace(self, namespace: str) -> None:
        self.namespace = namespace
        self._prefix = _namespaces.prefix(namespace)

    def interface(self, peer: object) -> Interface:
        """The end of the link to another node."""
        try:
            return self.interfaces[str(peer)]
        except KeyError:
            known = ", ".join(self.interfaces) or "none: the testbed has no network namespaces"
            raise NodeError(
                EIRMD, f"{self.name} has no interface to {peer!s}; its peers are {known}"
            ) from None

    @property
    def env(self) -> dict[str, str]:
        """Environment for processes of this node: its daemon, and the programs of this package."""
        environment = self.environ
        programs = str(find_program("irm").parent)
        path = environment.get("PATH", os.defpath)
        if programs not in path.split(os.pathsep):
            environment["PATH"] = programs + os.pathsep + path
        return environment

    def socket(
        self, family: int = socket.AF_INET, type: int = socket.SOCK_DGRAM, proto: int = 0
    ) -> socket.socket:
        """A socket on the network of the node, for this process; a UDP socket by default."""
        if self.namespace is None:
            raise NodeError(EIRMD, f"{self.name} has no network of its own: no network namespace")
        return _namespaces.inside(self.namespace, lambda: socket.socket(family, type, proto))

    # Commands

    def _prepare(
        self, command: _Command, env: Optional[Mapping[str, str]]
    ) -> tuple[list[str], dict[str, str]]:
        environment = {**self.env, **(env or {})}
        if isinstance(command, str):
            words = shlex.split(command)
        elif isinstance(command, os.PathLike):
            words = [os.fspath(command)]
        else:
            words = [os.fspath(word) for word in command]
        if not words:
            raise ValueError("the command is empty")
        program = shutil.which(words[0], path=environment.get("PATH"))
        if program is None:
            raise FileNotFoundError(2, f"there is no program {words[0]!r} on the PATH", words[0])
        return [*self._prefix, program, *words[1:]], environment

    def run(
        self,
        command: _Command,
        *,
        env: Optional[Mapping[str, str]] = None,
        capture_output: bool = True,
        text: bool = True,
        **options: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """Runs a command on the node and waits for it, as subprocess.run() does.

        A string is split into words as by a shell, but no shell sees it. The output is captured
        as text unless one says otherwise. *env* is added to the node's environment.
        """
        words, environment = self._prepare(command, env)
        if "stdout" in options or "stderr" in options:
            capture_output = False
        options.setdefault("check", False)
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            words, env=environment, capture_output=capture_output, text=text, **options
        )

    def popen(
        self, command: _Command, *, env: Optional[Mapping[str, str]] = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """Starts a command on the node, as subprocess.Popen does; it ends with the testbed."""
        words, environment = self._prepare(command, env)
        program: subprocess.Popen[Any] = subprocess.Popen(words, env=environment, **options)
        self._programs = [each for each in self._programs if each.poll() is None]
        self._programs.append(program)
        return program

    # Functions

    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Runs a function on the node, in a child process; its result, or its exception.

        The child is a fork of this process, so any function will do, also one that was typed into
        a notebook; what it changes in memory stays there. Result and exception are pickled.
        """
        running = self.submit(function, *args, **kwargs)
        try:
            return running.result()
        finally:
            running.kill()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Call:
        """Starts a function on the node, as call() does, and does not wait: see Call.result()."""
        running = Call(self.name, self._move_in, function, args, kwargs)
        self._calls = [each for each in self._calls if not each.done()]
        self._calls.append(running)
        return running

    def _move_in(self) -> None:
        """In a forked child: onto the node."""
        directory = self.dir
        if self.namespace is not None:
            _namespaces.enter(self.namespace)
        os.environ.update(self.env)
        _native.set_runtime_dir(directory)
        self._irm = _native.Irm(directory)
        self._inside = True

    def bind(
        self,
        name: str,
        pid: Optional[int] = None,
        *,
        program: Optional[Union[str, os.PathLike[str]]] = None,
        args: Optional[list[str]] = None,
    ) -> None:
        """Binds a process or a program of the node to *name*, as Node.bind() does.

        In a function that runs on the node neither is needed: its own process.
        """
        if not self._inside and program is None and pid in (None, os.getpid()):
            raise NodeError(
                EIRMD,
                f"this process is not on the node {self.name}; bind a pid or a program of the "
                f"node, or do it in a function that runs there: net[{self.name!r}].submit(…)",
            )
        super().bind(name, pid, program=program, args=args)

    # The end

    def _end_programs(self) -> None:
        for running in self._calls:
            running.kill()
        self._calls.clear()
        for program in self._programs:
            if program.poll() is None:
                program.terminate()
        for program in self._programs:
            try:
                program.wait(self._timeout)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
        self._programs.clear()

    def _forked(self) -> None:
        super()._forked()
        self._calls = []
        for program in self._programs:
            # Nothing for this process to wait for.
            if program.returncode is None:
                program.returncode = 0
        self._programs = []

    def stop(self) -> None:
        """Ends what runs on the node, its daemon and its IPCPs, and removes the directory."""
        if getattr(self, "_pid", 0) == os.getpid():
            with contextlib.suppress(AttributeError):
                self._end_programs()
        super().stop()

    def __repr__(self) -> str:
        where = f"in {self._dir}" if self._dir is not None else "not running"
        return f"<BedNode {self.name} {where}>"
