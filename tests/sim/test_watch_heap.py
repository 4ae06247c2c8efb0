"""What watching for images costs a board's heap, in the real MicroPython."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from boot_world import CHIP
from sim_help import serving

from gapcast.image.sample import build_sample
from gapcast_sim.provision import BoardSpec, prepare
from gapcast_sim.runtime import Runtime

SCRIPT = Path(__file__).with_name("upy_watch.py")
SECONDS = 60
HEAP = "112k"
# Beside asyncio itself; 5,056 bytes were measured with MicroPython 1.25 for i386, the code in ROM.
MAX_STARTED_BYTES = 7_000
MAX_KEPT_BYTES = 256  # between two moments: what happens to lie in one's hands


@pytest.fixture(scope="module")
def measured(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if runtime.rom is None:
        pytest.skip("this MicroPython has no code in ROM")
    folder = tmp_path_factory.mktemp("board")
    root = tmp_path_factory.mktemp("root")
    with serving(root) as port:
        spec = BoardSpec("b1", folder, "127.0.0.1", port, "lab", "127.0.0.1", allow_unsigned=True)
        prepare(spec, build_sample(8192, "1.0.0", CHIP))
        code = "import sys; import sim_rom; "
        code += f"sys.argv.extend([{str(folder)!r}, '{port}']); exec(open({str(SCRIPT)!r}).read())"
        done = subprocess.run(
            [*runtime.argv, "-X", f"heapsize={HEAP}", "-c", code, str(runtime.rom)],
            env={**os.environ, **runtime.environment},
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(found)
    return found


def test_a_poll_at_which_nothing_happens_allocates_nothing(measured: dict[str, Any]) -> None:
    assert measured["polls"] == 0


def test_watching_is_small(measured: dict[str, Any]) -> None:
    assert measured["started"] < MAX_STARTED_BYTES


def test_questions_and_announcements_leave_nothing_behind(measured: dict[str, Any]) -> None:
    assert measured["asked"] - measured["started"] < 1500  # names, and what is imported for it
    assert measured["flood"] < MAX_KEPT_BYTES
    assert measured["counts"]["announcements"] >= 700
    assert measured["counts"]["questions"] > 4
    assert measured["counts"]["errors"] == 0
