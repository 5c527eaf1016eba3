"""What the objects that a program closes have in common."""

from __future__ import annotations

import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Optional, Protocol

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Owned"]


class _Closable(Protocol):
    @property
    def closed(self) -> bool: ...

    def close(self) -> None: ...


class Owned:
    """Closed by a with-statement, missed when it was not closed, and never pickled."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self: _Closable,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle a {type(self).__name__}: it belongs to its process")

    def __del__(self: _Closable, _warn: Any = warnings.warn) -> None:
        # Nothing to say in a forked child: there the parent's objects are closed.
        if not self.closed:
            _warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            self.close()
