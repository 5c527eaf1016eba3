"""A demonstration: two programs talk over a local layer (``python -m ouroboros.demo``).

It starts a private node, types the commands of the documentation, runs the documented program as
server and client, and stops everything.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Optional

from .errors import OuroborosError
from .node import Node, find_program

__all__ = ["main"]

# The documented program, as in examples/oecho.py.
PROGRAM = """\
#!{python}
import argparse

from ouroboros.dev import *


def client():
    with flow_alloc("oecho") as f:
        f.writeline("Hello, PyOuroboros!")


def server():
    print("Starting the server.")
    while True:
        with flow_accept() as f:
            print("New flow.")
            line = f.readline()
            print("Message from client is " + line)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A simple echo client/server")
    parser.add_argument("-l", "--listen", help="run as a server", action="store_true")
    args = parser.parse_args()
    server() if args.listen is True else client()
"""

# How long any single step may take, seconds.
PATIENCE = 20.0


class Show:
    """Prints what happens, in colours on a terminal."""

    def __init__(self, delay: float) -> None:
        self.colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self.delay = delay

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.colour else text

    def title(self, text: str) -> None:
        """A headline."""
        print(self._paint("1", text), flush=True)

    def step(self, text: str) -> None:
        """What is done next, and why."""
        time.sleep(self.delay)
        print("\n" + self._paint("36", textwrap.fill(f"# {text}", 88, subsequent_indent="# ")))

    def command(self, text: str) -> None:
        """A command as a user would type it."""
        print(self._paint("1;32", "$ ") + self._paint("1", text), flush=True)

    def output(self, who: str, line: str) -> None:
        """A line that a program printed."""
        print(self._paint("33", f"{who:>8} │ ") + line.rstrip("\n"), flush=True)


class Program:
    """A running program whose output is shown as it comes."""

    def __init__(self, show: Show, who: str, command: list[str], directory: str) -> None:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=directory,
            env=environment,
        )
        self._show, self._who = show, who
        self._seen: list[str] = []
        self._news = threading.Condition()
        assert self._process.stdout is not None
        self._thread = threading.Thread(target=self._follow, args=(self._process.stdout,))
        self._thread.start()

    def _follow(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    self._show.output(self._who, line)
                    self._seen.append(line)
                    self._news.notify_all()

    def await_line(self, text: str) -> None:
        """Waits until the program has printed *text*."""
        with self._news:
            if not self._news.wait_for(lambda: any(text in line for line in self._seen), PATIENCE):
                raise RuntimeError(f"{self._who} did not print {text!r} within {PATIENCE} s")

    def finish(self) -> int:
        """Waits for the end of the program; its exit status."""
        status = self._process.wait(PATIENCE)
        self._thread.join()
        return status

    def stop(self) -> None:
        """Ends the program."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._thread.join()


def run(show: Show, program: str, arguments: str, directory: str) -> None:
    """Shows a command, runs it, shows its output."""
    show.command(f"{program} {arguments}")
    done = subprocess.run(
        [str(find_program(program)), *arguments.split()],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    for line in done.stdout.splitlines():
        show.output(program, line)
    if done.returncode != 0:
        raise RuntimeError(f"'{program} {arguments}' failed with exit status {done.returncode}")


@contextmanager
def workplace() -> Iterator[str]:
    """A directory with the documented program."""
    directory = tempfile.mkdtemp(prefix="o7s-demo-")
    try:
        path = Path(directory) / "oecho.py"
        path.write_text(PROGRAM.format(python=sys.executable))
        path.chmod(0o755)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def talk(show: Show, node: Node, directory: str) -> None:
    """The demonstration on a running node."""
    show.step("A layer for the programs of this machine: an IPC process of type local.")
    run(show, "irm", "i b t local n local l local", directory)

    show.step("A name in that layer, and the program that serves it.")
    run(show, "irm", "n r oecho l local", directory)
    run(show, "irm", "b prog ./oecho.py n oecho", directory)

    show.step("What the node has now.")
    run(show, "irm", "ipcp list", directory)
    run(show, "irm", "name list", directory)

    show.step("The documented server, in Python.")
    show.command("./oecho.py -l &")
    server = Program(show, "server", ["./oecho.py", "-l"], directory)
    try:
        server.await_line("Starting the server.")

        show.step(
            "The documented client allocates a flow to the name oecho, and writes one line. It "
            "knows no address, no port, and no machine."
        )
        show.command("./oecho.py")
        client = Program(show, "client", ["./oecho.py"], directory)
        if client.finish() != 0:
            raise RuntimeError("the client failed")
        server.await_line("Hello, PyOuroboros!")

        show.step("Once more, to see that the server is there for the next one.")
        show.command("./oecho.py")
        again = Program(show, "client", ["./oecho.py"], directory)
        if again.finish() != 0:
            raise RuntimeError("the client failed")
    finally:
        show.step("The end: the server stops …")
        show.command("kill %1")
        server.stop()
    status = node.status()
    show.output("irmd", f"flows open: {status['flows']}, layers: {status['ipcps']}")


def main(arguments: Optional[list[str]] = None) -> int:
    """Runs the demonstration; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ouroboros.demo", description=__doc__)
    parser.add_argument(
        "--delay",
        type=float,
        default=0.8 if sys.stdout.isatty() else 0.0,
        help="seconds to pause before each step (default: 0.8 on a terminal, else none)",
    )
    show = Show(max(0.0, parser.parse_args(arguments).delay))
    show.title("Ouroboros: two programs talk over a local layer")
    try:
        show.step(
            "The daemon, here a private one that needs no root and leaves nothing behind. "
            "For a lasting one: irmd"
        )
        show.command("irmd &")
        with Node() as node, workplace() as directory:
            show.output("irmd", f"ready, pid {node.pid}, runtime directory {node.dir}")
            talk(show, node, directory)
            show.step("… and the node with everything in it.")
            show.command("kill %irmd")
            left = node.dir
        gone = "is gone" if not left.exists() else "is STILL THERE"
        show.output("irmd", f"stopped; the runtime directory {gone}")
    except (OuroborosError, RuntimeError, subprocess.TimeoutExpired) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    show.title("\nDone.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
