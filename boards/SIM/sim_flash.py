"""NOR flash in files, one file a partition, with NOR's rules.

Programming only clears bits; erasing sets a whole 4 KiB sector to ones. A file is as long as
the highest byte ever programmed; what lies beyond it is blank (ones), so big empty slots cost
nothing.
"""

import os
import time

import sim_power
import sim_world

try:
    import sim_map
except (ImportError, SyntaxError):  # CPython, or a machine without viper
    sim_map = None

SECTOR_BYTES = 4096
PAGE_BYTES = 256
# W25Q-JV class, typical (facts: esp32-micropython section 4).
ERASE_SECTOR_US = 45000
PROGRAM_PAGE_US = 600
_FILL = b"\xff" * SECTOR_BYTES
_BLOCK_BYTES = 1024  # what the client writes
_FILL_BLOCK = b"\xff" * _BLOCK_BYTES


def _fill(size_bytes):
    """So many ones; the usual sizes without an allocation."""
    if size_bytes == _BLOCK_BYTES:
        return _FILL_BLOCK
    return _FILL if size_bytes == SECTOR_BYTES else _FILL[:size_bytes]


class NorFile:
    """One partition's flash. Offsets and sizes in bytes."""

    def __init__(self, path, size_bytes):
        self.size_bytes = size_bytes
        self._name = path[path.rfind("/") + 1 :].replace(".bin", "")
        self._is_slot = self._name != "otadata"
        try:
            self._length = os.stat(path)[6]
        except OSError:
            open(path, "wb").close()
            self._length = 0
        self._file = open(path, "r+b", buffering=0)
        self._file_at = 0  # where the next write goes without a seek
        self._view = sim_map.open_view(self._file, size_bytes) if sim_map else None
        self._old = bytearray(_BLOCK_BYTES)

    def read(self, offset, buf):
        """Fill `buf` from `offset`; blank beyond the file."""
        if self._view is None:
            self._read(offset, buf)
        else:
            sim_map.look(buf, len(buf), self._view, offset, self._length)

    def _read(self, offset, buf):
        inside = min(max(self._length - offset, 0), len(buf))
        view = memoryview(buf)
        if inside:
            self._seek(offset)
            self._file.readinto(view[:inside])
            self._file_at = -1
        while inside < len(buf):
            step = min(len(buf) - inside, SECTOR_BYTES)
            view[inside : inside + step] = _fill(step)
            inside += step

    def _seek(self, offset):
        if offset != self._file_at:
            self._file.seek(offset)

    def _write(self, offset, data):
        self._seek(offset)
        self._file.write(data)
        self._file_at = offset + len(data)
        if self._file_at > self._length:
            self._length = self._file_at

    def program(self, offset, data):
        """Clear the bits that `data` has clear; never set one. Raises PowerCut (sim_power.py)."""
        if sim_power.begin("program", self._name, len(data) if self._is_slot else 0):
            self._program(offset, memoryview(data)[: len(data) // 2])
            sim_power.cut()
        self._program(offset, data)

    def _program(self, offset, data):
        if sim_world.settings["flash_timing"]:
            time.sleep_us((len(data) + PAGE_BYTES - 1) // PAGE_BYTES * PROGRAM_PAGE_US)
        if offset >= self._length:
            self._extend(offset)
            self._write(offset, data)
            return
        if len(data) != len(self._old):
            self._old = bytearray(len(data))
        self.read(offset, self._old)
        if self._old != _fill(len(data)):
            data = self._and(data)
        self._write(offset, data)

    def erase(self, sector):
        """Set one 4 KiB sector to ones. Raises PowerCut (sim_power.py)."""
        half = sim_power.begin("erase", self._name)
        if sim_world.settings["flash_timing"]:
            time.sleep_us(ERASE_SECTOR_US)
        self._blank(sector * SECTOR_BYTES, SECTOR_BYTES // 2 if half else SECTOR_BYTES)
        if half:
            sim_power.cut()

    def _blank(self, offset, size_bytes):
        if offset >= self._length:
            return
        self._write(offset, _fill(size_bytes))

    def _and(self, data):
        old = self._old
        for i in range(len(old)):
            old[i] &= data[i]
        return old

    def _extend(self, offset):
        """Blank bytes up to `offset` (a block came out of order)."""
        while self._length < offset:
            self._write(self._length, _fill(min(offset - self._length, SECTOR_BYTES)))
