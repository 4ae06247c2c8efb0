"""What is asked of a firmware file, one question each; firmware.py asks them in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar

from gapcast.errors import OperatorError
from gapcast.image.boards import chip_name
from gapcast.image.espapp import DESCRIPTOR_MAGIC, DESCRIPTOR_OFFSET, AppImage
from gapcast.image.espimage import MAGIC, ImageRefused
from gapcast_core.container import MAGIC as CONTAINER_MAGIC
from gapcast_tools.boards.definition import BoardDef
from gapcast_tools.boards.micropython import LEAST, LEAST_TEXT, find_version
from gapcast_tools.boards.table import (
    FACTORY,
    TABLE_BYTES,
    TABLE_OFFSET,
    TYPE_APP,
    Entry,
    Table,
    faults,
    parse_binary,
)

T = TypeVar("T")

BOOT_ADDRESSES = (0x1000, 0x2000)  # where boot loaders are that are not at 0 (0x2000: C5, P4)
LEAST_VFS_BYTES = 0x20000  # the client, its settings, and something for the user
_AGAIN = "download or build it again"


class FirmwareRefused(OperatorError):
    """This file is nothing that the board could work with.

    reason: `not_firmware`, `truncated`, `damaged`, `app_image`, `wrong_chip`, `bad_table`, `no_slots`,
        `too_large`, `no_micropython`, `old_micropython` or `no_rollback`.
    """

    def __init__(self, reason: str, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.reason = reason


class Flash:
    """A file, addressed as flash will be."""

    def __init__(self, data: bytes, start: int) -> None:
        self._data = data
        self._start = start
        self.end = start + len(data)

    def read(self, offset: int, size_bytes: int) -> bytes:
        """What the file has of that: fewer bytes at its end, or none."""
        at = offset - self._start
        return self._data[max(at, 0) : max(at + size_bytes, 0)]


def refuse(reason: str, message: str, hint: str) -> NoReturn:
    """Raise FirmwareRefused."""
    raise FirmwareRefused(reason, message, hint)


def start(data: bytes, board: BoardDef) -> int:
    """The flash offset at which the file begins. Raises FirmwareRefused."""
    boot = board.chip_facts.boot_address
    whole = "a board without firmware needs all of it: the .bin of MicroPython's download page"
    if data[:4] == CONTAINER_MAGIC:
        hint = f"{whole}; a container is for boards that run already, by `gapcast serve`"
        refuse("app_image", "this is a container, which holds an application alone", hint)
    # A file of merge-bin begins at 0, with erased flash up to the boot loader.
    first = next((at for at in (0, *BOOT_ADDRESSES) if data[at : at + 1] != b"\xff"), 0)
    if data[first : first + 1] != bytes([MAGIC]) or data[:first].count(0xFF) != first:
        refuse("not_firmware", "this is no ESP32 firmware" if data else "the file is empty", whole)
    magic = data[first + DESCRIPTOR_OFFSET : first + DESCRIPTOR_OFFSET + 4]
    chip = chip_name(int.from_bytes(data[first + 12 : first + 14], "little"))
    if chip != board.chip:
        hint = f"take firmware for {board.chip}, or name the board that it is for: --board"
        refuse("wrong_chip", f"it is for {chip}, but {board.name} has {board.chip}", hint)
    if magic == DESCRIPTOR_MAGIC.to_bytes(4, "little"):
        hint = f"{whole}; .app-bin is for `gapcast image build`"
        refuse("app_image", "this is an application without boot loader and partition table", hint)
    return 0 if first else boot


def checked(flash: Flash, offset: int, room: int, what: str, check: Callable[[bytes], T]) -> T:
    """The image of at most `room` bytes at `offset`. Raises FirmwareRefused."""
    data = flash.read(offset, room)
    try:
        return check(data)
    except ImageRefused as error:
        cut = error.reason == "truncated" and flash.end < offset + room
        message = f"its {what} is damaged: {error.message}"
        refuse(
            "truncated" if cut else "damaged", message, f"the copy is incomplete: {_AGAIN}" if cut else _AGAIN
        )


def table_of(flash: Flash) -> Table:
    """The partition table. Raises FirmwareRefused."""
    if flash.end < TABLE_OFFSET + TABLE_BYTES:
        hint = f"the copy is incomplete, or the boot loader alone: {_AGAIN}"
        refuse("truncated", f"it ends at {flash.end:#x}, before the partition table does", hint)
    try:
        return parse_binary(flash.read(TABLE_OFFSET, TABLE_BYTES))
    except OperatorError as error:
        refuse("bad_table", error.message, error.hint)


def fitting_flash(table: Table, board: BoardDef) -> tuple[int, ...]:
    """The board's sizes of flash in which `table` works. Raises FirmwareRefused."""
    if len(table.slots) < 2:
        found = ", ".join(entry.label for entry in table.entries if entry.type == TYPE_APP) or "none"
        message = f"its partition table has no two slots for applications (it has: {found})"
        refuse(
            "no_slots", f"{message}, so an update could not be written while another runs", _two_slots(board)
        )
    if table.otadata is None:
        message = "its partition table has no otadata partition, which says what slot to boot"
        refuse("no_slots", message, _two_slots(board))
    largest = board.flash_bytes[-1]
    wrong = faults(table, largest)
    if wrong:
        refuse("bad_table", f"its partition table cannot work: {wrong[0]}", _two_slots(board))
    sizes = []
    for size in board.flash_bytes:
        vfs = table.vfs(size)
        if not faults(table, size) and vfs is not None and vfs.size_bytes >= LEAST_VFS_BYTES:
            sizes.append(size)
    if not sizes:
        message = (
            f"its partition table leaves no room for a file system, even in {largest >> 20} MiB of flash"
        )
        refuse("bad_table", message, _two_slots(board))
    return tuple(sizes)


def _two_slots(board: BoardDef) -> str:
    """Where to get firmware with two slots."""
    build = f"build boards/{board.name} (boards/README.md)"
    if board.name == "ESP32_GENERIC":
        return f"take MicroPython's OTA variant, ESP32_GENERIC-OTA-...bin, or {build}"
    return f"MicroPython offers none for this board with two slots: {build}"


def app_place(flash: Flash, table: Table) -> Entry:
    """The partition whose application the file has: what a blank otadata boots. Raises FirmwareRefused."""
    factory = [entry for entry in table.entries if entry.type == TYPE_APP and entry.subtype == FACTORY]
    for entry in (*factory, *table.slots):
        if flash.read(entry.offset, 1) == bytes([MAGIC]):
            return entry
    first = table.slots[0].offset
    reason = "truncated" if flash.end <= first else "damaged"
    refuse(reason, f"there is no application at {first:#x}, where the table has it", _AGAIN)


def refuse_app(app: AppImage, table: Table, board: BoardDef) -> None:
    """Refuse an application for another chip, or one that a slot could not hold. Raises FirmwareRefused."""
    if app.chip != board.chip:
        hint = f"the file was put together wrongly: take firmware for {board.chip}"
        refuse("wrong_chip", f"its application is for {app.chip}, but {board.name} has {board.chip}", hint)
    for slot in table.slots:
        if app.image_bytes > slot.size_bytes:
            have, need = slot.size_bytes >> 10, -(-app.image_bytes >> 10)
            hint = _two_slots(board)
            message = f"its application of {need} KiB does not fit the slot {slot.label} of {have} KiB"
            refuse("too_large", message, hint)


def micropython_in(flash: Flash, place: Entry, app: AppImage) -> tuple[int, ...]:
    """The version of MicroPython. Raises FirmwareRefused."""
    found = find_version(flash.read(place.offset, app.image_bytes), app.descriptor)
    if found is None:
        hint = "the client is written in MicroPython: take its firmware"
        refuse("no_micropython", "its application is not MicroPython", hint)
    if found < LEAST:
        text = ".".join(str(number) for number in found)
        message = f"MicroPython {text} is too old: its .mpy format is not the one of mpy-cross, and 1.23's is"
        refuse("old_micropython", message, f"take MicroPython {LEAST_TEXT} or newer")
    return found
