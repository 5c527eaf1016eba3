"""The private daemon under the name of its program.

>>> from ouroboros.daemon import Irmd
>>> with Irmd(runtime_dir="/tmp/my-node") as d:         # doctest: +SKIP
...     d.serve_name("oecho")
"""

from __future__ import annotations

import errno
import os
from typing import Optional, Union

from .errors import NodeError
from .node import Node

__all__ = ["Irmd"]


class Irmd(Node):
    """A Node that may be given a runtime directory, and in time a configuration file.

    config
        None: configuration files are not available yet.
    runtime_dir
        A directory that is kept; None = a temporary one.

    The other arguments are those of Node.
    """

    def __init__(
        self,
        config: Union[str, os.PathLike[str], None] = None,
        runtime_dir: Union[str, os.PathLike[str], None] = None,
        *,
        security_dir: Union[str, os.PathLike[str], None] = None,
        log_level: Optional[str] = None,
        timeout: float = 20.0,
    ) -> None:
        if config is not None:
            raise NodeError(
                errno.ENOTSUP,
                f"cannot start an irmd with {os.fspath(config)!r}: configuration files are not "
                "available yet; set the node up with local_layer(), register() and bind()",
            )
        super().__init__(
            runtime_dir=runtime_dir,
            security_dir=security_dir,
            log_level=log_level,
            timeout=timeout,
        )
