"""The blocks of units, and the repair symbols made of them."""

from __future__ import annotations

from gapcast.protocol.erasure import repair_symbols
from gapcast.protocol.types import Content
from gapcast_core.generations import BLOCKS
from gapcast_core.plan import Plan


class UnitBlocks:
    """One unit's data is kept in memory: symbols are asked for unit by unit.

    read and symbol raise ContentChangedError.
    """

    def __init__(self, plan: Plan, content: Content, blksize: int) -> None:
        self._plan = plan
        self._content = content
        self._blksize = blksize
        self._unit = -1
        self._data = b""

    def forget(self) -> None:
        """Units are made of other blocks from now on."""
        self._unit = -1

    def of(self, unit: int) -> list[int]:
        """The block numbers of a unit, in the order of its data symbols."""
        return [self._plan.block(unit, j) for j in range(self._plan.size(unit))]

    def read(self, block: int) -> bytes:
        """The payload of a block."""
        return self._content.read((block - 1) * self._blksize, self._blksize)

    def symbol(self, unit: int, symbol: int) -> bytes:
        """A repair symbol, 128..255."""
        if self._unit != unit:
            self._data = b"".join(self.read(block) for block in self.of(unit))
            self._unit = unit
        return repair_symbols(self._data, self._plan.size(unit), self._blksize, [symbol])[0]


def plan_for(content: Content, blksize: int) -> Plan | None:
    """How this file can be mended; None when it cannot: too long, too odd, or too small a block."""
    if not content.size or content.size % blksize or blksize % 8:
        return None
    plan = Plan(content.size // blksize, BLOCKS)
    return plan if plan.fits() else None
