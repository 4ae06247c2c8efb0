"""What one board told of its needs, and what that says of its losses (PROTOCOL.md section 11)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from gapcast_core.generations import POOL_BLOCKS, TOO_MANY, WHOLE, Plan

LOSS_MAX = 0.6
LOSS_MEMORY = 0.25  # weight of the latest lesson in a board's loss
LESSON_DATAGRAMS = 48


@dataclass(slots=True, eq=False)
class Needs:
    """One board.

    known: the symbols lacking, of each generation reported. base: how many of its unit's symbols
    had been sent when that was reported. surplus: blocks that it asked for one by one.
    """

    heard_at: float
    place: int = 0  # datagrams of the session sent, and heard by it, when `loss` was last worked out
    count: int = 0
    reached: int = 0  # the highest place that it ever told: a forged number takes nothing back
    loss: float = 0.0
    lessons: int = 0  # what `loss` is made of
    known: list[int] = field(default_factory=list)
    base: list[int] = field(default_factory=list)
    surplus: list[int] = field(default_factory=list)
    total: int = 0  # datagrams in all lessons
    lost: int = 0  # of these
    squares: float = 0.0  # sum of lost * lost / total of each lesson
    worst: tuple[int, int] = (0, 1)  # lost and total of the lesson that lost most
    too_many: set[int] = field(default_factory=set)  # generations that symbols cannot help it with

    def tell(self, generation: int, lack: int, base: int) -> None:
        """Note a need, told in the order of the generations."""
        if lack == TOO_MANY:
            self.too_many.add(generation)
            lack = 0
        else:
            self.too_many.discard(generation)
        if generation < len(self.known):
            self.known[generation] = lack
            self.base[generation] = base
        else:
            self.known.append(lack)
            self.base.append(base)

    def forget(self) -> None:
        """Generations are made of other blocks from now on."""
        self.known.clear()
        self.base.clear()
        self.too_many.clear()
        self.surplus = []

    def lacks(self, generation: int) -> bool:
        """Whether it needs symbols of a generation, or did not tell."""
        return generation >= len(self.known) or self.known[generation] > 0

    def learn(self, place: int, count: int) -> None:
        """It had heard so many DATA (modulo 65536) of the session's first `place` ones."""
        if place - self.place < LESSON_DATAGRAMS:
            return
        blocks = place - self.place
        gone = max(blocks - ((count - self.count) & 0xFFFF), 0)
        lost = gone / blocks
        self.total += blocks
        self.lost += gone
        self.squares += gone * gone / blocks
        self.worst = max(self.worst, (gone, blocks))
        weight = LOSS_MEMORY if self.lessons else 1.0
        self.place = place
        self.count = count
        self.lessons += 1
        self.loss = min(max(self.loss + (lost - self.loss) * weight, 0.0), LOSS_MAX)

    def told(self, generations: range) -> int:
        """Symbols that it said to lack of a unit."""
        return sum(self.known[generations.start : generations.stop])

    def wants(
        self, generations: range, blocks: list[int], sent: int, caution: float, spare: int | None = None
    ) -> float:
        """Symbols still to send of a unit.

        Args:
            generations: that the unit is made of, and how many blocks each has.
            sent: of this unit, so far.
            caution: deviations more than the mean that it is taken to lack where it has not told.
            spare: symbols more than it is expected to need where it has told. None: as many as it lacks, for
                nobody waits while it asks again for what is lost of these, and more would often be too many.
        """
        lack: float = min(self.told(generations), POOL_BLOCKS)  # what is beyond is sent as it is
        told = len(self.known) - generations.start
        if told < len(blocks):
            untold = sum(blocks[max(told, 0) :])
            lack += self.loss * untold + caution * math.sqrt(untold * self.loss * (1 - self.loss))
            return lack / (1 - self.loss) - sent
        if not lack:
            return 0.0
        sent -= self.base[generations.stop - 1]
        return lack - sent if spare is None else lack / (1 - self.loss) + spare - sent


def generations_of(plan: Plan, unit: int) -> range:
    """The generations that a unit is made of."""
    first = unit // 3 * 2
    kind = unit % 3
    if kind != WHOLE:
        return range(first + kind, first + kind + 1)
    return range(first, min(first + 2, plan.count))
