"""Which chip a board has, and what an application image for that chip looks like."""

from __future__ import annotations

from dataclasses import dataclass

from gapcast.errors import OperatorError


@dataclass(frozen=True, slots=True)
class Chip:
    """One ESP32-class chip.

    chip_id: esp_chip_id_t in the image header (ESP-IDF esp_app_format.h).
    drom_address: where the flash cache maps constant data, the first segment of an application
        (esptool 5.6, targets/*.py, DROM_MAP_START).
    boot_address: where in flash the ROM finds the boot loader (the same files, BOOTLOADER_FLASH_OFFSET).
    """

    name: str
    chip_id: int
    drom_address: int
    boot_address: int = 0


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("esp32", 0, 0x3F400000, 0x1000),
        Chip("esp32s2", 2, 0x3F000000, 0x1000),
        Chip("esp32c3", 5, 0x3C000000),
        Chip("esp32s3", 9, 0x3C000000),
        Chip("esp32c6", 13, 0x42800000),
    )
}

# MicroPython's names of its boards (ports/esp32/boards). SIM runs on this machine, in an ESP32's dress.
BOARD_CHIPS = {
    "SIM": "esp32",
    "ESP32_GENERIC": "esp32",
    "ESP32_GENERIC_S2": "esp32s2",
    "ESP32_GENERIC_S3": "esp32s3",
    "ESP32_GENERIC_C3": "esp32c3",
    "ESP32_GENERIC_C6": "esp32c6",
}


def chip_of_board(board: str, chip: str | None = None) -> Chip:
    """The chip on `board`; `chip` names it for a board that is not in the table.

    Raises:
        OperatorError: The board is unknown and `chip` is not given.
    """
    name = chip or BOARD_CHIPS.get(board)
    if name is None:
        known = ", ".join(BOARD_CHIPS)
        raise OperatorError(
            f"no board {board!r} is known", f"one of {known}; or name its chip: --chip {'|'.join(CHIPS)}"
        )
    return CHIPS[name]


def chip_name(chip_id: int) -> str:
    """The name of a chip id, for messages: `esp32s3`, or `chip 0x12` when it is not in the table."""
    for chip in CHIPS.values():
        if chip.chip_id == chip_id:
            return chip.name
    return f"chip 0x{chip_id:02x}"
