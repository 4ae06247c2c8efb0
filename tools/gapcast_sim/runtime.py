"""What simulated boards run in: a real MicroPython, or CPython when none can be had."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gapcast.errors import OperatorError
from gapcast_tools import upy

FIRMWARE_PARTS = ("firmware/lib", "boards/SIM")


@dataclass(frozen=True)
class Runtime:
    """How to start one board's process."""

    name: str  # for people: "MicroPython 1.25.0 (i386)"
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    is_micropython: bool = True

    def command(self, folder: Path, heap_bytes: int) -> list[str]:
        """The command line that switches on the board in `folder`."""
        heap = ["-X", f"heapsize={heap_bytes}"] if self.is_micropython else []
        return [*self.argv, *heap, "-m", "sim_main", str(folder)]


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


def find_runtime(say: Callable[[str], None], *, micropython: bool = True) -> Runtime:
    """MicroPython with the client compiled for it, or CPython with the reason told to `say`."""
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
    return Runtime(f"MicroPython {version} ({found.arch})", found.argv, {"MICROPYPATH": path})
