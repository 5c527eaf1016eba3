"""Exceptions. All are OSErrors: ``errno`` is the number, ``strerror`` says what to do.

Numbers from 1000 are Ouroboros' own; ``ERRNO_NAMES`` has their names.
"""

from __future__ import annotations

import errno as _errno
from typing import Optional

__all__ = [
    "EAUTH",
    "ECRYPT",
    "EFLOWDOWN",
    "EFLOWPEER",
    "EIPCP",
    "EIPCPSTATE",
    "EIPCPTYPE",
    "EIRMD",
    "ENAME",
    "ENOTALLOC",
    "ERRNO_NAMES",
    "BindError",
    "DaemonError",
    "FlowAllocTimeout",
    "FlowAllocatedException",
    "FlowAuthError",
    "FlowCryptError",
    "FlowDeallocWarning",
    "FlowDownException",
    "FlowEOFError",
    "FlowEventError",
    "FlowEventTimeout",
    "FlowException",
    "FlowIntegrityError",
    "FlowMemoryError",
    "FlowNameError",
    "FlowNotAllocatedException",
    "FlowNotSupportedError",
    "FlowPeerException",
    "FlowPermissionException",
    "FlowSecurityError",
    "FlowTimeout",
    "FlowValueError",
    "FlowWouldBlock",
    "IpcpBootstrapError",
    "IpcpConnectError",
    "IpcpCreateError",
    "IpcpEnrollError",
    "IrmError",
    "IrmNameError",
    "NodeError",
    "OuroborosError",
]

ENOTALLOC = 1000
EIPCPTYPE = 1001
EIRMD = 1002
EIPCP = 1003
EIPCPSTATE = 1004
EFLOWDOWN = 1005
EFLOWPEER = 1006
ENAME = 1007
ECRYPT = 1008
EAUTH = 1009

#: Names of the numbers that the operating system does not know.
ERRNO_NAMES = {
    ENOTALLOC: "ENOTALLOC",
    EIPCPTYPE: "EIPCPTYPE",
    EIRMD: "EIRMD",
    EIPCP: "EIPCP",
    EIPCPSTATE: "EIPCPSTATE",
    EFLOWDOWN: "EFLOWDOWN",
    EFLOWPEER: "EFLOWPEER",
    ENAME: "ENAME",
    ECRYPT: "ECRYPT",
    EAUTH: "EAUTH",
}


class OuroborosError(OSError):
    """Base of all exceptions of this package."""


class FlowException(OuroborosError):
    """A flow could not be allocated, or a call on it failed."""


class FlowAllocatedException(OuroborosError):
    """The Flow object is allocated already (EISCONN)."""


class FlowNotAllocatedException(OuroborosError):
    """The flow is not allocated (ENOTALLOC), or not yet (EINPROGRESS)."""


class FlowDownException(OuroborosError, ConnectionError):
    """The flow is down: the other end deallocated it, or it was taken down (EFLOWDOWN)."""


class FlowPeerException(FlowDownException):
    """The program at the other end died or is silent (EFLOWPEER)."""


class FlowIntegrityError(FlowDownException):
    """The other end sent what it cannot have encrypted with the key of the flow (EBADMSG)."""


class FlowEOFError(FlowDownException, EOFError):
    """What recv_bytes() raises when the other end has deallocated the flow (EFLOWDOWN)."""


class FlowPermissionException(OuroborosError, PermissionError):
    """The flow, or the daemon, does not allow it (EPERM)."""


class FlowTimeout(OuroborosError, TimeoutError):
    """A time limit passed (ETIMEDOUT)."""


class FlowAllocTimeout(FlowException, FlowTimeout):
    """Nobody answered within the daemon's limit for allocations."""


class FlowWouldBlock(OuroborosError, BlockingIOError):
    """The flow does not wait, and the call would have to (EAGAIN)."""


class FlowValueError(OuroborosError, ValueError):
    """An argument is not valid (EINVAL)."""


class FlowMemoryError(OuroborosError, MemoryError):
    """No memory, or a table is full (ENOMEM)."""


class FlowNameError(FlowException):
    """The name is not known (ENAME)."""


class FlowSecurityError(FlowException):
    """The flow could not be protected as asked.

    With errno EBADF a security file of this end is wrong, and nothing was sent. Else it is one of
    the two subclasses.
    """


class FlowCryptError(FlowSecurityError):
    """Encryption could not be had as asked, or the server's answer proves nothing (ECRYPT)."""


class FlowAuthError(FlowSecurityError):
    """The server could not prove who it is, or does not believe who the client is (EAUTH)."""


class FlowNotSupportedError(FlowException):
    """What was asked is not available (ENOTSUP)."""


class DaemonError(FlowException, ConnectionError):
    """No contact with the irmd (EIRMD)."""


class FlowEventError(OuroborosError):
    """A flow set or an event queue could not do it; also: no event is left."""


class FlowEventTimeout(FlowEventError, FlowTimeout):
    """No event within the time limit."""


class FlowDeallocWarning(OuroborosError, Warning):
    """Raised by ``Flow.dealloc()`` when there was nothing to deallocate, or telling it failed.

    The Flow is unallocated in every case. ``Flow.close()`` does the same in silence.
    """


class IrmError(OuroborosError):
    """A management call failed.

    Where another exception says it too, the error is of that class as well: without a daemon it is
    also a DaemonError, for an argument that is not valid also a ValueError (FlowValueError), for a
    refusal also a PermissionError, after a time limit also a TimeoutError.
    """


class IpcpCreateError(IrmError):
    """An IPCP could not be created."""


class IpcpBootstrapError(IrmError):
    """A layer could not be started."""


class IpcpEnrollError(IrmError):
    """An IPCP could not be enrolled in a layer."""


class IpcpConnectError(IrmError):
    """An IPCP could not be connected to a neighbour, or disconnected."""


class IrmNameError(IrmError):
    """A name could not be created, destroyed, registered or unregistered."""


class BindError(IrmError):
    """A program or process could not be bound to a name, or unbound."""


class NodeError(OuroborosError):
    """The embedded node could not be started."""


# Exception classes by number, whatever was being done.
_BY_ERRNO: dict[int, type[OuroborosError]] = {
    _errno.EPERM: FlowPermissionException,
    _errno.EACCES: FlowPermissionException,
    _errno.EAGAIN: FlowWouldBlock,
    _errno.ENOMEM: FlowMemoryError,
    _errno.EINVAL: FlowValueError,
    _errno.EBADMSG: FlowIntegrityError,
    _errno.EBADF: FlowNotAllocatedException,
    _errno.EINPROGRESS: FlowNotAllocatedException,
    _errno.EISCONN: FlowAllocatedException,
    _errno.ENOTSUP: FlowNotSupportedError,
    _errno.ETIMEDOUT: FlowTimeout,
    ENOTALLOC: FlowNotAllocatedException,
    EIRMD: DaemonError,
    EFLOWDOWN: FlowDownException,
    EFLOWPEER: FlowPeerException,
    ENAME: FlowNameError,
    ECRYPT: FlowCryptError,
    EAUTH: FlowAuthError,
}

# What differs with what was being done; the last column holds for all other numbers.
_BY_DOING: dict[str, tuple[dict[int, type[OuroborosError]], Optional[type[OuroborosError]]]] = {
    "alloc": ({_errno.EBADF: FlowSecurityError}, None),
    "alloc-unlimited": (
        {_errno.ETIMEDOUT: FlowAllocTimeout, _errno.EBADF: FlowSecurityError},
        None,
    ),
    "io": ({}, None),
    "set": ({EIRMD: DaemonError}, FlowEventError),
    "wait": (
        {_errno.ETIMEDOUT: FlowEventTimeout, _errno.EINVAL: FlowValueError, EIRMD: DaemonError},
        FlowEventError,
    ),
}

# Management calls: the class of each kind of call.
_MANAGEMENT: dict[str, type[IrmError]] = {
    "manage": IrmError,
    "create": IpcpCreateError,
    "bootstrap": IpcpBootstrapError,
    "enroll": IpcpEnrollError,
    "connect": IpcpConnectError,
    "name": IrmNameError,
    "bind": BindError,
}

# What a management error is as well.
_ALSO: dict[int, type[OuroborosError]] = {
    EIRMD: DaemonError,
    _errno.EINVAL: FlowValueError,
    _errno.EPERM: FlowPermissionException,
    _errno.EACCES: FlowPermissionException,
    _errno.ETIMEDOUT: FlowTimeout,
}

_combined: dict[tuple[type[IrmError], type[OuroborosError]], type[IrmError]] = {}


def error_for(number: int, message: str, doing: str) -> OuroborosError:
    """The exception for an error number of the library. *doing* says what was being done."""
    management = _MANAGEMENT.get(doing)
    if management is not None:
        return irm_error(management, number, message)
    special, fallback = _BY_DOING[doing]
    kind = special.get(number)
    if kind is None:
        kind = fallback or _BY_ERRNO.get(number, FlowException)
    return kind(number, message)


def irm_error(kind: type[IrmError], number: int, message: str) -> IrmError:
    """A management error, which is of the class that the number has elsewhere as well."""
    also = _ALSO.get(number)
    if also is None:
        return kind(number, message)
    both = _combined.get((kind, also))
    if both is None:
        # Pickled by the parts: the class has no name of its own.
        def reduce(self: IrmError) -> tuple[object, ...]:
            return irm_error, (kind, self.errno, self.strerror)

        body = {"__doc__": kind.__doc__, "__module__": kind.__module__, "__reduce__": reduce}
        both = type(kind.__name__, (kind, also), body)
        _combined[kind, also] = both
    return both(number, message)
