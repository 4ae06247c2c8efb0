"""A flash file with firmware for a simulated chip, as esptool would have written it."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from gapcast.image.boards import CHIPS
from gapcast.image.sample import build_sample
from gapcast_sim.chip.boot_flash import bootloader_offset

MIB = 1 << 20
FLASH_BYTES = 4 * MIB
SLOT_BYTES = 0x180000
# MicroPython's partitions-4MiB-ota.csv; vfs is made behind it
ENTRIES = [
    ("nvs", 1, 2, 0x9000, 0x4000),
    ("otadata", 1, 0, 0xD000, 0x2000),
    ("phy_init", 1, 1, 0xF000, 0x1000),
    ("ota_0", 0, 0x10, 0x10000, SLOT_BYTES),
    ("ota_1", 0, 0x11, 0x190000, SLOT_BYTES),
]


def make_table(entries: list[tuple[str, int, int, int, int]]) -> bytes:
    """A binary partition table with its MD5 line."""
    table = b"".join(
        struct.pack("<2sBBII16sI", b"\xaa\x50", kind, subtype, offset, size, label.encode(), 0)
        for label, kind, subtype, offset, size in entries
    )
    table += b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(table).digest()
    return table.ljust(0xC00, b"\xff")


def make_flash(
    folder: Path,
    *,
    chip: str = "esp32",
    app: bytes | None = None,
    entries: list[tuple[str, int, int, int, int]] = ENTRIES,
    flash_bytes: int = FLASH_BYTES,
) -> Path:
    """FOLDER/flash.bin with a boot loader, a table, and an application in its first slot."""
    flash = bytearray(b"\xff" * flash_bytes)
    flash[bootloader_offset(chip)] = 0xE9
    flash[0x8000:0x8C00] = make_table(entries)
    if app is None:
        app = build_sample(8192, "1.0.0", CHIPS[chip], source="def main(board):\n    pass\n")
    first = next(entry for entry in entries if entry[1] == 0)
    flash[first[3] : first[3] + len(app)] = app
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "flash.bin"
    path.write_bytes(flash)
    return path
