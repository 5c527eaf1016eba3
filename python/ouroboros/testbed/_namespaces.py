"""Network namespaces of a test network: their names, and work inside them.

Names are o7s-<pid>-<start of the process>-<number>-<index>: who finds one whose process is gone
may remove it.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Callable, Optional, TypeVar

from ..errors import NodeError

PREFIX = "o7s-"
#: Where iproute2 keeps the names.
DIRECTORY = Path("/run/netns")

_CLONE_NEWNET = 0x40000000
_SIOCETHTOOL = 0x8946
# ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO.
_OFFLOADS = (0x17, 0x1F, 0x24)
_SOL_PACKET = 263
_PACKET_IGNORE_OUTGOING = 23
_SO_RCVBUFFORCE = 33
_ETH_P_ALL = 3
# What an end of a link may hold for the relay, bytes.
_RECEIVE_BUFFER = 16 << 20

_CAP_NET_ADMIN = 12
_CAP_NET_RAW = 13
_CAP_SYS_ADMIN = 21

_T = TypeVar("_T")


def may_have_namespaces() -> bool:
    """Whether this process has the rights to make network namespaces and links."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("CapEff:"):
                held = int(line.split()[1], 16)
                needed = (_CAP_NET_ADMIN, _CAP_NET_RAW, _CAP_SYS_ADMIN)
                return all(held >> capability & 1 for capability in needed)
    return False


def missing_tool() -> Optional[str]:
    """What must be installed before namespaces can be made, as a sentence; None if nothing."""
    for tool, package in (("ip", "iproute2"), ("nsenter", "util-linux")):
        if _tool(tool) is None:
            return (
                f"the program {tool!r} is missing; install it (Debian: 'apt-get install {package}')"
            )
    return None


def _tool(name: str) -> Optional[str]:
    # Also where a user's PATH does not lead.
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    return shutil.which(name, path=path)


def ip(commands: Iterable[str], namespace: Optional[str] = None) -> None:
    """Runs commands of iproute2 in one go, in a namespace."""
    text = "".join(f"{command}\n" for command in commands)
    if not text:
        return
    arguments = [_tool("ip") or "ip"]
    if namespace is not None:
        arguments += ["-n", namespace]
    done = subprocess.run(
        [*arguments, "-batch", "-"], input=text, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NodeError(
            errno.EIO,
            f"cannot set up the test network: '{' '.join(arguments)}' said: "
            f"{done.stderr.strip()}; if this system does not allow network namespaces, pass "
            "namespaces=False",
        )


def prefix(namespace: str) -> tuple[str, ...]:
    """What a command must begin with to run in the namespace."""
    return (_tool("nsenter") or "nsenter", f"--net={DIRECTORY / namespace}", "--")


def enter(namespace: str) -> None:
    """Moves the calling thread into the namespace, for good."""
    descriptor = os.open(DIRECTORY / namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if sys.version_info >= (3, 12):
            os.setns(descriptor, _CLONE_NEWNET)
            return
        library = ctypes.CDLL(None, use_errno=True)
        if library.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"cannot enter {namespace}: {os.strerror(number)}")
    finally:
        os.close(descriptor)


def inside(namespace: str, function: Callable[[], _T]) -> _T:
    """What *function* returns in the namespace: sockets that it makes there stay there."""
    results: list[_T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            enter(namespace)
            results.append(function())
        except BaseException as error:
            errors.append(error)

    # A thread has a namespace of its own, and this one ends in it.
    thread = threading.Thread(target=work, name=f"inside {namespace}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def quiet(interfaces: Iterable[str] = ()) -> None:
    """In the namespace: no IPv6 chatter, and whole frames with checksums on *interfaces*."""
    for which in ("all", "default"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6").write_text("1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for interface in interfaces:
            for offload in _OFFLOADS:
                value = array.array("I", (offload, 0))
                request = struct.pack("16sP16x", interface.encode(), value.buffer_info()[0])
                fcntl.ioctl(control.fileno(), _SIOCETHTOOL, request)


def packet_socket(interface: str) -> socket.socket:
    """In the namespace: a socket for all frames that come out of an interface."""
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        port.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        port.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        port.bind((interface, _ETH_P_ALL))
    except BaseException:
        port.close()
        raise
    return port


def _start_time(pid: int) -> Optional[int]:
    """When a process started, in the kernel's ticks; None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def name(serial: int, index: int) -> str:
    """The name of a namespace of this process."""
    pid = os.getpid()
    return f"{PREFIX}{pid}-{_start_time(pid)}-{serial}-{index}"


def remove(names: Iterable[str]) -> None:
    """Removes namespaces; those that are gone already are no error."""
    for each in names:
        if (DIRECTORY / each).exists():
            subprocess.run(
                [_tool("ip") or "ip", "netns", "delete", each], capture_output=True, check=False
            )


def stale() -> list[str]:
    """The namespaces of test networks whose process is gone."""
    try:
        names = os.listdir(DIRECTORY)
    except FileNotFoundError:
        return []
    found = []
    for each in names:
        parts = each[len(PREFIX) :].split("-")
        if not each.startswith(PREFIX) or len(parts) != 4 or not all(p.isdigit() for p in parts):
            continue
        if _start_time(int(parts[0])) != int(parts[1]):
            found.append(each)
    return found
