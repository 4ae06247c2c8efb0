"""What simulated boards run in: a real MicroPython, or CPython when none can be had."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from gapcast.errors import OperatorError
from gapcast_sim.events import printable
from gapcast_tools import upy, upy_rom

FIRMWARE_PARTS = ("firmware/lib", "boards/SIM")
TRY_SECONDS = 10


@dataclass(frozen=True)
class Heaps:
    """Bytes of MicroPython's heap on a board."""

    default: int
    least: int


# The least is what all of 8 boards took a signed 1.5 MiB image with, at 10 % loss, with and without a power
# cut: by trial in steps of 8 KiB, 3 seeds, with MicroPython 1.25 for i386. With 8 KiB less a buffer of 4 KiB
# found no room in one piece on some. Data of the modules that play the hardware is in these heaps too.
# 112 KiB are an ESP32 without PSRAM, and there is room for 20 repair symbols; in 96 KiB for none.
CODE_IN_ROM = Heaps(112 * 1024, 88 * 1024)
CODE_IN_HEAP = Heaps(192 * 1024, 168 * 1024)
ARCHS_32_BIT = ("i386", "arm")  # as a board; elsewhere an object takes twice the room


@dataclass(frozen=True)
class Runtime:
    """How to start one board's process."""

    name: str  # for people: "MicroPython 1.25.0 (i386)"
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    is_micropython: bool = True
    rom: Path | None = None  # image of the firmware; without one its code is loaded into the heap
    is_64_bit: bool = False

    @property
    def heaps(self) -> Heaps:
        """What boards have, and need at least, in this runtime."""
        heaps = CODE_IN_HEAP if self.is_micropython and self.rom is None else CODE_IN_ROM
        return Heaps(2 * heaps.default, 2 * heaps.least) if self.is_64_bit else heaps

    def command(self, folder: Path, heap_bytes: int | None) -> list[str]:
        """The command line that switches on the board in `folder`; None is the default heap."""
        heap = ["-X", f"heapsize={heap_bytes or self.heaps.default}"] if self.is_micropython else []
        start = ["-m", "sim_rom", str(self.rom)] if self.rom else ["-m", "sim_main"]
        return [*self.argv, *heap, *start, str(folder)]


class NoRomError(Exception):
    """This MicroPython runs nothing from ROM; the message says why."""


def source_trees() -> list[Path]:
    """The import roots a board has in its firmware: from the checkout, or from the wheel's data.

    Raises:
        OperatorError: Neither is there.
    """
    here = Path(__file__).resolve().parent
    for base in (here.parents[1], here / "_data"):
        trees = [base / part for part in FIRMWARE_PARTS]
        if all(tree.is_dir() for tree in trees):
            return trees
    raise OperatorError("the board's firmware is missing from this installation", "install Gapcast again")


def find_runtime(say: Callable[[str], None], *, micropython: bool = True, unfrozen: bool = False) -> Runtime:
    """MicroPython with the client compiled for it, or CPython with the reason told to `say`.

    The client is in ROM, as it is frozen into a board's firmware, unless `unfrozen`: then, and where this
    MicroPython cannot (told to `say`), it is loaded from files.
    """
    trees = source_trees()
    found = upy.find_micropython(progress=say) if micropython else None
    if found is None:
        say("no MicroPython here: the boards run under CPython, so heap sizes are not simulated")
        path = os.pathsep.join(str(tree) for tree in trees)
        version = ".".join(str(part) for part in sys.version_info[:3])
        return Runtime(f"CPython {version}", (sys.executable, "-s"), {"PYTHONPATH": path}, False)
    compiled = upy.compile_mpy(trees, upy.cache_dir() / "sim", found)
    version = ".".join(str(part) for part in found.version)
    # MICROPYPATH replaces the default path: keep what is frozen into the binary.
    path = os.pathsep.join((str(compiled.path), ".frozen"))
    name = f"MicroPython {version} ({found.arch})"
    is_64_bit = found.arch not in ARCHS_32_BIT
    runtime = Runtime(name, found.argv, {"MICROPYPATH": path}, is_64_bit=is_64_bit)
    if not unfrozen:
        try:
            return _with_rom(runtime, compiled)
        except NoRomError as error:
            say(f"the boards' code takes room in their heaps, as if it was not frozen: no ROM, {error}")
    return replace(runtime, name=f"{name}, code in the heap")


def _with_rom(runtime: Runtime, compiled: upy.Compiled) -> Runtime:
    """`runtime` with what was compiled as ROM, which was tried. Raises NoRomError."""
    if compiled.reason:  # source has to be compiled into the heap, wherever it is
        raise NoRomError(compiled.reason)
    try:
        rom = upy_rom.rom_image(compiled.path)
        done = subprocess.run(
            [*runtime.argv, "-m", "sim_rom", str(rom)],
            env={**os.environ, **runtime.environment},
            timeout=TRY_SECONDS,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoRomError(str(error)) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise NoRomError(printable(last))
    return replace(runtime, rom=rom)
