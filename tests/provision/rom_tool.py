"""The real esptool, run against a simulated chip."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from gapcast_sim.chip.chip import SimChip

LIMIT_S = 60.0  # no test may wait longer for it
# It gives up sooner, by its own configuration: these chips lose no time on erasing.
QUICK = "[esptool]\nconnect_attempts = 2\ntimeout = 1\nerase_write_timeout_per_mb = 4\n"


@dataclass(frozen=True)
class Done:
    """What became of one run."""

    code: int
    text: str  # both outputs


def start(chip: SimChip, *arguments: object, baud: int = 921600) -> subprocess.Popen[str]:
    """Start it on the chip's port."""
    config = chip.folder / "esptool.cfg"
    config.write_text(QUICK)
    command = [sys.executable, "-m", "esptool", "--port", chip.port, "--baud", baud, *arguments]
    return subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "ESPTOOL_CFGFILE": str(config), "NO_COLOR": "1"},
    )


def end(process: subprocess.Popen[str]) -> Done:
    """Wait for it; a run that does not end is killed, and the test fails."""
    with process:
        try:
            text, _ = process.communicate(timeout=LIMIT_S)
        except BaseException:
            process.kill()
            raise
    return Done(process.returncode, text)


def run(chip: SimChip, *arguments: object, baud: int = 921600) -> Done:
    """Run it to its end, whatever that is."""
    return end(start(chip, *arguments, baud=baud))


def works(chip: SimChip, *arguments: object) -> str:
    """Run it; it must succeed. What it printed."""
    done = run(chip, *arguments)
    assert done.code == 0, done.text
    return done.text


def image(path: Path, size_bytes: int, seed: int = 1) -> Path:
    """A file that deflates to about 60 %, as firmware does."""
    rng = random.Random(seed)
    data = bytearray()
    while len(data) < size_bytes:
        data += rng.randbytes(600) + bytes(400)
    path.write_bytes(data[:size_bytes])
    return path
