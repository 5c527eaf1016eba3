"""Programs as bindings know them: full paths, base names as they are called by."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Union

from .errors import BindError, irm_error


def program_path(program: Union[str, os.PathLike[str]], *, must_be_there: bool = True) -> str:
    """The full path of a program: as given, or from the PATH if it has no /.

    Links in its directory are resolved; its own name stays as it is, since a program is known by
    the name that it is called by. One that others start need not be there: a process is known by
    the base name of its program, or by its module's name. Raises BindError.
    """
    given = os.fspath(program)
    candidates = [given]
    if os.sep not in given:
        directories = os.environ.get("PATH", os.defpath).split(os.pathsep)
        candidates = [os.path.join(directory, given) for directory in directories if directory]
    refused = None
    for path in candidates:
        if not os.path.isfile(path):
            continue
        if os.access(path, os.X_OK):
            return _full(path)
        refused = refused or path
    if not must_be_there:
        return _full(refused or given)
    if refused is not None:
        raise irm_error(
            BindError,
            errno.EPERM,
            f"cannot bind {given}: {refused} is not executable; 'chmod +x {refused}' mends that",
        )
    raise BindError(
        errno.ENOENT,
        f"cannot bind {given}: there is no such program; give its path, or put it on the PATH",
    )


def _full(path: str) -> str:
    directory, base = os.path.split(path)
    return str(Path(directory or os.curdir).resolve() / base)
