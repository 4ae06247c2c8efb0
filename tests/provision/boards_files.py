"""Firmware files as MicroPython's build makes them, for the tests of what takes them."""

from __future__ import annotations

from functools import cache

from gapcast.image.boards import CHIPS
from gapcast.image.espapp import DESCRIPTOR_OFFSET, Descriptor
from gapcast.image.espimage import build_image
from gapcast_tools.boards.bootloader import build_bootloader
from gapcast_tools.boards.definition import BoardDef, board_names, load_board
from gapcast_tools.boards.firmware import build_merged
from gapcast_tools.boards.table import Table, parse_csv

IDF = "v5.4.2"
BANNER = b"3.4.0; MicroPython v%s on 2025-08-09\0Generic ESP32 module with ESP32\0"
BOARDS = [load_board(name) for name in board_names()]
ESP32 = load_board("ESP32_GENERIC")
MIB = 1 << 20
UPSTREAM_OTA = parse_csv(
    """nvs, data, nvs, 0x9000, 0x4000
    otadata, data, ota, 0xd000, 0x2000
    phy_init, data, phy, 0xf000, 0x1000
    ota_0, app, ota_0, 0x10000, 0x180000
    ota_1, app, ota_1, 0x190000, 0x180000"""
)
UPSTREAM_PLAIN = parse_csv(
    """nvs, data, nvs, 0x9000, 0x6000
    phy_init, data, phy, 0xf000, 0x1000
    factory, app, factory, 0x10000, 0x1F0000"""
)


def micropython(version: bytes = b"1.26.0", chip: str = "esp32", size: int = 20_000, idf: str = IDF) -> bytes:
    """An application as MicroPython's build makes it: no name and no version in its descriptor."""
    described = bytearray(Descriptor("x", "x", "Aug  9 2025", "12:00:00", idf).pack())
    described[16:80] = bytes(64)
    data = bytes(described) + BANNER % version
    facts = CHIPS[chip]
    return build_image(facts, facts.drom_address + DESCRIPTOR_OFFSET, data.ljust(size - 65, b"\x5a"))


@cache
def real(version: bytes = b"1.26.0", board: BoardDef = ESP32, table: Table = UPSTREAM_OTA) -> bytes:
    """A file with what MicroPython's has where it has it."""
    loader = build_bootloader(board.chip, IDF, rollback=None)
    return build_merged(board.chip, table, micropython(version, board.chip), loader)
