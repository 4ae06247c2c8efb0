"""ESP32 partition tables: as a CSV file, as the bytes in flash, and whether two slots can work in one.

Source: ESP-IDF `gen_esp32part.py` and `esp_flash_partitions.h`. In flash, at 0x8000, little-endian, 32 bytes
each, at most 95, then the line of the MD5 sum, then FF to the end of 0xC00 bytes:

    0   2  AA 50           2  1  type             3  1  subtype
    4   4  offset          8  4  size             12 16 label, NUL-padded        28 4 flags

    0   2  EB EB           2  14 FF ... FF        16 16 MD5 of all lines before this one
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from gapcast.errors import OperatorError

TABLE_OFFSET = 0x8000
TABLE_BYTES = 0xC00  # ESP_PARTITION_TABLE_MAX_LEN
SECTOR_BYTES = 0x1000
APP_ALIGN_BYTES = 0x10000  # an application is mapped in pages of 64 KiB
TYPE_APP = 0
TYPE_DATA = 1
FACTORY = 0x00  # subtypes of TYPE_APP
OTA_0 = 0x10
OTA_MAX = 16
OTADATA = 0x00  # subtypes of TYPE_DATA
PHY = 0x01
NVS = 0x02
FAT = 0x81
ENCRYPTED = 1  # flags
READONLY = 2
OTADATA_BYTES = 2 * SECTOR_BYTES  # one record in each of its sectors (esp_ota_select_entry_t)
NVS_LEAST_BYTES = 0x3000  # what nvs_flash needs: three sectors

_TYPES = {"app": TYPE_APP, "data": TYPE_DATA}
_APP_SUBTYPES = {"factory": FACTORY, "test": 0x20} | {f"ota_{n}": OTA_0 + n for n in range(OTA_MAX)}
_DATA_SUBTYPES = {
    "ota": OTADATA,
    "phy": PHY,
    "nvs": NVS,
    "coredump": 0x03,
    "nvs_keys": 0x04,
    "efuse": 0x05,
    "undefined": 0x06,
    "esphttpd": 0x80,
    "fat": FAT,
    "spiffs": 0x82,
    "littlefs": 0x83,
}
_FLAGS = {"encrypted": ENCRYPTED, "readonly": READONLY}

_ENTRY = struct.Struct("<2sBBII16sI")
_ENTRY_MAGIC = b"\xaa\x50"
_MD5_HEAD = b"\xeb\xeb" + b"\xff" * 14
_END = b"\xff" * _ENTRY.size
_MAX_ENTRIES = TABLE_BYTES // _ENTRY.size - 1
_LABEL_BYTES = 16
_DAMAGED = "the file is damaged: build or download it again"


class TableRefused(OperatorError):
    """This is no partition table."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One partition. Offset and size in bytes."""

    label: str
    type: int
    subtype: int
    offset: int
    size_bytes: int
    flags: int = 0

    @property
    def end(self) -> int:
        return self.offset + self.size_bytes


@dataclass(frozen=True, slots=True)
class Table:
    """The partitions, in the table's order."""

    entries: tuple[Entry, ...]

    @property
    def slots(self) -> tuple[Entry, ...]:
        """ota_0, ota_1, ... as far as they have no gap: the boot loader counts through them."""
        found = {entry.subtype: entry for entry in self.entries if entry.type == TYPE_APP}
        slots = []
        for subtype in range(OTA_0, OTA_0 + OTA_MAX):
            if subtype not in found:
                break
            slots.append(found[subtype])
        return tuple(slots)

    @property
    def otadata(self) -> Entry | None:
        """Which slot boots is in it."""
        return self.data(OTADATA)

    @property
    def end(self) -> int:
        """Where the last partition ends."""
        return max((entry.end for entry in self.entries), default=0)

    def data(self, subtype: int) -> Entry | None:
        """The first data partition of that subtype."""
        found = (entry for entry in self.entries if entry.type == TYPE_DATA and entry.subtype == subtype)
        return next(found, None)

    def vfs(self, flash_bytes: int) -> Entry | None:
        """The file system: "vfs" or "ffat" of the table, or what MicroPython makes behind the last entry.

        None: the table has none, and flash ends where the last partition does.
        Source: MicroPython's ports/esp32/main.c and modules/flashbdev.py.
        """
        for label in ("vfs", "ffat"):
            for entry in self.entries:
                if entry.type == TYPE_DATA and entry.label == label:
                    return entry
        size = flash_bytes - self.end
        return Entry("vfs", TYPE_DATA, FAT, self.end, size) if size > 0 else None

    def pack(self) -> bytes:
        """The table as it stands in flash: 0xC00 bytes.

        Raises:
            OperatorError: There are more entries than fit, or a label is too long.
        """
        if len(self.entries) > _MAX_ENTRIES:
            raise TableRefused(f"{len(self.entries)} partitions", f"{_MAX_ENTRIES} fit")
        lines = b"".join(_pack(entry) for entry in self.entries)
        lines += _MD5_HEAD + hashlib.md5(lines, usedforsecurity=False).digest()
        return lines.ljust(TABLE_BYTES, b"\xff")


def parse_csv(text: str) -> Table:
    """The table in a CSV file, as ESP-IDF takes it: `name, type, subtype, offset, size[, flags]`.

    Offsets may be missing: the next free place, aligned for its type. (A negative size, up to an offset,
    is not taken.)

    Raises:
        OperatorError: A line is wrong; the message has its number.
    """
    entries: list[Entry] = []
    at = TABLE_OFFSET + SECTOR_BYTES
    for number, line in enumerate(text.splitlines(), 1):
        if not line.split("#")[0].strip():
            continue
        try:
            entries.append(_csv_entry(line.split("#")[0], at))
        except ValueError as error:
            hint = "name, type, subtype, offset, size, flags: as in boards/partitions-4MiB.csv"
            raise TableRefused(f"line {number} of the partition table: {error}", hint) from error
        at = entries[-1].end
    if not 0 < len(entries) <= _MAX_ENTRIES:
        raise TableRefused(f"{len(entries)} partitions in the table", f"1 to {_MAX_ENTRIES}")
    return Table(tuple(entries))


def parse_binary(data: bytes) -> Table:
    """The table at the start of `data`; what follows its 0xC00 bytes is ignored.

    Raises:
        OperatorError: There is none, or it is damaged.
    """
    entries: list[Entry] = []
    for offset in range(0, min(len(data), TABLE_BYTES) // _ENTRY.size * _ENTRY.size, _ENTRY.size):
        line = data[offset : offset + _ENTRY.size]
        if line == _END and entries:  # a table without an MD5 line: before ESP-IDF 3.1, or so configured
            return Table(tuple(entries))
        if line[:2] == _MD5_HEAD[:2]:
            _check_md5(line, data[:offset])
            return Table(tuple(entries))
        entries.append(_unpack(line, len(entries)))
    raise TableRefused("the partition table has no end", _DAMAGED)


def faults(table: Table, flash_bytes: int) -> list[str]:
    """Why no board with `flash_bytes` of flash can work with `table`, a sentence each; [] when one can."""
    found = []
    end = TABLE_OFFSET + SECTOR_BYTES
    last = "the partition table"
    for entry in sorted(table.entries, key=lambda entry: entry.offset):
        name = f"{entry.label!r}"
        align = APP_ALIGN_BYTES if entry.type == TYPE_APP else SECTOR_BYTES
        if entry.offset % align:
            found.append(f"{name} begins at {entry.offset:#x}, not at a multiple of {align:#x}")
        if not entry.size_bytes or entry.size_bytes % SECTOR_BYTES:
            found.append(f"{name} has {entry.size_bytes:#x} bytes, not whole sectors of {SECTOR_BYTES:#x}")
        if entry.offset < end:
            found.append(f"{name} at {entry.offset:#x} overlaps {last}, which ends at {end:#x}")
        if entry.end > flash_bytes:
            found.append(f"{name} ends at {entry.end:#x}, behind the end of flash at {flash_bytes:#x}")
        if entry.end > end:
            end, last = entry.end, name
    return found + _kinds(table)


def _kinds(table: Table) -> list[str]:
    """Faults in what kinds of partitions there are."""
    found = []
    keys = [(entry.type, entry.subtype) for entry in table.entries if entry.type == TYPE_APP]
    labels = [entry.label for entry in table.entries]
    if len(set(keys)) != len(keys):
        found.append("two application partitions have the same subtype")
    if len(set(labels)) != len(labels):
        found.append("two partitions have the same name")
    otadata = table.otadata
    if otadata is not None and otadata.size_bytes != OTADATA_BYTES:
        found.append(f"'{otadata.label}' (otadata) has {otadata.size_bytes:#x} bytes, not {OTADATA_BYTES:#x}")
    nvs = table.data(NVS)
    if nvs is None or nvs.size_bytes < NVS_LEAST_BYTES:
        found.append(f"no nvs partition of at least {NVS_LEAST_BYTES:#x} bytes: Wi-Fi needs one")
    return found


def _pack(entry: Entry) -> bytes:
    label = entry.label.encode()
    if not 0 < len(label) <= _LABEL_BYTES:
        raise TableRefused(f"the partition name {entry.label!r}", f"1 to {_LABEL_BYTES} bytes")
    return _ENTRY.pack(
        _ENTRY_MAGIC, entry.type, entry.subtype, entry.offset, entry.size_bytes, label, entry.flags
    )


def _unpack(line: bytes, number: int) -> Entry:
    magic, kind, subtype, offset, size, label, flags = _ENTRY.unpack(line)
    if magic != _ENTRY_MAGIC:
        raise TableRefused(f"entry {number} of the partition table is none", _DAMAGED)
    text = label.split(b"\0")[0].decode("ascii", "replace")
    text = "".join(char if char.isprintable() else "\ufffd" for char in text)  # it is shown on terminals
    return Entry(text, kind, subtype, offset, size, flags)


def _check_md5(line: bytes, before: bytes) -> None:
    if line[:16] != _MD5_HEAD or line[16:] != hashlib.md5(before, usedforsecurity=False).digest():
        raise TableRefused("the partition table does not fit its MD5 sum", _DAMAGED)


def _csv_entry(line: str, at: int) -> Entry:
    """Raises ValueError."""
    fields = [field.strip() for field in line.split(",")]
    if len(fields) < 5 or len(fields) > 6:
        raise ValueError(f"{len(fields)} fields, not 5 or 6")
    label, kind_text, subtype_text, offset_text, size_text = fields[:5]
    if not label.isascii() or not label.isprintable() or not 0 < len(label) <= _LABEL_BYTES:
        raise ValueError(f"the name {label!r} is not 1 to {_LABEL_BYTES} ASCII characters")
    kind = _TYPES[kind_text] if kind_text in _TYPES else _number(kind_text, 0xFE)
    names = {TYPE_APP: _APP_SUBTYPES, TYPE_DATA: _DATA_SUBTYPES}.get(kind, {})
    subtype = names[subtype_text] if subtype_text in names else _number(subtype_text, 0xFE)
    align = APP_ALIGN_BYTES if kind == TYPE_APP else SECTOR_BYTES
    offset = _number(offset_text) if offset_text else -(-at // align) * align
    flags = 0
    for flag in fields[5].split(":") if len(fields) > 5 and fields[5] else []:
        if flag.strip() not in _FLAGS:
            raise ValueError(f"no flag {flag.strip()!r} is known")
        flags |= _FLAGS[flag.strip()]
    return Entry(label, kind, subtype, offset, _number(size_text), flags)


def _number(text: str, largest: int = 0xFFFFFFFF) -> int:
    """A number as gen_esp32part.py takes it: 0x1000, 4096, 4K, 1M. Raises ValueError."""
    unit = {"k": 1 << 10, "m": 1 << 20}.get(text[-1:].lower(), 1)
    digits = text[:-1] if unit > 1 else text
    if len(digits) > 12 or not digits.isascii() or "_" in digits:
        raise ValueError(f"{text!r} is no number")
    try:
        value = int(digits, 0) * unit
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None
    if not 0 <= value <= largest:
        raise ValueError(f"{text!r} is not from 0 to {largest:#x}")
    return value
