"""The second-stage boot loader of a firmware file: what it is, and whether it can roll back."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from gapcast.image.boards import CHIPS
from gapcast.image.espimage import HEADER_BYTES, SEGMENT_HEADER_BYTES, build_image

DESCRIPTION_OFFSET = HEADER_BYTES + SEGMENT_HEADER_BYTES  # the first bytes of segment 0
# esp_bootloader_desc_t of ESP-IDF 5.2 and later: magic, reserved (or a secure version), version, the version
# of ESP-IDF, date and time, reserved.
_DESCRIPTION = struct.Struct("<B3sI32s24s16s")
_MAGIC = 80
_HAS_DESCRIPTION = (5, 2)

# Log texts of bootloader_utility.c at debug level.
_ROLLBACK_TEXTS = (b"is marking as ABORTED", b"marked PENDING_VERIFY state")  # only with rollback
_ALWAYS_TEXTS = (b"otadata[0]: sequence values", b"Active otadata[")  # beside them, in the same function
ROLLBACK_SINCE = (1, 21)  # MicroPython's ports/esp32/boards/sdkconfig.base, for all boards (6662d84faa)


@dataclass(frozen=True, slots=True)
class Origin:
    """What the application beside a boot loader says of the build that both came from.

    idf: The version of ESP-IDF in its descriptor, such as "v5.4.2": espapp.read_descriptor has it from the
        first 288 bytes, so that in a board's flash not all of the application need be read.
    micropython: (1, 26, 0); None when it is no MicroPython.
    """

    idf: str
    micropython: tuple[int, ...] | None


def description(bootloader: bytes) -> str | None:
    """The version of ESP-IDF that a boot loader names; None when it names none (before 5.2)."""
    if len(bootloader) < DESCRIPTION_OFFSET + _DESCRIPTION.size:
        return None
    fields = _DESCRIPTION.unpack_from(bootloader, DESCRIPTION_OFFSET)
    text = fields[3].split(b"\0")[0].decode("ascii", "replace")
    return text if fields[0] == _MAGIC and text.startswith("v") and text.isprintable() else None


def can_roll_back(bootloader: bytes, origin: Origin | None) -> bool | None:
    """Whether a boot loader goes back from an application that nobody confirmed; None: it cannot be told.

    There is no flag for it in the binary (esp_bootloader_desc_t has none). So, the surest first:

    1. Built with debug logs, its texts tell: those of the two writes that make up the rollback are there, or
       only their neighbours are. (CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE in bootloader_utility.c of ESP-IDF.)
    2. MicroPython's boot loaders log warnings only, so they have neither. But boot loader and application of
       one build share one sdkconfig, and MicroPython's has had rollback for all boards since 1.21. Of one
       build they are when both name the same ESP-IDF, or when the boot loader names none and the
       application's ESP-IDF is older than the first whose boot loaders do (5.2).
    3. Anything else cannot be told: a file put together from two builds, or what is no MicroPython.

    bootloader: From its first byte; whatever follows it, as in a copy of flash, does not matter.
    origin: The application's build; None for a boot loader that was found alone.
    """
    if any(text in bootloader for text in _ROLLBACK_TEXTS):
        return True
    if any(text in bootloader for text in _ALWAYS_TEXTS):
        return False
    if origin is None or origin.micropython is None or not _same_build(bootloader, origin.idf):
        return None
    return origin.micropython >= ROLLBACK_SINCE


def build_bootloader(chip: str, idf: str = "none", rollback: bool | None = True) -> bytes:
    """An image that reads as a boot loader, without code: for simulated chips, which play it themselves.

    rollback: Whether its texts say that it rolls back; None: they say nothing, as MicroPython's do.
    """
    texts = {True: _ROLLBACK_TEXTS + _ALWAYS_TEXTS, False: _ALWAYS_TEXTS, None: ()}[rollback]
    head = _DESCRIPTION.pack(_MAGIC, b"", 1, idf.encode(), b"Jan  1 2026 00:00:00", b"")
    return build_image(CHIPS[chip], _RAM_ADDRESS[chip], head + b"\0".join((*texts, b"")))


# Where such a chip has RAM for data (esptool 5.6, targets/*.py, MEMORY_MAP), so that tools do not wonder.
_RAM_ADDRESS = {
    "esp32": 0x3FFF0000,
    "esp32s2": 0x3FFE0000,
    "esp32s3": 0x3FCD0000,
    "esp32c3": 0x3FCD0000,
    "esp32c6": 0x40840000,
}


def _same_build(bootloader: bytes, idf: str) -> bool:
    named = description(bootloader)
    return named == idf if named is not None else _number(idf) < _HAS_DESCRIPTION


def _number(idf: str) -> tuple[int, ...]:
    """(5, 4, 2) of "v5.4.2-dirty"; a version that cannot be read counts as new."""
    parts = idf.removeprefix("v").split("-")[0].split(".")
    if not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        return (99,)
    return tuple(int(part) for part in parts)
