"""Mistakes that people make: each message leads to the mend."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

import ouroboros
from ouroboros import aio
from ouroboros.dev import *
from ouroboros.names import bound


def test_a_flow_in_place_of_flows(pair: tuple[Flow, Flow]) -> None:
    client, server = pair
    client.write(b"kept")
    with pytest.raises(TypeError, match="write FlowSet"):
        FlowSet(server)  # type: ignore[arg-type]
    assert server.read() == b"kept"


@pytest.mark.parametrize(
    ("mistake", "mend"),
    [
        (lambda flow: flow.write("text"), "use writeline"),
        (lambda flow: flow.writeline(b"bytes"), "use write"),
        (lambda flow: flow.read_into(b"fixed"), "bytearray"),
        (lambda flow: flow.read("10"), "count must be an int"),
        (lambda flow: flow.set_flags("x"), "FlowProperties"),
    ],
)
def test_wrong_types(pair: tuple[Flow, Flow], mistake: Callable[[Any], object], mend: str) -> None:
    with pytest.raises((TypeError, BufferError), match=mend):
        mistake(pair[0])


@pytest.mark.parametrize(
    ("mistake", "mend"),
    [
        (lambda: flow_alloc("name", 5), "timeo=5"),  # type: ignore[arg-type]
        (lambda: flow_alloc(b"name"), "must be a str, not bytes"),  # type: ignore[arg-type]
        (lambda: flow_join(b"name"), "must be a str, not bytes"),  # type: ignore[arg-type]
        (lambda: flow_accept("name"), "takes no name"),  # type: ignore[arg-type]
        (lambda: asyncio.run(_start("name")), "must be callable, not str"),
    ],
)
def test_wrong_calls(mistake: Callable[[], object], mend: str) -> None:
    with pytest.raises(TypeError, match=mend):
        mistake()


async def _start(callback: Any) -> None:
    await aio.start_server(callback)


def test_with_in_place_of_async_with(node: ouroboros.Node) -> None:
    node.serve_name("name")

    async def main() -> None:
        server = await aio.start_server(lambda flow: flow.close())
        with pytest.raises(TypeError, match="async with"), server:
            pass
        async with server, await aio.open_flow("name") as flow:
            with pytest.raises(TypeError, match="async with"), flow:
                pass

    asyncio.run(main())


def test_programs_that_cannot_be_started(node: ouroboros.Node, tmp_path: pathlib.Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no program")
    with pytest.raises(TypeError, match="program="):
        node.bind("name", "server.py")  # type: ignore[arg-type]
    with pytest.raises(ouroboros.errors.IrmError, match="no such program"):
        node.bind("name", program="nosuch.py", args=[])
    with pytest.raises(ouroboros.errors.IrmError, match="chmod"):
        node.bind("name", program=text, args=[])
    missing = bound("nosuch.py", "name", args=[])
    with pytest.raises(ouroboros.errors.IrmError, match="no such program"), missing:
        pass
