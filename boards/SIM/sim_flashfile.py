"""A chip's whole flash as one file, in memory: what its partitions are parts of. MicroPython only.

The same rules as in sim_flash.py. The file is as long as the flash, and shared: what is programmed here
a tool finds in it, and the other way round.
"""

import os

import ffi
import micropython
import sim_world
import uctypes
from sim_flash import PAGE_BYTES, PROGRAM_PAGE_US, SECTOR_BYTES, NorFile

_PROT_READ_WRITE = 3
_MAP_SHARED = 1
_MAP_FAILED = -1


def map_flash(path):
    """The address in memory of a flash file. Raises OSError."""
    mmap = ffi.open(None).func("p", "mmap", "pLiiil")
    with open(path, "r+b") as file:
        address = mmap(None, os.stat(path)[6], _PROT_READ_WRITE, _MAP_SHARED, file.fileno(), 0)
    if address == _MAP_FAILED:
        raise OSError("flash cannot be mapped")
    return address


class FlashPart(NorFile):
    """One partition of it. Offsets and sizes in bytes, from the partition's beginning."""

    def __init__(self, address, size_bytes, label):
        self.size_bytes = size_bytes
        self._name = label
        self._is_slot = label.startswith("ota_")
        self._is_timed = sim_world.settings["flash_timing"]
        self._length = size_bytes
        self._view = uctypes.bytearray_at(address, size_bytes)
        self._overslept_us = 0

    def put(self, offset, data):
        """Bytes as they are, erased before: for what plays a driver with rules of its own."""
        self._view[offset : offset + len(data)] = data

    def _program(self, offset, data):
        """Without an allocation: the collector closes files that nobody holds, and there may be none then."""
        if self._is_timed:
            self._take((len(data) + PAGE_BYTES - 1) // PAGE_BYTES * PROGRAM_PAGE_US)
        _clear(self._view, offset, data, len(data))

    def _fill(self, offset, end):
        _set(self._view, offset, end)


def no_otadata():
    """What a chip without that partition has in its place: nothing is in it."""
    blank = bytearray(b"\xff" * 2 * SECTOR_BYTES)
    part = FlashPart(uctypes.addressof(blank), len(blank), "otadata")
    part._view = blank  # which keeps it
    return part


@micropython.viper
def _clear(flash: ptr8, at: int, data: ptr8, size: int):
    for i in range(size):
        flash[at + i] &= data[i]


@micropython.viper
def _set(flash: ptr8, at: int, end: int):
    while at < end:
        flash[at] = 255
        at += 1
