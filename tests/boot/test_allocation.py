"""The receive loop allocates nothing (DESIGN.md section 1.3), as the real MicroPython sees it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gapcast_core.receiver import COMPLETE
from gapcast_tools.upy import Micropython, compile_mpy

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TREES = [ROOT / "firmware" / "lib", ROOT / "boards" / "SIM"]


@pytest.fixture(scope="module")
def measured(micropython: Micropython, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tests/boot/upy_alloc.py found, with the client compiled as boards have it."""
    out = tmp_path_factory.mktemp("mpy")
    compiled = compile_mpy(TREES, out / "lib", micropython)
    assert not compiled.reason
    (out / "sim.json").write_text("{}")
    done = subprocess.run(
        [*micropython.argv, "-X", "heapsize=192k", str(HERE / "upy_alloc.py"), str(out)],
        env={**os.environ, "MICROPYPATH": f"{compiled.path}:.frozen"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


CASES = [
    "accept and stored, in order",
    "slot write",
    "ack",
    "master, in order",
    "master, in order, by mem_alloc",
    "listener with a loss every third block",
    "duplicates",
    "unicast reader",
    "clock",
    "frames",
    "report",
    "the rest of the proof",
    "blocks that break the proof",
]
BESIDE = [
    "listen, 60 frames",
    "hashed of 60",
    "listen and mend",
    "mended",
    "pairs fed",
    "hashed in the loop",
    "hashed",
    "broken",
]


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_allocated(measured: dict[str, Any], case: str) -> None:
    """0 bytes, with the heap locked: a MemoryError would have been an allocation."""
    assert measured[case] == 0


def test_the_hot_loop_of_a_transfer_allocates_nothing(measured: dict[str, Any]) -> None:
    """Session.listen itself, between two looks at the control port; each block is read back and hashed."""
    assert measured["listen, 60 frames"] == 0
    assert measured["hashed of 60"] == 59, "all but the header"


def test_a_session_that_mends_allocates_only_for_a_generation_and_the_view_of_a_report(
    measured: dict[str, Any],
) -> None:
    """MendedSession.listen over a whole file: frames, repair symbols, slices of solving, reports, hashing."""
    assert measured["listen and mend"] == 0
    end, solved, reports = measured["mended"]
    assert (end, solved) == (COMPLETE, 48)
    assert reports
    assert measured["pairs fed"] > 100
    assert measured["hashed in the loop"] > 100
    assert measured["hashed"] == [399, False]
    assert measured["broken"] is True


def test_every_case_was_measured(measured: dict[str, Any]) -> None:
    assert set(measured) == {*CASES, *BESIDE}
