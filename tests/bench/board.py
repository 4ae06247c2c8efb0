"""`make bench-board`: the client's speed, heap and code size, in the MicroPython that simulates boards.

The i386 build is nearest to a board (32-bit small integers, heap blocks of 16 bytes). A PC is many times
faster than a board, so the times are for comparing versions of the client; bytes are a board's own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gapcast_sim.runtime import CODE_IN_HEAP, CODE_IN_ROM
from gapcast_tools.upy import Micropython, compile_mpy, search

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIB = ROOT / "firmware" / "lib"
TREES = [LIB, ROOT / "boards" / "SIM"]
HEAP = "112k"  # what the client has to live in, its code included
SECONDS = 120
UPDATES = {"frozen": (), "code in the heap": ("--unfrozen",)}


def measure(micropython: Micropython) -> dict[str, Any]:
    """What upy_board.py found, with the client compiled as boards have it, and the bytes of its code."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        compiled = compile_mpy(TREES, work / "lib", micropython)
        if compiled.reason:
            print(f"from source, which is slower to start and larger: {compiled.reason}", file=sys.stderr)
        (work / "sim.json").write_text("{}")
        done = subprocess.run(
            [*micropython.argv, "-X", f"heapsize={HEAP}", str(HERE / "upy_board.py"), str(work)],
            env={**os.environ, "MICROPYPATH": f"{compiled.path}:.frozen"},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"upy_board.py failed:\n{done.stdout}{done.stderr}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        found["code_bytes"] = code_bytes(compiled.path)
    found["update"] = {how: update(*options) for how, options in UPDATES.items()}
    found["micropython"] = f"{'.'.join(map(str, micropython.version))} {micropython.arch}"
    return found


def update(*options: str) -> dict[str, int]:
    """Bytes of heap of boards that take an image with lost blocks: the most of any, in a whole update.

    total: the heap that there is. live: the most in use at a change of phase, without garbage. own: in that
    what plays the hardware. client: the rest. symbols: repair symbols that there was room for.
    """
    with tempfile.TemporaryDirectory() as name:
        result = Path(name) / "sim.json"
        sim = [
            sys.executable,
            "-m",
            "gapcast",
            "sim",
            "--boards",
            "2",
            "--size",
            "512k",
            "--json",
            str(result),
        ]
        done = subprocess.run(
            [*sim, *options], cwd=name, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        if done.returncode:
            raise SystemExit(f"the update failed:\n{done.stdout}{done.stderr}")
        rows = json.loads(result.read_text())["results"]
    live = max(row["heap_peak_bytes"] for row in rows)
    own = max(row["heap_own_bytes"] for row in rows)
    heaps = CODE_IN_HEAP if options else CODE_IN_ROM
    symbols = min(row["symbols"] for row in rows)
    return {"total": heaps.default, "live": live, "own": own, "client": live - own, "symbols": symbols}


def code_bytes(lib: Path) -> dict[str, int]:
    """Bytes of .mpy: each package of the client, and of the former the part for erasure repair."""
    sizes = {
        package.name: sum(path.stat().st_size for path in (lib / package.name).iterdir())
        for package in sorted(LIB.iterdir())
        if package.is_dir()
    }
    parts = [path for path in (lib / "gapcast_core").iterdir() if path.stem.startswith(("fec", "gf"))]
    sizes["of which erasure repair"] = sum(path.stat().st_size for path in parts)
    return sizes


def rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(what, figure, unit)."""
    table = [
        (f"multiply and add, {kernel}", f"{us:.2f}", "us per KiB")
        for kernel, us in found["mul_us_per_kib"].items()
        if us is not None
    ]
    for losses, steps in sorted(found["decode_us"].items(), key=lambda item: int(item[0])):
        parts = ", ".join(f"{step} {steps[step] / 1000:.2f}" for step in ("add", "feed", "solve", "blocks"))
        table.append((f"decode 64 blocks, {losses} lost", f"{steps['total'] / 1000:.2f}", f"ms ({parts})"))
    table += [(what, f"{rate:,.0f}", "per s") for what, rate in sorted(found["per_s"].items())]
    table += [(f"heap: {what}", f"{size:,}", "bytes") for what, size in found["heap_bytes"].items()]
    for how, heap in found["update"].items():
        told = f"bytes at most, {heap['symbols']} repair symbols; the simulator {heap['own']:,} besides"
        table.append((f"heap: an update, {how}", f"{heap['client']:,}", told))
    table += [(f"code: {what}", f"{size:,}", "bytes of .mpy") for what, size in found["code_bytes"].items()]
    return table


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    micropython, reasons = search(fetch=True, progress=lambda text: print(text, file=sys.stderr))
    if micropython is None:
        print(f"No MicroPython: {'; '.join(reasons)}", file=sys.stderr)
        return 1
    found = measure(micropython)
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    table = Table("what", "figure", "unit", title=f"MicroPython {found['micropython']}, heap {HEAP}")
    table.columns[1].justify = "right"
    for row in rows(found):
        table.add_row(*row)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
