"""Power cuts of one board: at which flash operations, and what they cost."""

from __future__ import annotations

import random
from pathlib import Path

from gapcast_sim.boardflash import read_slot

BLOCK_BYTES = 1024
# Behind the last block come the operations of otadata and NVS: the switch and the trial lose power too.
MORE_OPERATIONS = 8


class Cuts:
    """When a board loses its power: `count` times, at random operations of its flash.

    They are drawn from the operations that an update needs at least, one a block. Every boot does more than
    its share of those, so that each of the moments comes.

    Args:
        image_bytes: Of the container; None when only the server knows: the first cut is early then.
    """

    def __init__(self, seed: int, count: int, image_bytes: int | None = None) -> None:
        self._dice = random.Random(f"power {seed}")
        self._left = count
        self._operations = MORE_OPERATIONS
        self._knows = False
        if image_bytes is not None:
            self.learn(image_bytes)

    def learn(self, image_bytes: int) -> None:
        """The size of the image, from its header; only the first time counts."""
        if not self._knows:
            self._operations += -(-image_bytes // BLOCK_BYTES)
            self._knows = True

    def next(self) -> tuple[int, bool]:
        """(operation of the next boot, counted from 1; half of it is done); (0, False): none any more."""
        if not self._left or self._operations < self._left:
            return 0, False
        operation = min(self._dice.sample(range(1, self._operations + 1), self._left))
        self._left -= 1
        self._operations -= operation
        return operation, self._dice.random() < 0.5


class Meter:
    """Counts what a board had to download although it had it before.

    Attributes:
        programmed_bytes: All that its boots handed to the flash of the slots.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before = [read_slot(folder, slot) for slot in (0, 1)]
        self.programmed_bytes = 0

    def bytes_again(self, slot: int, stored_bytes: int) -> int:
        """What was programmed beyond what the slot lacked when all began.

        Args:
            slot: The one with the new image, complete.
            stored_bytes: Payload and digest table.
        """
        after = read_slot(self._folder, slot)[:stored_bytes]
        before = self._before[slot]
        right = sum(
            len(after[at : at + BLOCK_BYTES])
            for at in range(0, len(after), BLOCK_BYTES)
            if before[at : at + BLOCK_BYTES] == after[at : at + BLOCK_BYTES]
        )
        return max(self.programmed_bytes - (stored_bytes - right), 0)
