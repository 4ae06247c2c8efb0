"""Merged images: boot loader, partition table and application in one file, as for flashing a bare board.

Put into an application slot such a file passes the board's own `set_boot` (the boot loader is a valid image
too) and then fails to boot, so it has to be recognised here.
"""

from __future__ import annotations

import struct

# The partition table stands at 0x8000 in flash; the file begins at flash offset 0, or where the chip's boot
# loader begins: 0x1000 on ESP32 and S2, 0x2000 on C5 and P4 (esptool, BOOTLOADER_FLASH_OFFSET).
TABLE_ADDRESS = 0x8000
_FILE_STARTS = (0, 0x1000, 0x2000)
_ENTRY = struct.Struct("<2sBBII16sI")  # magic, type, subtype, address, size, label, flags (gen_esp32part.py)
_ENTRY_MAGIC = b"\xaa\x50"
_TYPE_APP = 0
_MAX_ENTRIES = 95  # 0xC00 bytes less the MD5 line
_IMAGE_MAGIC = 0xE9
_DESCRIPTOR_MAGIC = b"\x32\x54\xcd\xab"  # 0xABCD5432, little-endian


def find_merged_app(data: bytes) -> int | None:
    """Where in a merged image the application begins, in bytes; 0 when there is none inside.

    Returns:
        None when `data` is not a merged image.
    """
    if data[:1] == bytes([_IMAGE_MAGIC]) and data[32:36] == _DESCRIPTOR_MAGIC:
        return None
    for start in _FILE_STARTS:
        table = TABLE_ADDRESS - start
        if _is_erased_or_image(data) and data[table : table + 2] == _ENTRY_MAGIC:
            return _app_offset(data, table, start)
    return None


def _is_erased_or_image(data: bytes) -> bool:
    """Whether a boot loader begins here, or erased flash before one."""
    return data[:1] == bytes([_IMAGE_MAGIC]) or data[:16] == b"\xff" * 16


def _app_offset(data: bytes, table: int, start: int) -> int:
    for number in range(_MAX_ENTRIES):
        offset = table + number * _ENTRY.size
        if offset + _ENTRY.size > len(data):
            return 0
        magic, kind, _subtype, address, _size, _label, _flags = _ENTRY.unpack_from(data, offset)
        if magic != _ENTRY_MAGIC:
            return 0
        app = int(address) - start
        if kind == _TYPE_APP and app + 1 <= len(data) and data[app] == _IMAGE_MAGIC:
            return app
    return 0
