"""Which processes have a serial port open."""

from __future__ import annotations

import os
from pathlib import Path


def holders(port: str, proc: Path = Path("/proc")) -> list[str]:
    """`name (pid N)` of every other process that has the port open: of this user, or of all for root.

    Empty where there is no /proc. Our own process is left out: its tools have the port, not it.
    """
    real = Path(port).resolve()
    found = []
    for folder in sorted(proc.glob("[0-9]*"), key=lambda folder: int(folder.name)):
        if int(folder.name) != os.getpid() and _has_open(folder, real):
            found.append(f"{_name(folder)} (pid {folder.name})")
    return found


def _has_open(folder: Path, real: Path) -> bool:
    try:
        links = list((folder / "fd").iterdir())
    except OSError:  # it has ended, or is another user's
        return False
    for link in links:
        try:
            if link.readlink() == real:
                return True
        except OSError:  # closed meanwhile
            continue
    return False


def _name(folder: Path) -> str:
    try:
        return (folder / "comm").read_text(errors="replace").strip() or "a process"
    except OSError:
        return "a process"
