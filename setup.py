"""Builds the extension module and the programs; all else is in pyproject.toml."""

from setuptools import setup
from setuptools_rust import Binding, RustBin, RustExtension, Strip


def program(name: str, crate: str) -> RustBin:
    """A program that is installed beside the Python interpreter."""
    return RustBin(
        name,
        path=f"crates/{crate}/Cargo.toml",
        args=["--bin", name],
        cargo_manifest_args=["--locked"],
        debug=False,
        strip=Strip.Debug,
    )


setup(
    rust_extensions=[
        RustExtension(
            "ouroboros._native",
            path="crates/python/Cargo.toml",
            binding=Binding.PyO3,
            cargo_manifest_args=["--locked"],
            py_limited_api=True,
            debug=False,
            strip=Strip.Debug,
        ),
        program("irmd", "irmd"),
        program("ipcpd", "ipcpd"),
        program("irm", "tools"),
        program("oecho", "tools"),
        program("oping", "tools"),
        program("operf", "tools"),
        program("ocbr", "tools"),
        program("obc", "tools"),
        program("ovpn", "tools"),
        program("o7s-relay", "relay"),
    ],
)
