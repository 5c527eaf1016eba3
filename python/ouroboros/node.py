"""A node of one's own: a private daemon for the length of a with-statement.

>>> import ouroboros
>>> with ouroboros.Node() as node:                      # doctest: +SKIP
...     node.serve_name("oecho")        # local layer, name, binding of this process
...     run_clients_and_servers()
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import warnings
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Optional, Union

from . import _native
from ._program import program_path
from .errors import EIRMD, IrmError, NodeError, OuroborosError

__all__ = ["Node", "find_program"]

_log = logging.getLogger("ouroboros.node")

_ENVIRONMENT = "OUROBOROS_RUNTIME_DIR"
_LOCAL = 0
_SPILL = 1

_PathLike = Union[str, "os.PathLike[str]"]


_nodes: weakref.WeakSet[Node] = weakref.WeakSet()


def _after_fork() -> None:
    for node in list(_nodes):
        node._forked()


os.register_at_fork(after_in_child=_after_fork)


class Ipcp(NamedTuple):
    """An IPCP of the node."""

    pid: int
    type: int
    name: str
    layer: str


def find_program(name: str) -> Path:
    """The program *name* of this package.

    Looked for in $OUROBOROS_<NAME>, beside the Python interpreter (virtual environments), in the
    directories of installed scripts, and on the PATH.
    """
    variable = f"OUROBOROS_{name.upper().replace('-', '_')}"
    chosen = os.environ.get(variable)
    if chosen:
        if os.access(chosen, os.X_OK):
            return Path(chosen)
        raise NodeError(
            errno.ENOENT, f"{variable} is {chosen!r}, which is no program; correct it or unset it"
        )
    directories = [os.path.dirname(sys.executable), sysconfig.get_path("scripts")]
    with contextlib.suppress(KeyError):
        directories.append(sysconfig.get_path("scripts", f"{os.name}_user"))
    for directory in directories:
        candidate = os.path.join(directory, name)
        if os.access(candidate, os.X_OK):
            return Path(candidate)
    on_path = shutil.which(name)
    if on_path:
        return Path(on_path)
    raise NodeError(
        errno.ENOENT,
        f"the program {name} was not found (looked beside {sys.executable} and on the PATH); "
        f"install this package with 'pip install .', or set {variable} to its path",
    )


class Node:
    """A private irmd in a temporary runtime directory.

    Within the with-statement this process and the processes that it starts use this daemon
    (OUROBOROS_RUNTIME_DIR is set). At its end the daemon, its IPCPs and the directory are gone;
    also when this process is killed.

    runtime_dir
        A directory of your own instead of a temporary one: made if it is missing, kept at the end,
        with the daemon's log in it.
    security_dir
        Where the daemon finds certificates and the security files of names; see the guide. It must
        exist. Default: "security" in the runtime directory, so that a node never depends on the
        files of the user or the machine.
    log_level
        'error', 'warn', 'info', 'debug' or 'trace': how much the daemon writes to its log.
    timeout
        How long the daemon may take to start and to stop, seconds.
    """

    # What the daemon's command begins with, and whether this process uses the daemon: a testbed's
    # nodes run elsewhere.
    _prefix: tuple[str, ...] = ()
    _adopted = True
    # Further arguments of the daemon, and how many lines of its log tell why it did not start.
    _arguments: tuple[str, ...] = ()
    _last_lines = 3

    def __init__(
        self,
        *,
        runtime_dir: Optional[_PathLike] = None,
        security_dir: Optional[_PathLike] = None,
        log_level: Optional[str] = None,
        timeout: float = 20.0,
    ) -> None:
        self._own_dir = None if runtime_dir is None else Path(runtime_dir).absolute()
        self._security = None if security_dir is None else Path(security_dir).absolute()
        self._log_level = log_level
        self._timeout = timeout
        self._dir: Optional[Path] = None
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._alive: Optional[int] = None
        self._log_file: Optional[int] = None
        self._irm: Optional[_native.Irm] = None
        # The daemon used before: held, so that bindings of this process there stay.
        self._outside: Optional[_native.Irm] = None
        self._before: Optional[str] = None
        self._pid = 0
        _nodes.add(self)

    # Life

    def start(self) -> Node:
        """Starts the daemon; the with-statement does it for you."""
        if self._process is not None:
            raise NodeError(EIRMD, "the node is running already")
        irmd = find_program("irmd")
        if self._security is not None and not self._security.is_dir():
            # A mistyped path must not mean a daemon without protection.
            raise NodeError(
                errno.ENOENT,
                f"the security directory {self._security} is not there; make it first, or leave "
                "security_dir out",
            )
        self._pid = os.getpid()
        if self._own_dir is None:
            # Short: the path of a socket has at most 107 bytes.
            self._dir = Path(tempfile.mkdtemp(prefix="o7s-"))
        else:
            self._own_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._dir = self._own_dir
        try:
            self._spawn(irmd)
        except BaseException:
            self._end()
            raise
        if not self._adopted:
            self._irm = _native.Irm(self._dir)
            return self
        self._outside = _native.Irm.current()
        self._before = os.environ.get(_ENVIRONMENT)
        os.environ[_ENVIRONMENT] = str(self._dir)
        _native.set_runtime_dir(self._dir)
        self._irm = _native.Irm(self._dir)
        try:
            _native.announce()
        except BaseException:
            self.stop()
            raise
        _log.info("node started in %s, irmd has pid %d", self._dir, self.pid)
        return self

    def _spawn(self, irmd: Path) -> None:
        command = [
            *self._prefix,
            str(irmd),
            "--runtime-dir",
            str(self.dir),
            "--security-dir",
            str(self.security_dir),
            "--foreground",
        ]
        if self._own_dir is None:
            command.append("--remove-runtime-dir")
        environment = dict(os.environ)
        environment[_ENVIRONMENT] = str(self.dir)
        if self._log_level is not None:
            command += ["--log-level", self._log_level]
        command += self._arguments
        # The daemon ends when the last writing end of this pipe is closed: only this process has
        # it, so that happens at the latest when the process ends, however it ends.
        death, self._alive = os.pipe()
        ready, ready_write = os.pipe()
        command += ["--ready-fd", str(ready_write), "--die-with-fd", str(death)]
        # The daemon wants an empty directory if it removes it at the end: its log moves there when
        # it runs.
        self._log_file, first_log = tempfile.mkstemp(
            prefix="o7s-", suffix=".log", dir=self._own_dir
        )
        try:
            self._run(command, environment, ready_write, death)
            os.close(ready_write)
            ready_write = -1
            self._await_ready(ready)
            os.replace(first_log, self.log)
        except BaseException:
            os.unlink(first_log)
            raise
        finally:
            for fd in (ready, ready_write, death):
                if fd >= 0:
                    os.close(fd)

    def _run(self, command: list[str], environment: dict[str, str], ready: int, death: int) -> None:
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._log_file,
                stderr=self._log_file,
                env=environment,
                pass_fds=(ready, death),
                # Ctrl-C is for the program; the daemon is ended by it.
                start_new_session=True,
            )
        except OSError as error:
            raise NodeError(error.errno, f"cannot run {command[0]}: {error.strerror}") from error

    def _await_ready(self, ready: int) -> None:
        deadline = time.monotonic() + self._timeout
        text = b""
        while not text.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([ready], [], [], left)[0]:
                raise NodeError(
                    EIRMD, f"the irmd was not ready within {self._timeout} s{self._last_words()}"
                )
            part = os.read(ready, 64)
            if not part:
                # Its last words come after that.
                if self._process is not None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(max(0.0, deadline - time.monotonic()))
                raise NodeError(EIRMD, f"the irmd ended at its start{self._last_words()}")
            text += part

    def _last_words(self) -> str:
        if self._log_file is None:
            return ""
        length = os.fstat(self._log_file).st_size
        text = os.pread(self._log_file, 4096, max(0, length - 4096))
        lines = text.decode(errors="replace").strip().splitlines()
        if not lines:
            return "; its log is empty"
        if len(lines) > 3 and self._last_lines > 3:
            return "; its log ends with:\n" + "\n".join(lines[-self._last_lines :])
        return "; its log ends with: " + " / ".join(lines[-3:])

    def stop(self) -> None:
        """Ends the daemon and its IPCPs and removes the directory. A second call does nothing."""
        if self._dir is None:
            return
        if self._irm is not None and not self._adopted:
            self._irm = None
        if self._irm is not None:
            self._irm = None
            if self._before is None:
                os.environ.pop(_ENVIRONMENT, None)
            else:
                os.environ[_ENVIRONMENT] = self._before
            # The environment chooses again; an outer node is named there, too.
            _native.set_runtime_dir(None)
            _native.runtime_dir()
            self._outside = None
        if self._pid == os.getpid():
            self._end()
        self._dir = None

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(self._timeout)
            except subprocess.TimeoutExpired:
                _log.warning("irmd %d did not stop within %s s: killed", process.pid, self._timeout)
                process.kill()
                process.wait()
        if self._alive is not None:
            os.close(self._alive)
            self._alive = None
        if self._log_file is not None:
            os.close(self._log_file)
            self._log_file = None
        if self._dir is not None:
            if self._own_dir is None:
                shutil.rmtree(self._dir, ignore_errors=True)
            self._dir = None

    def _forked(self) -> None:
        """In a forked child: the daemon is the parent's and lives and ends with that."""
        if self._alive is not None:
            os.close(self._alive)
            self._alive = None
        if self._process is not None:
            # Nothing for this process to wait for, or to warn about.
            self._process.returncode = 0

    def __enter__(self) -> Node:
        return self.start()

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.stop()

    # What it is

    @property
    def dir(self) -> Path:
        """The runtime directory."""
        if self._dir is None:
            raise NodeError(EIRMD, "the node is not running; use it in a with-statement")
        return self._dir

    @property
    def security_dir(self) -> Path:
        """The directory of certificates and of the security files of names; it may be missing."""
        return self.dir / "security" if self._security is None else self._security

    @property
    def log(self) -> Path:
        """The file with the daemon's log."""
        return self.dir / "irmd.log"

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        if self._process is None:
            raise NodeError(EIRMD, "the node is not running; use it in a with-statement")
        return self._process.pid

    @property
    def environ(self) -> dict[str, str]:
        """Environment for processes of this node; those started by this process have it anyway."""
        return {**os.environ, _ENVIRONMENT: str(self.dir)}

    @property
    def _management(self) -> _native.Irm:
        if self._irm is None:
            raise NodeError(EIRMD, "the node is not running; use it in a with-statement")
        return self._irm

    def status(self) -> dict[str, int]:
        """How much the daemon holds: ipcps, names, programs, processes, flows, pending, …"""
        return self._management.status()

    def ipcps(self) -> list[Ipcp]:
        """The IPCPs of the node."""
        return [Ipcp(*ipcp) for ipcp in self._management.list_ipcps()]

    # Common set-up

    def local_layer(self, name: str = "local") -> int:
        """Starts a local layer, and an IPCP of the same name, if missing; the IPCP's pid."""
        for ipcp in self.ipcps():
            if ipcp.layer == name:
                return ipcp.pid
        pid = self._management.create_ipcp(name, _LOCAL)
        self._management.bootstrap_local(pid, name)
        return pid

    def register(self, name: str, layer: str = "local") -> None:
        """Creates *name* if it is missing and registers it with *layer*."""
        members = [ipcp.pid for ipcp in self.ipcps() if ipcp.layer == layer]
        if not members:
            raise IrmError(
                EIRMD,
                f"cannot register {name!r}: the node is in no layer named {layer!r}; "
                f"call local_layer({layer!r}) first",
            )
        if all(known != name for known, *_ in self._management.list_names()):
            self._management.create_name(name, _SPILL)
        for pid in members:
            self._management.reg_name(name, pid)

    def bind(
        self,
        name: str,
        pid: Optional[int] = None,
        *,
        program: Optional[_PathLike] = None,
        args: Optional[list[str]] = None,
    ) -> None:
        """Binds a process or a program to *name*: its flow_accept() gets the flows to the name.

        Neither *pid* nor *program*: this process. With *args* (may be empty) the daemon starts the
        program with them when a flow to the name finds nobody who accepts.
        """
        if program is None:
            if args is not None:
                raise TypeError("bind() takes args with a program only")
            if pid is not None and not isinstance(pid, int):
                raise TypeError(
                    f"pid must be an int, not {type(pid).__name__}; for a program write "
                    f"program={pid!r}"
                )
            if pid is None or pid == os.getpid():
                pid = os.getpid()
                _native.announce()
            self._management.bind_process(pid, name)
            return
        if pid is not None:
            raise TypeError("bind() takes a pid or a program, not both")
        self._management.bind_program(
            program_path(program, must_be_there=args is not None),
            name,
            args is not None,
            list(args or []),
        )

    def unbind(
        self, name: str, pid: Optional[int] = None, *, program: Optional[_PathLike] = None
    ) -> None:
        """Undoes bind()."""
        if program is None:
            self._management.unbind_process(os.getpid() if pid is None else pid, name)
        else:
            self._management.unbind_program(os.path.basename(os.fspath(program)), name)

    def serve_name(self, name: str, layer: str = "local") -> None:
        """All that a server in this process needs: the local layer, the name, the binding."""
        self.local_layer(layer)
        self.register(name, layer)
        self.bind(name)

    def __repr__(self) -> str:
        return f"<Node in {self._dir}>" if self._dir is not None else "<Node not running>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if getattr(self, "_process", None) is not None and self._pid == os.getpid():
            _warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
        with contextlib.suppress(OuroborosError, OSError, AttributeError, TypeError):
            self.stop()
