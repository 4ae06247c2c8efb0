"""A file as memory, read without a system call and without allocating: MicroPython only.

Fifty boards share the cores of a PC: system calls at each look at flash would be what is measured.
"""

import ffi
import micropython
import uctypes

_PROT_READ = 1
_MAP_SHARED = 1
_MAP_FAILED = -1


def open_view(file, size_bytes):
    """`size_bytes` of a file, which may be shorter now; what it does not have yet must not be read."""
    mmap = ffi.open(None).func("p", "mmap", "pLiiil")
    address = mmap(None, size_bytes, _PROT_READ, _MAP_SHARED, file.fileno(), 0)
    if address == _MAP_FAILED:
        raise OSError("flash cannot be mapped")
    return uctypes.bytearray_at(address, size_bytes)


@micropython.viper
def copy(to: ptr8, to_at: int, source: ptr8, at: int, length: int):
    """to[to_at:] = source[at : at + length]"""
    end = int(to) + to_at + length
    words = end - 3
    target = ptr32(int(to) + to_at)
    origin = ptr32(int(source) + at)
    while int(target) < words:
        target[0] = origin[0]
        target = ptr32(int(target) + 4)
        origin = ptr32(int(origin) + 4)
    last = ptr8(target)
    first = ptr8(origin)
    while int(last) < end:
        last[0] = first[0]
        last = ptr8(int(last) + 1)
        first = ptr8(int(first) + 1)


@micropython.viper
def blank(to: ptr8, to_at: int, length: int):
    """to[to_at : to_at + length] = ones"""
    target = ptr8(int(to) + to_at)
    end = int(target) + length
    while int(target) < end:
        target[0] = 255
        target = ptr8(int(target) + 1)
