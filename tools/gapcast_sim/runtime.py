"""What simulated boards run in: a real MicroPython, or CPython when none can be had."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from gapcast_sim.events import printable
from gapcast_tools import upy, upy_rom
from gapcast_tools.data import data_path

FIRMWARE_PARTS = ("firmware/lib", "boards/SIM")  # the client, and what plays the hardware
TRY_SECONDS = 10


@dataclass(frozen=True)
class Heaps:
    """Bytes of MicroPython's heap on a board."""

    default: int
    least: int


# The least is what all of 8 boards took a signed 1.5 MiB image with, at 10 % loss, with and without a power
# cut: by trial in steps of 8 KiB, 3 seeds, with MicroPython 1.25 for i386. What plays the hardware is in
# these heaps too (BoardResult.heap_own_bytes): 34 KiB of them with the names of what is in ROM, else 18 KiB.
CODE_IN_ROM = Heaps(112 * 1024, 88 * 1024)  # an ESP32 without PSRAM; room for 20 repair symbols
# 19 for what plays the hardware, 9 for a table of names that is only full with the simulator's own, and 128
# for the client; room for 12 repair symbols.
CODE_IN_HEAP = Heaps(156 * 1024, 128 * 1024)
ALL_IN_HEAP = Heaps(192 * 1024, 168 * 1024)  # where nothing can be in ROM
ARCHS_32_BIT = ("i386", "arm")  # as a board; elsewhere an object takes twice the room


@dataclass(frozen=True)
class Runtime:
    """How to start one board's process."""

    name: str  # for people: "MicroPython 1.25.0 (i386)"
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    is_micropython: bool = True
    rom: Path | None = None  # image of the firmware; without one its code is loaded into the heap
    client: Path | None = None  # folder that the client is loaded from, into the heap: not in `rom`
    is_64_bit: bool = False

    @property
    def heaps(self) -> Heaps:
        """What boards have, and need at least, in this runtime."""
        heaps = CODE_IN_ROM
        if self.is_micropython and (self.rom is None or self.client is not None):
            heaps = ALL_IN_HEAP if self.rom is None else CODE_IN_HEAP
        return Heaps(2 * heaps.default, 2 * heaps.least) if self.is_64_bit else heaps

    def command(self, folder: Path, heap_bytes: int | None) -> list[str]:
        """The command line that switches on the board in `folder`; None is the default heap."""
        heap = ["-X", f"heapsize={heap_bytes or self.heaps.default}"] if self.is_micropython else []
        return [*self.argv, *heap, *self.start(str(folder))]

    def start(self, folder: str) -> list[str]:
        """The arguments of the command above; with the folder "" it is only tried whether that works."""
        if self.rom is None:
            return ["-m", "sim_main", folder]
        return ["-m", "sim_rom", str(self.rom), folder, *([str(self.client)] if self.client else [])]


class NoRomError(Exception):
    """This MicroPython runs nothing from ROM; the message says why."""


def source_trees() -> list[Path]:
    """The import roots a board has in its firmware: from the checkout, or from the wheel's data.

    Raises:
        OperatorError: One is missing.
    """
    return [data_path(*part.split("/")) for part in FIRMWARE_PARTS]


def find_runtime(
    say: Callable[[str], None], *, micropython: bool = True, unfrozen: bool = False, quick: bool = False
) -> Runtime:
    """MicroPython with the client compiled for it, or CPython with the reason told to `say`.

    The client is in ROM, as it is frozen into a board's firmware, unless `unfrozen`: then, and where this
    MicroPython cannot (told to `say`), it is loaded from files. quick: rather one that takes little of this
    machine's time than the one most like a board's.
    """
    trees = source_trees()
    found = upy.find_micropython(progress=say, quick=quick) if micropython else None
    if found is None:
        say("no MicroPython here: the boards run under CPython, so heap sizes are not simulated")
        path = os.pathsep.join(str(tree) for tree in trees)
        version = ".".join(str(part) for part in sys.version_info[:3])
        return Runtime(f"CPython {version}", (sys.executable, "-s"), {"PYTHONPATH": path}, False)
    version = ".".join(str(part) for part in found.version)
    runtime = Runtime(
        f"MicroPython {version} ({found.arch})", found.argv, is_64_bit=found.arch not in ARCHS_32_BIT
    )
    cache = upy.cache_dir() / "sim"
    try:
        if not unfrozen:
            return _with_rom(runtime, upy.compile_mpy(trees, cache, found))
        client = upy.compile_mpy(trees[:1], cache, found)
        runtime = _with_rom(runtime, upy.compile_mpy(trees[1:], cache, found), client.path)
    except NoRomError as error:
        say(f"the boards' code takes room in their heaps, as if it was not frozen: no ROM, {error}")
        compiled = upy.compile_mpy(trees, cache, found)
        runtime = replace(runtime, environment=_path(compiled))
    return replace(runtime, name=f"{runtime.name}, code in the heap")


def _path(compiled: upy.Compiled) -> dict[str, str]:
    """MICROPYPATH replaces the default path: keep what is frozen into the binary."""
    return {"MICROPYPATH": os.pathsep.join((str(compiled.path), ".frozen"))}


def _with_rom(runtime: Runtime, compiled: upy.Compiled, client: Path | None = None) -> Runtime:
    """`runtime` with what was compiled as ROM, which was tried. Raises NoRomError."""
    if compiled.reason:  # source has to be compiled into the heap, wherever it is
        raise NoRomError(compiled.reason)
    try:
        rom = upy_rom.rom_image(compiled.path)
        with_rom = replace(runtime, environment=_path(compiled), rom=rom, client=client)
        done = subprocess.run(
            [*with_rom.argv, *with_rom.start("")],
            env={**os.environ, **with_rom.environment},
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
    return with_rom
