"""The tests of the shared core once more, under MicroPython: from source, and compiled to .mpy."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gapcast_tools.upy import Micropython, compile_mpy

TESTS = Path(__file__).parent
LIB = TESTS.parent / "firmware" / "lib"
HEAP = "64m"  # the tests hold whole images; what fits into a board's heap is tested elsewhere
SECONDS = 100


@pytest.mark.parametrize("form", ["source", "mpy"])
def test_the_shared_core_passes_its_tests_under_micropython(
    form: str, micropython: Micropython, tmp_path: Path
) -> None:
    lib = LIB
    if form == "mpy":
        compiled = compile_mpy([LIB], tmp_path, micropython)
        assert not compiled.reason
        lib = compiled.path
    command = [*micropython.argv, "-X", f"heapsize={HEAP}", str(TESTS / "upy" / "run.py"), "--lib", str(lib)]
    done = subprocess.run(
        command, timeout=SECONDS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        pytest.fail(f"exit code {done.returncode}\n{done.stdout}", pytrace=False)
