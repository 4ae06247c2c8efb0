"""One serial port for both real tools: esptool writes a bare chip, and mpremote finds MicroPython on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gapcast.image.boards import CHIPS
from gapcast.image.sample import build_sample
from gapcast_sim.chip.program import MicroPythonProgram
from gapcast_tools.upy import Micropython
from provision.repl_flash import make_flash

SECONDS = 60
MAC = "240ac4123456"


def run(*words: object) -> str:
    """A tool that must succeed; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done
    return done.stdout


@pytest.mark.parametrize(("kind", "loader_at"), [("esp32", 0x1000), ("esp32c3", 0)])
def test_from_bare_to_a_file_on_the_chip(
    tmp_path: Path, micropython: Micropython, kind: str, loader_at: int
) -> None:
    chips = pytest.importorskip("gapcast_sim.chip.chip")
    app = build_sample(40000, "1.0.0", CHIPS[kind], source="def main(board):\n    pass\n")
    merged = tmp_path / "merged.bin"
    merged.write_bytes(make_flash(tmp_path / "made", chip=kind, app=app).read_bytes()[loader_at:0x20000])
    folder = tmp_path / "chip"
    program = MicroPythonProgram(folder, kind, MAC)
    with chips.SimChip(folder, kind, mac=MAC, program=program, pacing=False) as chip:
        flash = ["esptool", "--chip", kind, "--port", chip.port, "--baud", 921600]
        port = ["mpremote", "connect", chip.port]
        assert "24:0a:c4:12:34:56" in run(*flash, "read-mac").lower()
        run(*flash, "write-flash", hex(loader_at), merged)
        who = run(*port, "eval", "__import__('machine').unique_id().hex()")
        assert who.strip() == MAC
        run(*port, "exec", "with open('note.txt', 'w') as file: file.write('kept')")
        # esptool gets into the loader while MicroPython runs, and out again
        run(*flash, "write-flash", hex(loader_at), merged)
        assert run(*port, "fs", "cat", ":note.txt") == "kept"
        run(*flash, "erase-flash")
        run(*flash, "write-flash", hex(loader_at), merged)
        assert "note.txt" not in run(*port, "fs", "ls", ":")
