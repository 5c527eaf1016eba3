"""Whole programs: the examples, the tools in Rust, and both together."""

import os
import re
import subprocess
import sys

import pytest
from conftest import EXAMPLES, PATIENCE

import ouroboros
from ouroboros.node import find_program

HELLO = "Hello, PyOuroboros!"


class Program:
    """A program whose output lines are awaited."""

    def __init__(self, *command):
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def lines(self, count):
        return [self.process.stdout.readline().rstrip("\n") for _ in range(count)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def run(*command):
    """Output of a program that must succeed."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def irm(words):
    return run(find_program("irm"), *words.split())


@pytest.fixture
def oecho():
    """A node with the name oecho, made with the documented commands."""
    with ouroboros.Node() as node:
        irm("i b t local n local l local")
        irm("n r oecho l local")
        yield node


def test_documented_programs(oecho):
    program = EXAMPLES / "oecho.py"
    irm(f"b prog {program} n oecho")
    with Program(sys.executable, program, "-l") as server:
        assert server.lines(1) == ["Starting the server."]
        for _ in range(3):
            assert run(sys.executable, program) == ""
            assert server.lines(2) == ["New flow.", f"Message from client is {HELLO}"]


def test_echoing_variant(oecho):
    program = EXAMPLES / "oecho_echo.py"
    irm(f"b prog {program} n oecho")
    with Program(sys.executable, program, "-l") as server:
        server.lines(1)
        assert run(sys.executable, program) == f"Server replied with {HELLO}\n"
        assert server.lines(2) == ["New flow.", f"Message from client is {HELLO}"]


def test_python_server_rust_client(oecho):
    program = EXAMPLES / "oecho_echo.py"
    irm(f"b prog {program} n oecho")
    with Program(sys.executable, program, "-l") as server:
        server.lines(1)
        assert "Server replied with Client says hi!" in run(find_program("oecho"))


def test_rust_server_python_client(oecho):
    server_program = find_program("oecho")
    irm(f"b prog {server_program} n oecho")
    with Program(server_program, "-l") as server:
        server.lines(1)
        out = run(sys.executable, EXAMPLES / "oecho_echo.py")
        assert out == f"Server replied with {HELLO}\n"
        assert server.lines(2)[1].startswith(f"Message from client is {HELLO}")


def test_both_kinds_of_server_at_once(oecho):
    python, rust = EXAMPLES / "oecho_echo.py", find_program("oecho")
    irm(f"b prog {python} n oecho")
    irm(f"b prog {rust} n oecho")
    with Program(sys.executable, python, "-l") as one:
        one.lines(1)
        with Program(rust, "-l") as other:
            other.lines(1)
            for _ in range(4):
                assert HELLO in run(sys.executable, python)
                assert "Client says hi!" in run(rust)
    # Whichever is left serves alone.
    with Program(rust, "-l") as other:
        other.lines(1)
        assert HELLO in run(sys.executable, python)


@pytest.mark.parametrize("size", [0, 1, 1_234_567])
def test_a_file_is_sent(oecho, tmp_path, size):
    program = EXAMPLES / "sendfile.py"
    irm("n r files l local")
    irm(f"b prog {program} n files")
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.write_bytes(os.urandom(size))
    with Program(sys.executable, program, "-l", copy) as receiver:
        # Known to the daemon, and bound.
        while oecho.status()["processes"] < 2:
            assert receiver.process.poll() is None
        assert run(sys.executable, program, original) == "arrived\n"
        assert receiver.lines(1) == [f"{size} bytes, encrypted with 256 bits"]
        receiver.process.wait(PATIENCE)
    assert copy.read_bytes() == original.read_bytes()


def test_program_that_the_daemon_starts(oecho):
    program = EXAMPLES / "oecho_echo.py"
    interpreter = sys.executable
    # The daemon runs the program itself, so its first line must name an interpreter that has the
    # package. The copy has a name of its own: the client must not count as bound.
    copy = oecho.dir / "started.py"
    copy.write_text(program.read_text().replace("#!/usr/bin/env python3", f"#!{interpreter}"))
    copy.chmod(0o755)
    oecho.bind("oecho", program=copy, args=["-l"])
    assert run(interpreter, program) == f"Server replied with {HELLO}\n"


def test_demo():
    out = run(sys.executable, "-m", "ouroboros.demo")
    for text in (
        "$ irm i b t local n local l local",
        "$ irm n r oecho l local",
        "$ irm b prog ./oecho.py n oecho",
        "$ ./oecho.py -l &",
        f"Message from client is {HELLO}",
        "Done.",
    ):
        assert text in out
    directory = re.search(r"runtime directory (\S+)\n", out).group(1)
    assert not os.path.exists(directory)
    assert not any(ord(letter) == 27 for letter in out)
