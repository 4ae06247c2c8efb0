"""NOR flash in one file: programming only clears bits, erasing sets whole sectors, both take time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SECTOR_BYTES = 4096
BLOCK_BYTES = 65536  # what flash erases faster than 16 sectors
PAGE_BYTES = 256
_PART_BYTES = 65536


@dataclass(frozen=True)
class FlashTiming:
    """Seconds that flash takes: typical figures of the W25Q32JV datasheet. All 0: none."""

    sector_s: float = 0.0
    block_s: float = 0.0
    page_s: float = 0.0


NO_TIME = FlashTiming()
TYPICAL = FlashTiming(sector_s=0.045, block_s=0.15, page_s=0.0006)


class Flash:
    """The file FOLDER/flash.bin, shared with the program that runs from it: nothing is kept in memory."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        """Open `path`, or make it, erased. Raises OSError; ValueError if its size is another, or in use."""
        self.path = path
        self.size_bytes = size_bytes
        if not path.exists():
            path.write_bytes(b"\xff" * size_bytes)
        if path.stat().st_size != size_bytes:
            raise ValueError(f"{path} has {path.stat().st_size} bytes, and not {size_bytes}")
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise ValueError("another chip runs there") from None

    def close(self) -> None:
        os.close(self._fd)

    def holds(self, offset: int, size_bytes: int) -> bool:
        """Whether that range is within the flash."""
        return offset + size_bytes <= self.size_bytes

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Those bytes; fewer at the end of the flash."""
        return os.pread(self._fd, size_bytes, offset)

    def md5(self, offset: int, size_bytes: int) -> bytes:
        """The 16 bytes of the MD5 of that range."""
        digest = hashlib.md5(usedforsecurity=False)
        for at in range(offset, offset + size_bytes, _PART_BYTES):
            digest.update(self.read(at, min(_PART_BYTES, offset + size_bytes - at)))
        return digest.digest()

    def program(self, offset: int, data: bytes) -> None:
        """Clear those bits of the flash that are 0 in `data`; what is beyond the end is dropped."""
        old = self.read(offset, len(data))
        size = len(old)
        if old.count(0xFF) != size:
            both = int.from_bytes(old, "big") & int.from_bytes(data[:size], "big")
            data = both.to_bytes(size, "big")
        os.pwrite(self._fd, data[:size], offset)

    def erase(self, offset: int, size_bytes: int) -> None:
        """Set every bit of that range."""
        size = min(size_bytes, self.size_bytes - offset)
        for at in range(offset, offset + size, _PART_BYTES):
            os.pwrite(self._fd, b"\xff" * min(_PART_BYTES, offset + size - at), at)


@dataclass(frozen=True)
class Erase:
    """One erase command: a sector, or a block."""

    offset: int
    size_bytes: int
    duration_s: float

    def apply(self, flash: Flash) -> None:
        flash.erase(self.offset, self.size_bytes)

    def cut(self, flash: Flash, rng: random.Random) -> None:
        """The power went in the middle: some of it reads erased, and some does not."""
        flash.erase(self.offset, rng.randrange(self.size_bytes))


@dataclass(frozen=True)
class Write:
    """Page programs, one after the other."""

    offset: int
    data: bytes
    duration_s: float

    def apply(self, flash: Flash) -> None:
        flash.program(self.offset, self.data)

    def cut(self, flash: Flash, rng: random.Random) -> None:
        """The power went in the middle: the pages before are whole, one is not, the rest is as it was."""
        done = rng.randrange(len(self.data))
        flash.program(self.offset, self.data[:done])
        last = self.data[done] | rng.randrange(256)  # of this byte only some bits were cleared
        flash.program(self.offset + done, bytes([last]))


Step = Erase | Write


def erase_steps(offset: int, size_bytes: int, timing: FlashTiming) -> Iterator[Erase]:
    """The commands that erase every sector that the range touches: blocks where they fit, else sectors."""
    at = offset - offset % SECTOR_BYTES
    end = -(-(offset + size_bytes) // SECTOR_BYTES) * SECTOR_BYTES
    while at < end:
        whole = at % BLOCK_BYTES == 0 and end - at >= BLOCK_BYTES
        size, duration = (BLOCK_BYTES, timing.block_s) if whole else (SECTOR_BYTES, timing.sector_s)
        yield Erase(at, size, duration)
        at += size


def write_steps(offset: int, data: bytes, timing: FlashTiming) -> Iterator[Write]:
    """The programming of `data`, a sector at most at a time."""
    at = 0
    while at < len(data):
        size = min(SECTOR_BYTES - (offset + at) % SECTOR_BYTES, len(data) - at)
        pages = (offset + at + size - 1) // PAGE_BYTES - (offset + at) // PAGE_BYTES + 1
        yield Write(offset + at, data[at : at + size], pages * timing.page_s)
        at += size
