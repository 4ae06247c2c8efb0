"""Firmware for a bare board: one file with boot loader, partition table and application, and who refuses it.

MicroPython offers it as .bin (`ESP32_GENERIC-OTA-...bin`; ports/esp32/makeimg.py makes it). The file begins
where the chip's boot loader does, at flash offset 0x1000 on ESP32 and S2, 0 on the others (esptool's
merge-bin can also begin at 0, with FF before the boot loader); what lies between the parts is FF.
Everything that can be judged without a board is judged here, before anything is erased.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from gapcast.errors import OperatorError
from gapcast.image.boards import CHIPS
from gapcast.image.espapp import parse_app
from gapcast.image.espimage import check_image
from gapcast.image.files import read_bounded
from gapcast.image.sample import is_sample
from gapcast_tools.boards.bootloader import Origin, build_bootloader, can_roll_back
from gapcast_tools.boards.checks import (
    FirmwareRefused,
    Flash,
    app_place,
    checked,
    fitting_flash,
    micropython_in,
    refuse,
    refuse_app,
    start,
    table_of,
)
from gapcast_tools.boards.definition import BoardDef
from gapcast_tools.boards.table import TABLE_BYTES, TABLE_OFFSET, TYPE_APP, Table

__all__ = ["Firmware", "FirmwareRefused", "Part", "build_merged", "load_firmware"]

MAX_BYTES = 32 << 20  # the largest flash that a module is sold with
BOOTLOADER = "bootloader"
TABLE = "partition table"
APP = "app"


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes to write, and where in flash."""

    name: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Firmware:
    """A firmware file that was found good.

    version: MicroPython's, such as "1.26.0"; of sample firmware its own.
    parts: "bootloader", "partition table" and "app". Nothing else of flash is ever written from a file.
    sha256: Of the file, as hex digits.
    rollback: Whether the boot loader can; None: it cannot be told, and a warning says so.
    flash_bytes: The sizes of the board's flash in which the table and a file system have room.
    simulated: No MicroPython inside, but a sample for simulated chips.
    """

    path: Path
    chip: str
    version: str
    table: Table
    parts: tuple[Part, ...]
    sha256: str
    rollback: bool | None
    flash_bytes: tuple[int, ...]
    simulated: bool
    warnings: tuple[str, ...]


def load_firmware(path: Path, board: BoardDef) -> Firmware:
    """The firmware in the file `path`, for `board`.

    Raises:
        FirmwareRefused: See its reasons; the message names the file.
        OperatorError: It cannot be read, or is larger than any flash.
    """
    data = read_bounded(path, MAX_BYTES)
    try:
        return _judge(path, data, board)
    except FirmwareRefused as error:
        raise FirmwareRefused(error.reason, f"{path}: {error.message}", error.hint) from None


def build_merged(chip: str, table: Table, app: bytes, bootloader: bytes | None = None) -> bytes:
    """A firmware file for `chip`, as MicroPython's makeimg.py lays it out; for simulated chips and tests.

    The application goes to the first slot, or where there is none to the first application partition.

    Args:
        bootloader: None takes one that has no code, and says that it rolls back.

    Raises:
        OperatorError: The table has no place for an application, or a part does not fit before the next.
    """
    start = CHIPS[chip].boot_address
    places = [*table.slots, *(entry for entry in table.entries if entry.type == TYPE_APP)]
    if not places:
        raise OperatorError("the partition table has no place for an application", "see boards/")
    if bootloader is None:
        bootloader = build_bootloader(chip)
    out = bytearray()
    for offset, part in ((start, bootloader), (TABLE_OFFSET, table.pack()), (places[0].offset, app)):
        if len(out) > offset - start:
            raise OperatorError(f"no room before {offset:#x} for the parts of this firmware", "smaller ones")
        out += b"\xff" * (offset - start - len(out)) + part
    return bytes(out)


def _judge(path: Path, data: bytes, board: BoardDef) -> Firmware:
    """Raises FirmwareRefused."""
    boot = board.chip_facts.boot_address
    flash = Flash(data, start(data, board))
    bootloader = checked(flash, boot, TABLE_OFFSET - boot, "boot loader", check_image)
    table = table_of(flash)
    sizes = fitting_flash(table, board)
    place = app_place(flash, table)
    app = checked(flash, place.offset, MAX_BYTES, "application", parse_app)
    refuse_app(app, table, board)
    simulated = is_sample(flash.read(place.offset, app.image_bytes))
    micropython = None if simulated else micropython_in(flash, place, app)
    code = flash.read(boot, bootloader.image_bytes)
    rollback = can_roll_back(code, Origin(app.descriptor.idf, micropython))
    if rollback is False:
        hint = (
            "build it with CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE, or take MicroPython's: it has it since 1.21"
        )
        refuse("no_rollback", "its boot loader cannot go back from an update that fails", hint)
    parts = (
        Part(BOOTLOADER, boot, code),
        Part(TABLE, TABLE_OFFSET, flash.read(TABLE_OFFSET, TABLE_BYTES)),
        Part(APP, place.offset, flash.read(place.offset, app.image_bytes)),
    )
    version = app.descriptor.version if micropython is None else ".".join(str(n) for n in micropython)
    return Firmware(
        path,
        board.chip,
        version,
        table,
        parts,
        hashlib.sha256(data).hexdigest(),
        rollback,
        sizes,
        simulated,
        tuple(_warnings(flash, table, rollback, simulated)),
    )


def _warnings(flash: Flash, table: Table, rollback: bool | None, simulated: bool) -> list[str]:
    found = []
    if simulated:
        found.append("sample firmware for simulated chips: a real board would not run it")
    if rollback is None:
        found.append(
            "whether its boot loader goes back from an update that fails cannot be told:"
            " it does not seem to be of the same build as the application"
        )
    for entry in table.entries:
        if entry.type != TYPE_APP and flash.read(entry.offset, entry.size_bytes).strip(b"\xff"):
            found.append(f"what it has for the partition {entry.label!r} is not written")
    return found
