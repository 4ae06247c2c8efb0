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
def look(to: ptr8, size: int, flash: ptr8, at: int, length: int):
    """Fill `to` with `size` bytes of a flash from `at` on; what is beyond its `length` is blank."""
    inside = length - at
    if inside > size:
        inside = size
    target = ptr8(to)
    source = ptr8(int(flash) + at)
    middle = int(to) + inside
    while int(target) < middle - 31:  # unrolled: an index that is a constant costs nothing
        to32 = ptr32(target)
        of32 = ptr32(source)
        to32[0] = of32[0]
        to32[1] = of32[1]
        to32[2] = of32[2]
        to32[3] = of32[3]
        to32[4] = of32[4]
        to32[5] = of32[5]
        to32[6] = of32[6]
        to32[7] = of32[7]
        target = ptr8(int(target) + 32)
        source = ptr8(int(source) + 32)
    while int(target) < middle:
        target[0] = source[0]
        target = ptr8(int(target) + 1)
        source = ptr8(int(source) + 1)
    end = int(to) + size
    while int(target) < end - 31:
        to32 = ptr32(target)
        to32[0] = -1
        to32[1] = -1
        to32[2] = -1
        to32[3] = -1
        to32[4] = -1
        to32[5] = -1
        to32[6] = -1
        to32[7] = -1
        target = ptr8(int(target) + 32)
    while int(target) < end:
        target[0] = 255
        target = ptr8(int(target) + 1)
