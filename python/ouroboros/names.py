"""Names for the length of a with-statement: registered with a layer, bound to who serves them.

>>> from ouroboros.names import bound, registered
>>> from ouroboros.dev import listen
>>> with registered("hello"), bound(os.getpid(), "hello"), listen() as listener:  # doctest: +SKIP
...     for flow in listener:
...         flow.close()

They ask the daemon that this process uses, and need the rights to manage it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Optional, Union

from . import _native
from ._program import program_path
from .errors import EIRMD, IrmError, OuroborosError

__all__ = ["bound", "registered"]

_SPILL: Final = 1


@contextlib.contextmanager
def registered(name: str, layer: str = "local") -> Iterator[str]:
    """Registers *name* with *layer*; at the end it is as before.

    The name is created if it is missing, and destroyed then. Yields the name.
    """
    irm = _native.Irm.current()
    members = [pid for pid, _type, _name, member_of in irm.list_ipcps() if member_of == layer]
    if not members:
        raise IrmError(
            EIRMD,
            f"cannot register {name!r}: this node is in no layer named {layer!r}; start one first, "
            f"for example with 'irm ipcp bootstrap type local name {layer} layer {layer}'",
        )
    with contextlib.ExitStack() as undo:
        if all(known != name for known, *_ in irm.list_names()):
            irm.create_name(name, _SPILL)
            undo.callback(_quietly, irm.destroy_name, name)
        for pid in members:
            irm.reg_name(name, pid)
            undo.callback(_quietly, irm.unreg_name, name, pid)
        yield name


@contextlib.contextmanager
def bound(
    prog_or_pid: Union[int, str, os.PathLike[str], None],
    name: str,
    *,
    args: Optional[Sequence[str]] = None,
) -> Iterator[str]:
    """Binds a process (its pid, None = this one) or a program (its path) to *name*; then unbinds.

    With *args* (may be empty) the daemon starts the program with them when a flow to the name finds
    nobody who accepts. Yields the name.
    """
    irm = _native.Irm.current()
    if prog_or_pid is None or isinstance(prog_or_pid, int):
        if args is not None:
            raise TypeError("bound() takes args with a program only, not with a process")
        pid = os.getpid() if prog_or_pid is None else prog_or_pid
        if pid == os.getpid():
            _native.announce()
        irm.bind_process(pid, name)
        try:
            yield name
        finally:
            _quietly(irm.unbind_process, pid, name)
        return
    path = os.fspath(prog_or_pid)
    started = args is not None
    irm.bind_program(program_path(path, must_be_there=started), name, started, list(args or []))
    try:
        yield name
    finally:
        _quietly(irm.unbind_program, os.path.basename(path), name)


def _quietly(undo: Callable[..., None], *arguments: object) -> None:
    """Undoes what may be undone already, by somebody else or by the end of the daemon."""
    with contextlib.suppress(OuroborosError):
        undo(*arguments)
