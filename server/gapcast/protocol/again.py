"""Blocks that go to the group once more, as they are (PROTOCOL.md section 11).

A board that lost more of a unit than it can solve for asks for the surplus block by block; what it
then gets may help others too. And of what several boards have lost nearly all, all is sent again: they
joined when the stream had begun, or were out of reach.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from gapcast.protocol.needs import Needs
from gapcast.protocol.planner import is_cheaper_to_all

MAX_UNIT_TIMES = 2
FLIGHT_S = 0.02  # a report cannot know of a unit whose end was sent within this time
MAX_TIMES = 8  # as often is one block repeated; who still misses it fetches it by unicast


class Again:
    """The blocks to be sent once more."""

    def __init__(self, total_blocks: int) -> None:
        self._left = total_blocks  # boards that ask without end cost the group the image once more
        self._waiting: deque[int] = deque()
        self._times: dict[int, int] = {}  # at most as many as are allowed in all
        self._sent_at: dict[int, float] = {}
        self._places: dict[int, int] = {}  # of the last datagram with each
        self._unit_times: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def allows(self, block: int) -> bool:
        """Whether that block may be sent once more."""
        return self._left > 0 and self._times.get(block, 0) < MAX_TIMES

    def ask(self, blocks: list[int], seen: int) -> None:
        """A board misses these blocks, and knows of so many of the session's datagrams."""
        for block in blocks:
            flying = self._places.get(block, -1) >= seen
            if not flying and self.allows(block) and block not in self._waiting:
                self._waiting.append(block)

    def ask_unit(self, unit: int, blocks: list[int]) -> None:
        """Several boards miss nearly all of these blocks, which are a unit."""
        times = self._unit_times.get(unit, 0)
        if times < MAX_UNIT_TIMES:
            self._unit_times[unit] = times + 1
            self._left += len(blocks)
            self._waiting.extend(blocks)

    def may_bring(self, end: int, heard_at: float) -> bool:
        """Whether a unit that ends with this block waits to be sent, or was, unknown to who reported then."""
        return end in self._waiting or heard_at < self._sent_at.get(end, -1e9) + FLIGHT_S

    def may_help(
        self, board: Needs, unit_of: Callable[[int], int], blocks_of: Callable[[int], list[int]]
    ) -> bool:
        """Whether a board may yet get blocks that it asked for, or units that it lost nearly all of.

        Args:
            unit_of: what a generation's symbols are made of. blocks_of: the blocks of a unit.
        """
        if any(self.allows(block) for block in board.surplus):
            return True
        ends = (blocks_of(unit_of(generation))[-1] for generation in board.too_many)
        return any(self.may_bring(end, board.heard_at) for end in ends)

    def ask_lost(
        self, boards: Iterable[Needs], unit_of: Callable[[int], int], blocks_of: Callable[[int], list[int]]
    ) -> None:
        """Send all of what several boards have lost nearly all of. The arguments are those of may_help."""
        lost: dict[int, int] = {}
        for board in boards:
            for unit in {unit_of(generation) for generation in board.too_many}:
                if not self.may_bring(blocks_of(unit)[-1], board.heard_at):
                    lost[unit] = lost.get(unit, 0) + 1
        for unit in sorted(lost):
            blocks = blocks_of(unit)
            if is_cheaper_to_all(lost[unit], len(blocks)):
                self.ask_unit(unit, blocks)

    def take(self, place: int, now: float) -> int:
        """The next block to send, which is so much of the session's datagrams."""
        block = self._waiting.popleft()
        self._left -= 1
        self._times[block] = self._times.get(block, 0) + 1
        self._sent_at[block] = now
        self._places[block] = place
        return block
