"""What a chip's ROM and boot loader look for in its flash before anything runs."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

TABLE_OFFSET = 0x8000
TABLE_BYTES = 0xC00
SECTOR_BYTES = 4096
_IMAGE_MAGIC = 0xE9
_ENTRY = struct.Struct("<2sBBII16sI")  # magic, type, subtype, offset, size, label, flags (gen_esp32part.py)
_ENTRY_MAGIC = b"\xaa\x50"
_END = b"\xff" * _ENTRY.size
_MD5_MAGIC = b"\xeb\xeb"
_TYPE_APP = 0
_TYPE_DATA = 1
_SUBTYPE_FAT = 0x81  # what the file system's partition is called in MicroPython's tables


@dataclass(frozen=True)
class Place:
    """One partition. Offset and size in bytes."""

    label: str
    type: int
    subtype: int
    offset: int
    size_bytes: int


class NoBootError(Exception):
    """Nothing starts from this flash; the message is what the ROM or the boot loader prints."""


def bootloader_offset(chip: str) -> int:
    """Where in flash the ROM of `chip` looks for the boot loader, in bytes."""
    return 0x1000 if chip in ("esp32", "esp32s2") else 0


def find_partitions(flash: Path, chip: str) -> list[Place]:
    """The partitions of a flash file, with the "vfs" that MicroPython makes behind the last one.

    Raises:
        NoBootError: There is no boot loader, no valid table, or no application in the table.
        OSError: The file cannot be read.
    """
    size_bytes = flash.stat().st_size
    with open(flash, "rb") as file:
        file.seek(bootloader_offset(chip))
        head = file.read(4)
        file.seek(TABLE_OFFSET)
        table = file.read(TABLE_BYTES)
    if head[:1] != bytes((_IMAGE_MAGIC,)):
        raise NoBootError(f"invalid header: 0x{int.from_bytes(head.ljust(4, bytes((255,))), 'little'):08x}")
    places = _parse(table)
    if not places:
        raise NoBootError("E (57) flash_parts: partition table has no valid entries")
    for number, place in enumerate(places):
        if place.offset + place.size_bytes > size_bytes:
            raise NoBootError(
                f"E (57) flash_parts: partition {number} invalid - offset 0x{place.offset:x} "
                f"size 0x{place.size_bytes:x} exceeds flash chip size 0x{size_bytes:x}"
            )
    if not any(place.type == _TYPE_APP for place in places):
        raise NoBootError("E (60) boot: No bootable app partitions in the partition table")
    return places + _made_vfs(places, size_bytes)


def _parse(table: bytes) -> list[Place]:
    """The entries up to the end mark; none when the table is damaged."""
    places: list[Place] = []
    for at in range(0, len(table) - _ENTRY.size + 1, _ENTRY.size):
        raw = table[at : at + _ENTRY.size]
        if raw[:2] == _MD5_MAGIC:
            return places if raw[16:] == hashlib.md5(table[:at], usedforsecurity=False).digest() else []
        if raw == _END:
            return places
        magic, kind, subtype, offset, size, label, _flags = _ENTRY.unpack(raw)
        if magic != _ENTRY_MAGIC:
            return []
        places.append(Place(label.rstrip(b"\0").decode("ascii", "replace"), kind, subtype, offset, size))
    return places


def _made_vfs(places: list[Place], size_bytes: int) -> list[Place]:
    """The file system's partition behind the last entry, when none is in the table."""
    if any(place.label in ("vfs", "ffat") for place in places):
        return []
    end = max(place.offset + place.size_bytes for place in places)
    room = (size_bytes - end) // SECTOR_BYTES * SECTOR_BYTES
    return [Place("vfs", _TYPE_DATA, _SUBTYPE_FAT, end, room)] if room > 0 else []
