"""The reference is built from the docstrings, without a warning."""

import subprocess
import sys
from pathlib import Path

import pytest

BUILD = Path(__file__).resolve().parents[2] / "docs" / "reference" / "build.py"


@pytest.mark.skipif(sys.version_info < (3, 10), reason="pdoc reads the type hints from 3.10 on")
def test_reference(tmp_path):
    pytest.importorskip("pdoc", reason="needs pdoc: pip install pdoc")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(BUILD), str(tmp_path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout == f"{tmp_path / 'index.html'}\n"
    flows = (tmp_path / "ouroboros" / "dev.html").read_text()
    for name in ("Flow.alloc", "Flow.read", "Flow.write", "Flow.max_packet", "flow_accept"):
        assert f'id="{name}"' in flows
    assert "after a read that was filled exactly" in flows
    for module in ("aio", "cli", "errors", "event", "irm", "node", "qos", "testbed"):
        assert (tmp_path / "ouroboros" / f"{module}.html").exists()
