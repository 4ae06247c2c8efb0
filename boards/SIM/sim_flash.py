"""NOR flash in files, one file a partition, with NOR's rules.

Programming only clears bits; erasing sets a whole 4 KiB sector to ones. A file is as long as
the highest byte ever programmed; what lies beyond it is blank (ones), so big empty slots cost
nothing.
"""

import os
import time

import sim_power
import sim_world

SECTOR_BYTES = 4096
PAGE_BYTES = 256
# W25Q-JV class, typical (facts: esp32-micropython section 4).
ERASE_SECTOR_US = 45000
PROGRAM_PAGE_US = 600
_FILL = b"\xff" * SECTOR_BYTES


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
        self._old = bytearray(1024)
        self._overslept_us = 0

    def read(self, offset, buf):
        """Fill `buf` from `offset`; blank beyond the file."""
        inside = self._length - offset
        if inside >= len(buf):
            self._file.seek(offset)
            self._file.readinto(buf)
            return
        view = memoryview(buf)
        if inside > 0:
            self._file.seek(offset)
            self._file.readinto(view[:inside])
        else:
            inside = 0
        while inside < len(buf):
            step = min(len(buf) - inside, SECTOR_BYTES)
            view[inside : inside + step] = _FILL if step == SECTOR_BYTES else _FILL[:step]
            inside += step

    def program(self, offset, data):
        """Clear the bits that `data` has clear; never set one. Raises PowerCut (sim_power.py)."""
        if sim_power.begin("program", self._name, len(data) if self._is_slot else 0):
            self._program(offset, memoryview(data)[: len(data) // 2])
            sim_power.cut()
        self._program(offset, data)

    def _program(self, offset, data):
        if sim_world.settings["flash_timing"]:
            pages = (len(data) + PAGE_BYTES - 1) // PAGE_BYTES
            self._take(pages * PROGRAM_PAGE_US)
        if offset >= self._length:
            self._extend(offset)
            self._file.seek(offset)
            self._file.write(data)
            self._length = offset + len(data)
            return
        if len(data) != len(self._old):
            self._old = bytearray(len(data))
        self.read(offset, self._old)
        if self._old != (_FILL if len(data) == SECTOR_BYTES else _FILL[: len(data)]):
            data = self._and(data)
        self._file.seek(offset)
        self._file.write(data)
        if offset + len(data) > self._length:
            self._length = offset + len(data)

    def erase(self, sector):
        """Set one 4 KiB sector to ones. Raises PowerCut (sim_power.py)."""
        half = sim_power.begin("erase", self._name)
        if sim_world.settings["flash_timing"]:
            self._take(ERASE_SECTOR_US)
        self._blank(sector * SECTOR_BYTES, SECTOR_BYTES // 2 if half else SECTOR_BYTES)
        if half:
            sim_power.cut()

    def _take(self, us):
        """As long as the flash would; the PC oversleeps each time, by a twentieth of a page or more."""
        us *= sim_world.settings["flash_slowness"]
        start = time.ticks_us()
        time.sleep_us(max(us - self._overslept_us, 0))
        self._overslept_us += time.ticks_diff(time.ticks_us(), start) - us
        self._overslept_us = min(max(self._overslept_us, 0), PROGRAM_PAGE_US)

    def _blank(self, offset, size_bytes):
        if offset >= self._length:
            return
        self._file.seek(offset)
        self._file.write(_FILL if size_bytes == SECTOR_BYTES else _FILL[:size_bytes])
        if offset + size_bytes > self._length:
            self._length = offset + size_bytes

    def _and(self, data):
        old = self._old
        for i in range(len(old)):
            old[i] &= data[i]
        return old

    def _extend(self, offset):
        """Blank bytes up to `offset` (a block came out of order)."""
        self._file.seek(self._length)
        while self._length < offset:
            step = min(offset - self._length, SECTOR_BYTES)
            self._file.write(_FILL if step == SECTOR_BYTES else _FILL[:step])
            self._length += step
