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

ESP_ERR_INVALID_SIZE = 0x104
SECTOR_BYTES = 4096
PAGE_BYTES = 256
# W25Q-JV class, typical (facts: esp32-micropython section 4).
ERASE_SECTOR_US = 45000
PROGRAM_PAGE_US = 600
_len = len  # found at once: a builtin is looked for here first, where it is not
_STEP_BYTES = 1024  # at most so much at a time: these buffers lie in the heap that the client has to live in
_FILL = memoryview(b"\xff" * _STEP_BYTES)
_old = memoryview(bytearray(_STEP_BYTES))


def _part(view, size_bytes):
    """Its first bytes; all of it, what is mostly wanted, without an allocation."""
    return view if size_bytes == _STEP_BYTES else view[:size_bytes]


def _clear(old, data):
    for i in range(len(data)):
        old[i] &= data[i]


class NorFile:
    """One partition's flash. Offsets and sizes in bytes."""

    def __init__(self, path, size_bytes):
        self.size_bytes = size_bytes
        self._name = path[path.rfind("/") + 1 :].replace(".bin", "")
        self._is_slot = self._name != "otadata"
        self._is_timed = sim_world.settings["flash_timing"]
        try:
            self._length = os.stat(path)[6]
        except OSError:
            open(path, "wb").close()
            self._length = 0
        self._file = open(path, "r+b", buffering=0)
        self._file_at = 0  # where the next write goes without a seek
        self._view = sim_map.open_view(self._file, size_bytes) if sim_map else None
        self._overslept_us = 0

    # Few values at a time: a function with more than MicroPython has room for on its stack is called
    # with one from the heap, and to look for it there takes longer than all the rest.

    def check(self, offset, size):
        """Raises OSError for bytes that are not all in the partition."""
        if offset < 0 or offset + size > self.size_bytes:
            raise OSError(-ESP_ERR_INVALID_SIZE, "ESP_ERR_INVALID_SIZE")

    def read(self, offset, buf):
        """Fill `buf` from `offset`; blank beyond the file. Raises OSError."""
        size = _len(buf)
        if offset < 0 or offset + size > self.size_bytes:
            self.check(offset, size)
        if self._view is None:
            self._read(offset, buf)
        else:
            sim_map.look(buf, size, self._view, offset, self._length)

    def _read(self, offset, buf):
        inside = min(max(self._length - offset, 0), len(buf))
        view = memoryview(buf)
        if inside:
            self._seek(offset)
            self._file.readinto(view[:inside])
            self._file_at = -1
        while inside < len(buf):
            step = min(len(buf) - inside, _STEP_BYTES)
            view[inside : inside + step] = _part(_FILL, step)
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
        """Clear the bits that `data` has clear; never set one. Raises OSError, PowerCut (sim_power.py)."""
        size = _len(data)
        if offset < 0 or offset + size > self.size_bytes:
            self.check(offset, size)
        if sim_power.begin("program", self._name, size if self._is_slot else 0):
            self._program(offset, memoryview(data)[: size // 2])
            sim_power.cut()
        if offset == self._length == self._file_at and not self._is_timed:
            self._file.write(data)  # a stream's next block, and the PC's own time is all it takes
            self._length = self._file_at = offset + size
        else:
            self._program(offset, data)

    def _program(self, offset, data):
        if self._is_timed:
            self._take((len(data) + PAGE_BYTES - 1) // PAGE_BYTES * PROGRAM_PAGE_US)
        if offset > self._length:
            self._fill(self._length, offset)  # a block came out of order
        if len(data) == _STEP_BYTES:
            self._program_step(offset, data)
        else:
            self._program_steps(offset, data)

    def _program_steps(self, offset, data):
        view = memoryview(data)
        for at in range(0, len(data), _STEP_BYTES):
            self._program_step(offset + at, view[at : at + _STEP_BYTES])

    def _program_step(self, offset, data):
        if offset < self._length:
            old = _part(_old, len(data))
            self.read(offset, old)
            if old != _part(_FILL, len(data)):
                _clear(old, data)
                data = old
        self._write(offset, data)

    def erase(self, sector):
        """Set one 4 KiB sector to ones. Raises PowerCut (sim_power.py)."""
        half = sim_power.begin("erase", self._name)
        if self._is_timed:
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
        self._fill(offset, offset + size_bytes)

    def _fill(self, offset, end):
        """Make the bytes from `offset` to `end` blank."""
        while offset < end:
            step = min(end - offset, _STEP_BYTES)
            self._write(offset, _part(_FILL, step))
            offset += step
