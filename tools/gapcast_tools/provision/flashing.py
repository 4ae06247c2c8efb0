"""What a board's flash holds, and the firmware into it: the least that makes it right.

A board may be bare, half written by an earlier try, of another layout, or in use for a year. What is compared
is what the chip itself computes (MD5); what is not the firmware's stays, unless the file system has to move.
"""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gapcast.errors import OperatorError
from gapcast.image.espapp import DESCRIPTOR_BYTES, DESCRIPTOR_OFFSET, read_descriptor
from gapcast_tools.boards.bootloader import Origin, can_roll_back
from gapcast_tools.boards.firmware import Firmware, Part
from gapcast_tools.boards.table import (
    NVS,
    SECTOR_BYTES,
    TABLE_BYTES,
    TABLE_OFFSET,
    Entry,
    Table,
    parse_binary,
)
from gapcast_tools.usb.esptool import Esptool, Identity
from gapcast_tools.usb.fault import PortFault

# littlefs keeps its superblock in the first two blocks, and MicroPython formats when the first is blank
# (ports/esp32/modules/inisetup.py): erasing more would only take longer.
FILE_SYSTEM_HEAD_BYTES = 2 * 4096
SLOTS = 2  # application slots that an update over the air needs
_NEW_FIRMWARE = "give it a firmware with two slots: `gapcast provision` with --firmware; its files are kept"


@dataclass(frozen=True)
class Found:
    """The begin of a board's flash. table: None when there is none that can be read."""

    bootloader: bytes
    table: Table | None

    def holds(self, part: Part, boot_address: int) -> bool:
        """Whether `part`, a boot loader or a table, is in flash; of others it is not known."""
        offset = part.offset - boot_address
        return self.bootloader[offset : offset + len(part.data)] == part.data


def check_board(identity: Identity, chip: str, sizes: Sequence[int]) -> None:
    """Raises PortFault `wrong_chip` or `small_flash`. sizes: bytes of flash that would do."""
    if identity.chip != chip:
        message = f"this board has an {identity.chip}, not an {chip}"
        raise PortFault("wrong_chip", message, "name its kind with --board, and take that board's firmware")
    if identity.flash_bytes < min(sizes):
        have, need = identity.flash_bytes >> 20, min(sizes) >> 20
        message = f"this board has {have} MiB of flash, {need} MiB are needed"
        raise PortFault(
            "small_flash", message, "two slots and a file system do not fit: take a larger module"
        )


def look_at_flash(tool: Esptool, boot_address: int) -> Found:
    """Boot loader and partition table of a board. Raises PortFault, OSError."""
    data = _read(tool, boot_address, TABLE_OFFSET + TABLE_BYTES - boot_address)
    try:
        table = parse_binary(data[TABLE_OFFSET - boot_address :])
    except OperatorError:
        table = None
    return Found(data, table)


def slots_of(found: Found) -> tuple[Entry, ...]:
    """The slots of a board that can be updated over the air as it is. Raises PortFault `no_slots`."""
    if found.table is None or len(found.table.slots) < SLOTS or found.table.otadata is None:
        raise PortFault("no_slots", "its partition table has no two slots for updates", _NEW_FIRMWARE)
    return found.table.slots


def idf_of(tool: Esptool, slot: Entry) -> str | None:
    """The ESP-IDF that the application in a slot was built with. Raises PortFault, OSError."""
    descriptor = read_descriptor(_read(tool, slot.offset, DESCRIPTOR_OFFSET + DESCRIPTOR_BYTES))
    return None if descriptor is None else descriptor.idf


def check_rollback(found: Found, idf: str | None, micropython: tuple[int, ...]) -> list[str]:
    """Whether the boot loader in flash can roll back; warnings. Raises PortFault `no_rollback`."""
    origin = None if idf is None else Origin(idf, micropython)
    rollback = can_roll_back(found.bootloader, origin)
    if rollback is False:
        message = "its boot loader cannot go back from an update that fails"
        raise PortFault("no_rollback", message, _NEW_FIRMWARE)
    if rollback is None:
        return ["whether its boot loader goes back from an update that fails cannot be told"]
    return []


def updates_taken(tool: Esptool, otadata: Entry) -> int:
    """How often a board has been updated over the air since its otadata was blank. Raises PortFault, OSError.

    Its two records (esp_ota_select_entry_t) count on with every switch to the other slot: 1 is the first boot
    of what was written by USB.
    """
    data = _read(tool, otadata.offset, otadata.size_bytes)
    sequences = [0]
    for start in range(0, len(data), SECTOR_BYTES):
        sequence, crc = struct.unpack_from("<I24xI", data, start)
        if sequence < 0xFFFFFFFF and crc == zlib.crc32(data[start : start + 4], 0xFFFFFFFF):
            sequences.append(sequence)
    return max(max(sequences) - 1, 0)


def stale_parts(tool: Esptool, firmware: Firmware, found: Found, boot_address: int) -> list[Part]:
    """The parts of the firmware that are not in flash. Raises PortFault."""
    begin, rest = firmware.parts[:2], firmware.parts[2:]
    stale = [part for part in begin if not found.holds(part, boot_address)]
    if len(stale) == len(begin):
        return list(firmware.parts)  # another firmware, or none: no need to ask for the rest
    same = tool.matches(rest)
    return stale + [part for part, is_same in zip(rest, same, strict=True) if not is_same]


def moves(old: Table | None, new: Table, flash_bytes: int) -> tuple[bool, bool]:
    """(file system, NVS): whether they are elsewhere than they were."""
    if old is None:
        return True, True
    vfs, nvs = new.vfs(flash_bytes), new.data(NVS)
    return vfs is None or not _same(old.vfs(flash_bytes), vfs), not _same(old.data(NVS), nvs)


def blanks(table: Table, flash_bytes: int, file_system: bool, nvs: bool) -> list[Part]:
    """What has to be blank for that table: otadata always (so that the first slot boots)."""
    wanted: list[tuple[str, Entry | None, int | None]] = [("otadata", table.otadata, None)]
    if nvs:
        wanted.append(("nvs", table.data(NVS), None))
    if file_system:
        wanted.append(("file system", table.vfs(flash_bytes), FILE_SYSTEM_HEAD_BYTES))
    return [
        Part(name, entry.offset, b"\xff" * (size or entry.size_bytes))
        for name, entry, size in wanted
        if entry is not None
    ]


def _read(tool: Esptool, offset: int, size_bytes: int) -> bytes:
    with tempfile.TemporaryDirectory(prefix="gapcast-") as folder:
        path = Path(folder) / "flash.bin"
        tool.read(offset, size_bytes, path)
        return path.read_bytes()


def _same(old: Entry | None, new: Entry | None) -> bool:
    return (
        old is not None and new is not None and (old.offset, old.size_bytes) == (new.offset, new.size_bytes)
    )
