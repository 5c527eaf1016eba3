"""Builds the reference of the Python package, as HTML, from its docstrings.

    python docs/reference/build.py [DIRECTORY]

The directory is build/reference unless given. Needs the installed package, and pdoc
(pip install pdoc typing_extensions) under Python 3.10 or later. Any warning is an error.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
import types
import typing
import warnings
from pathlib import Path
from typing import Any

import pdoc
import pdoc.docstrings
import pdoc.render

import ouroboros
from ouroboros import _native

TOP = Path(__file__).resolve().parents[2]


def modules() -> list[str]:
    """The public modules, in the order of the contents."""
    found = [ouroboros.__name__]
    for module in pkgutil.walk_packages(ouroboros.__path__, f"{ouroboros.__name__}."):
        if not any(part.startswith("_") for part in module.name.split(".")):
            found.append(module.name)
    return found


def stubs() -> dict[str, object]:
    """The classes of the extension module as its stub file declares them, with types."""
    source = Path(ouroboros.__file__).with_name("_native.pyi")
    module = types.ModuleType(_native.__name__)
    sys_module, sys.modules[_native.__name__] = sys.modules[_native.__name__], module
    try:
        code = "from __future__ import annotations\n" + source.read_text(encoding="utf-8")
        exec(compile(code, str(source), "exec"), vars(module))
    finally:
        sys.modules[_native.__name__] = sys_module
    return vars(module)


def adopt_native_methods(declared: dict[str, object]) -> None:
    """Gives the Python classes the methods that they have from the extension module.

    Readers know one class Flow. Without this its reference would lack read() and write().
    """
    for name in modules():
        for owner in list(vars(importlib.import_module(name)).values()):
            if not (inspect.isclass(owner) and owner.__module__ == name):
                continue
            for base in owner.__bases__:
                if base.__module__ != _native.__name__:
                    continue
                stub = vars(declared[base.__name__])  # type: ignore[arg-type]
                for method, native in vars(base).items():
                    if method.startswith("_") or method in vars(owner):
                        continue
                    if method not in stub:
                        continue
                    typed = stub[method]
                    function = typed.fget if isinstance(typed, property) else typed
                    function.__annotations__ = typing.get_type_hints(function, declared)
                    function.__doc__ = native.__doc__
                    function.__module__ = name
                    function.__qualname__ = f"{owner.__name__}.{method}"
                    setattr(owner, method, property(function) if function is not typed else typed)


def as_markdown(text: str) -> str:
    """A docstring of this package as Markdown: lists of terms, and interpreter sessions."""
    text = inspect.cleandoc(text)
    # A term on a line, its explanation indented below.
    text = re.sub(
        r"^(?!>>>|[ .])([^\n]*\S)\n((?: {4}[^\n]*\n?)+)",
        lambda m: f"- **{m[1]}**: " + re.sub(r"\s*\n\s*", " ", m[2]).strip() + "\n",
        text,
        flags=re.MULTILINE,
    )
    # Interpreter sessions are code.
    return re.sub(
        r"^(>>> [^\n]*(?:\n(?:>>>|\.\.\.)[^\n]*)*)",
        lambda m: "```pycon\n" + re.sub(r" +# doctest: [^\n]*", "", m[1]) + "\n```",
        text,
        flags=re.MULTILINE,
    )


def name_types(stub: dict[str, object]) -> None:
    """Gives each module the names that its type hints use but that it imports for checkers only."""
    public: dict[str, Any] = {
        name: thing
        for module in reversed(modules())
        for name, thing in vars(importlib.import_module(module)).items()
        if inspect.isclass(thing) and not name.startswith("_")
    }
    for name in ("Buffer", "Self"):
        public[name] = stub[name]
    for module in [each for name, each in sys.modules.items() if name.startswith("ouroboros")]:
        for name, thing in public.items():
            vars(module).setdefault(name, thing)
    # A package whose parts are private shows their functions, with the names that those use.
    for name, part in list(sys.modules.items()):
        package, _, last = name.rpartition(".")
        if package.startswith("ouroboros.") and last.startswith("_"):
            for known, thing in vars(part).items():
                vars(sys.modules[package]).setdefault(known, thing)
    for thing in public.values():
        if hasattr(thing, "_fields") and inspect.isfunction(thing.__new__):
            # The constructor of a named tuple belongs to no module.
            thing.__new__.__annotations__ = typing.get_type_hints(thing)


def main() -> int:
    """Writes the pages and says where."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else TOP / "build" / "reference"
    declared = stubs()
    adopt_native_methods(declared)
    name_types(declared)
    convert = pdoc.docstrings.convert
    pdoc.docstrings.convert = lambda text, form, source: convert(as_markdown(text), form, source)
    pdoc.render.configure(
        docformat="markdown",
        footer_text=f"Ouroboros {ouroboros.__version__}",
        show_source=False,
        search=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pdoc.pdoc(*modules(), output_directory=directory)
    print(f"{directory / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
