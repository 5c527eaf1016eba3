"""The guide: every Python and console block of its pages runs, and prints what the page says.

A page is a program: its blocks run in order, in one namespace, in a process and a node of their
own. Marks, each an HTML comment on the line before a block:

<!-- not run: reason -->    the block is skipped
<!-- run if: expression --> the block is skipped unless the expression is true, here
<!-- file: name.py -->      the block becomes a file beside the page's other blocks

A ```text block is the output of the Python block before it. In expected output a line "…" stands
for any lines, and "…" within a line for any text.

    python test_guide.py PAGE [SECONDS]

runs one page; a command's output may take that long.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple, Optional

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide"
PAGES = sorted(page.name for page in GUIDE.glob("*.md"))

# Pages may skip this many blocks, all together.
MOST_SKIPPED = 8
# How long the output of a command may take, seconds.
PATIENCE = 30.0


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str
    #: Line number of its first line.
    line: int
    mark: str
    value: str


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    blocks = []
    mark, value = "", ""
    language: Optional[str] = None
    lines: list[str] = []
    first = 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if language is not None:
            if line == "```":
                text = "".join(f"{one}\n" for one in lines)
                blocks.append(Block(language, text, first, mark, value))
                language, mark, value = None, "", ""
            else:
                lines.append(line)
        elif line.startswith("```"):
            language, lines, first = line[3:].strip(), [], number + 1
        elif found := re.fullmatch(r"<!-- (not run|run if|file): (.+) -->", line):
            mark, value = found.groups()
        elif line:
            mark, value = "", ""
    assert language is None, f"{page.name}: the block at line {first} has no end"
    return blocks


def agrees(expected: str, seen: str) -> bool:
    """Whether output is as the page says."""
    pattern = ""
    for line in expected.splitlines():
        if line == "…":
            pattern += r"(?:.*\n)*"
        else:
            pattern += ".*".join(map(re.escape, line.rstrip().split("…"))) + r"[ ]*\n"
    return re.fullmatch(pattern, seen) is not None


class Shell:
    """Runs the commands of console blocks, all in one shell."""

    END = "end-of-command-"

    def __init__(self, directory: str, patience: float) -> None:
        self.patience = patience
        self.process = subprocess.Popen(
            ["bash", "--norc"],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            # With its background jobs a process group, to end them all.
            start_new_session=True,
        )
        self.output = ""
        self.news = threading.Condition()
        self.reader = threading.Thread(target=self._follow)
        self.reader.start()

    def _follow(self) -> None:
        assert self.process.stdout is not None
        with io.TextIOWrapper(self.process.stdout, encoding="utf-8") as lines:
            for line in lines:
                with self.news:
                    self.output += line
                    self.news.notify_all()

    def run(self, command: str, expected: str) -> None:
        """Runs a command, which must succeed and print what is expected."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\necho {self.END}$?\n".encode())
        self.process.stdin.flush()
        status: Optional[int] = None
        deadline = time.monotonic() + self.patience
        with self.news:
            while True:
                # Background programs print when they like: before or after the mark.
                if status is None and (
                    found := re.search(rf"^{self.END}(\d+)\n", self.output, re.MULTILINE)
                ):
                    status = int(found[1])
                    self.output = self.output.replace(found[0], "", 1)
                if status and "exit status" not in expected:
                    raise AssertionError(f"$ {command}\n{self.output}exit status {status}")
                if status is not None and (not expected or agrees(expected, self.output)):
                    self.output = ""
                    return
                if not self.news.wait(deadline - time.monotonic()):
                    raise AssertionError(f"$ {command}\nprinted\n{self.output}and not\n{expected}")

    def close(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        self.reader.join()


def run_console(shell: Shell, block: Block) -> None:
    """Runs the lines that begin with '$ '; the lines after each are what it prints."""
    commands: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], ""))
        else:
            command, expected = commands.pop()
            commands.append((command, f"{expected}{line}\n"))
    for command, expected in commands:
        shell.run(re.sub(r"\s+#.*", "", command), expected)


def run_page(page: Path, patience: float = PATIENCE) -> str:
    """Runs the blocks of a page; says how many."""
    import ouroboros

    count = {"python": 0, "console": 0, "file": 0, "not run": 0}
    namespace: dict[str, object] = {"__name__": "__main__"}
    printed: Optional[str] = None
    # As after 'source venv/bin/activate'; also for programs that the daemon starts.
    os.environ["PATH"] = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory(prefix="o7s-guide-") as directory, ouroboros.Node():
        os.chdir(directory)
        shell = Shell(directory, patience)
        try:
            for block in blocks_of(page):
                skipped = block.mark == "not run" or (
                    block.mark == "run if" and not eval(block.value, namespace)
                )
                if block.language != "text":
                    printed = None
                if skipped:
                    count["not run"] += 1
                elif block.mark == "file":
                    Path(block.value).write_text(block.text, encoding="utf-8")
                    count["file"] += 1
                elif block.language == "python":
                    # Tracebacks show lines of the page.
                    source = "\n" * (block.line - 1) + block.text
                    code = compile(source, str(page), "exec")
                    with contextlib.redirect_stdout(io.StringIO()) as output:
                        exec(code, namespace)
                    printed = output.getvalue()
                    count["python"] += 1
                elif block.language == "console":
                    run_console(shell, block)
                    count["console"] += 1
                elif block.language == "text" and printed is not None:
                    assert agrees(block.text, printed), (
                        f"{page.name}, line {block.line}: printed\n{printed}and not\n{block.text}"
                    )
                    printed = None
        finally:
            shell.close()
            os.chdir("/")
    return ", ".join(f"{what} {number}" for what, number in count.items())


if __name__ == "__main__":
    print(run_page(Path(sys.argv[1]).resolve(), *map(float, sys.argv[2:])))
    sys.exit()


import pytest  # noqa: E402


@pytest.mark.parametrize("page", PAGES)
def test_page(page, child):
    program = child(
        "import runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')",
        __file__,
        str(GUIDE / page),
        env={"PYTHONWARNINGS": "error"},
    )
    out = program.finish()
    assert re.fullmatch(r"python \d+, console \d+, file \d+, not run \d+\n", out), out


def test_few_blocks_are_skipped():
    blocks = [block for page in PAGES for block in blocks_of(GUIDE / page)]
    assert sum(block.language == "python" for block in blocks) > 30
    assert sum(block.mark == "not run" for block in blocks) <= MOST_SKIPPED


def test_links_lead_somewhere():
    assert "README.md" in PAGES
    for page in PAGES:
        text = (GUIDE / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (GUIDE / target).exists(), f"{page} links to {target}"


def test_expected_output_is_compared():
    assert agrees("a\n", "a\n")
    assert agrees("a … c\n…\nz\n", "a b c\n1\n2\nz\n")
    assert not agrees("a\n", "b\n")
    assert not agrees("a\n", "a\nb\n")


@pytest.mark.parametrize(
    "body",
    [
        "```python\nraise KeyError\n```\n",
        "```python\nprint(1)\n```\n\n```text\n2\n```\n",
        "```console\n$ false\n```\n",
        "```console\n$ echo 1\n2\n```\n",
        "```python\n",
    ],
)
def test_a_wrong_page_fails(tmp_path, body):
    page = tmp_path / "page.md"
    page.write_text(body)
    done = subprocess.run(
        [sys.executable, __file__, str(page), "0.1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert re.search(r"KeyError|Assertion", done.stdout), done.stdout
