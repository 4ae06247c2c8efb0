"""Commands as a person runs them, and a real server for single boards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gapcast_sim.server import free_port

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("server", "tools", "firmware/lib")),
}
SECONDS = 60


def gapcast(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command `gapcast`."""
    return subprocess.run(
        [sys.executable, "-m", "gapcast", *map(str, arguments)],
        env=ENVIRONMENT,
        cwd=cwd or tempfile.gettempdir(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@contextmanager
def serving(root: Path, *options: str) -> Iterator[int]:
    """`gapcast serve` of `root`; its port."""
    port = free_port("127.0.0.1")
    command = [sys.executable, "-m", "gapcast", "serve", str(root), "--listen", "127.0.0.1"]
    command += ["--port", str(port), "--json", *options]
    state = tempfile.TemporaryDirectory()  # where reports are kept unless the options say otherwise
    environment = {**ENVIRONMENT, "XDG_STATE_HOME": state.name}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        deadline = time.monotonic() + SECONDS
        while json.loads(process.stdout.readline())["event"] != "listening":
            assert time.monotonic() < deadline
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)
        state.cleanup()


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The error of a command that failed: one line, no traceback, not exit code 0."""
    assert done.returncode in (1, 2), done
    assert "Traceback" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    return lines[0]


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
