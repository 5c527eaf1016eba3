"""The private daemon under the name of its program, perhaps with a configuration file.

>>> from ouroboros.daemon import Irmd
>>> with Irmd("irmd.conf", runtime_dir="/tmp/my-node") as d:         # doctest: +SKIP
...     serve()
"""

from __future__ import annotations

import os
from typing import Optional, Union

from .node import Node

__all__ = ["Irmd"]


class Irmd(Node):
    """A Node that may be given a configuration file and a runtime directory.

    config
        A configuration file (the guide's page on it says what may be in it): what it says is set up
        when the with-statement begins. None = nothing.
    runtime_dir
        A directory that is kept; None = a temporary one.
    strict
        Whether the daemon ends, and NodeError is raised, when an entry of the file fails. If not,
        the other entries are carried out and the daemon's log says what failed.

    A file with mistakes raises NodeError, with their lines.

    The other arguments are those of Node.
    """

    def __init__(
        self,
        config: Union[str, os.PathLike[str], None] = None,
        runtime_dir: Union[str, os.PathLike[str], None] = None,
        *,
        strict: bool = True,
        security_dir: Union[str, os.PathLike[str], None] = None,
        log_level: Optional[str] = None,
        timeout: float = 20.0,
    ) -> None:
        super().__init__(
            runtime_dir=runtime_dir,
            security_dir=security_dir,
            log_level=log_level,
            timeout=timeout,
        )
        if config is not None:
            self._arguments = ("--config", os.fspath(config))
            if strict:
                self._arguments += ("--strict-config",)
            self._last_lines = 40
