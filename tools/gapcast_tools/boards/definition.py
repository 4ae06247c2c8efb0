"""A board as Gapcast has to know it: boards/<BOARD>/gapcast.toml.

chip = "esp32"              a name in gapcast.image.boards.CHIPS
baud = 460800               of esptool, for writing
block_bytes = 1024          of one DATA packet when it is updated
image_bytes = 1712512       the largest application that its slots must hold

[[flash]]                   one for each size of flash, the smallest first
bytes = 0x400000
partitions = "../partitions-4MiB.csv"
slot_bytes = 0x1B0000       of each of the two application slots in it
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapcast.errors import OperatorError
from gapcast.image.boards import CHIPS, Chip
from gapcast_tools.boards.table import Table, parse_csv
from gapcast_tools.data import data_path

FILE = "gapcast.toml"


@dataclass(frozen=True)
class Layout:
    """How flash of one size is divided. Sizes in bytes."""

    flash_bytes: int
    slot_bytes: int
    partitions: Path  # CSV


@dataclass(frozen=True)
class BoardDef:
    """One kind of board. Sizes in bytes; `layouts` has the smallest flash first."""

    name: str
    chip: str
    baud: int
    block_bytes: int
    image_bytes: int
    layouts: tuple[Layout, ...]
    folder: Path

    @property
    def chip_facts(self) -> Chip:
        return CHIPS[self.chip]

    @property
    def flash_bytes(self) -> tuple[int, ...]:
        """The sizes of flash that it is sold with."""
        return tuple(layout.flash_bytes for layout in self.layouts)

    @property
    def slot_bytes(self) -> Mapping[int, int]:
        """The size of an application slot, by size of flash."""
        return {layout.flash_bytes: layout.slot_bytes for layout in self.layouts}

    def layout(self, flash_bytes: int) -> Layout:
        """The largest layout that flash of `flash_bytes` can hold. Raises OperatorError."""
        fitting = [layout for layout in self.layouts if layout.flash_bytes <= flash_bytes]
        if not fitting:
            have, need = flash_bytes >> 10, self.layouts[0].flash_bytes >> 20
            raise OperatorError(
                f"{self.name} with {have} KiB of flash", f"two slots need {need} MiB at least"
            )
        return fitting[-1]

    def table(self, flash_bytes: int) -> Table:
        """The board's own partition table for that flash. Raises OperatorError."""
        path = self.layout(flash_bytes).partitions
        try:
            return parse_csv(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise OperatorError(f"cannot read {path}: {error}") from error


def board_names() -> list[str]:
    """All that can be loaded."""
    return sorted(path.parent.name for path in data_path("boards").glob(f"*/{FILE}"))


def load_board(name: str) -> BoardDef:
    """The definition of the board `name`.

    Raises:
        OperatorError: It is unknown, or its gapcast.toml is wrong.
    """
    known = board_names()
    if name not in known:
        hint = f"one of {', '.join(known)}; boards/README.md says how to add one"
        raise OperatorError(f"no board {name!r} is known", hint)
    return read_definition(data_path("boards", name))


def read_definition(folder: Path) -> BoardDef:
    """The definition in `folder`.

    Raises:
        OperatorError: There is none, or it is wrong.
    """
    path = folder / FILE
    try:
        facts = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:  # ValueError: neither TOML nor UTF-8
        raise OperatorError(f"cannot read {path}: {error}", "boards/README.md says what is in it") from error
    try:
        board = BoardDef(
            name=folder.name,
            chip=_text(facts, "chip"),
            baud=_number(facts, "baud"),
            block_bytes=_number(facts, "block_bytes"),
            image_bytes=_number(facts, "image_bytes"),
            layouts=tuple(_layout(folder, flash) for flash in facts["flash"]),
            folder=folder,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise OperatorError(f"{path} is wrong: {error}", "boards/README.md says what is in it") from error
    if board.chip not in CHIPS:
        raise OperatorError(f"{path}: no chip {board.chip!r} is known", f"one of {', '.join(CHIPS)}")
    sizes = board.flash_bytes
    if not sizes or list(sizes) != sorted(set(sizes)):
        raise OperatorError(f"{path}: the sizes of flash are not in ascending order", "the smallest first")
    return board


def _layout(folder: Path, facts: Mapping[str, Any]) -> Layout:
    return Layout(_number(facts, "bytes"), _number(facts, "slot_bytes"), folder / _text(facts, "partitions"))


def _number(facts: Mapping[str, Any], key: str) -> int:
    value = facts[key]
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{key} is no positive number")
    return value


def _text(facts: Mapping[str, Any], key: str) -> str:
    value = facts[key]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} is no text")
    return value
