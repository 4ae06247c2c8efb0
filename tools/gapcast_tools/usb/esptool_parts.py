"""Bytes for places in flash, as esptool takes them: files in a private folder."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

_UNUSUAL = re.compile(r"[^A-Za-z0-9._]|^\.")


class Part(Protocol):
    """Bytes for a place in flash (gapcast_tools.boards.firmware.Part is one)."""

    @property
    def name(self) -> str: ...

    @property
    def offset(self) -> int: ...

    @property
    def data(self) -> bytes: ...


def ends_of(parts: Sequence[Part]) -> list[int]:
    """How many bytes are done after each part."""
    ends: list[int] = []
    for part in parts:
        ends.append((ends[-1] if ends else 0) + len(part.data))
    return ends


@contextmanager
def as_files(parts: Sequence[Part]) -> Iterator[tuple[Path, list[str]]]:
    """The parts as files in a private folder, since firmware may hold secrets, and esptool's arguments."""
    with tempfile.TemporaryDirectory(prefix="gapcast-") as name:
        folder = Path(name)
        arguments = []
        for part in parts:
            file = _UNUSUAL.sub("_", f"{part.name}.{part.offset:#x}")  # esptool's messages name it
            (folder / file).write_bytes(part.data)
            arguments += [hex(part.offset), file]
        yield folder, arguments
