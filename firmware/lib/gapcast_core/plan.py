"""How a file is cut into generations, and the numbers of units (generations.py, PROTOCOL.md section 11).

At first the blocks of a generation stand in a row. Where losses come in bursts these take too many of one
generation, so the server may interleave: the generations of a group of up to SPAN take turns. Groups start
at fixed places, so a symbol's number is all that is needed to know of which blocks it is made.
"""

from .errors import UsageError

MAX_BLOCKS = 64  # of a generation
MAX_GENERATIONS = 128
SPAN = 24  # generations of a group
LAST_SPAN = 8  # so many that are left are one group: one after the other they can be mended without a pause
WHOLE = 2  # the kind of a unit that is a pair


class Plan:
    """How a file of `total_blocks` is cut into generations of `k` blocks.

    At first a generation is k blocks in a row. After mix() those of a group of up to SPAN take turns: the
    first has the blocks 1, 1 + span, 1 + 2 span, ... of the group. So a burst of loss is spread over them.
    """

    def __init__(self, total_blocks, k):
        if not 1 <= k <= MAX_BLOCKS:
            raise UsageError("generations of %d blocks" % k)
        self.total_blocks = total_blocks
        self.k = k
        self.count = (total_blocks + k - 1) // k
        self.pairs = (self.count + 1) // 2
        self.mixed = False
        self._starts = []  # the first generation of each group, and behind the last
        self._at = 0  # the group looked at last

    def fits(self):
        """Whether block numbers can name every symbol."""
        return 0 < self.count <= MAX_GENERATIONS

    def mix(self):
        """From now on generations are interleaved.

        Large groups spread bursts best. The last ones, which are mended after the end, are smaller.
        """
        starts = [0]
        left = self.count
        while left:
            span = left if left <= LAST_SPAN else min(SPAN, left * 3 // 4 & ~1)
            starts.append(starts[-1] + span)
            left -= span
        self._starts = starts
        self._at = 0
        self.mixed = True

    def _seek(self, generation):
        """The group of a generation."""
        at = self._at
        while generation < self._starts[at]:
            at -= 1
        while generation >= self._starts[at + 1]:
            at += 1
        self._at = at
        return at

    def of(self, block):
        """The generation of a block."""
        row = (block - 1) // self.k
        if not self.mixed:
            return row
        at = self._seek(row)
        row = self._starts[at]
        span = self._starts[at + 1] - row
        column = (block - 1 - row * self.k) % span
        at = (span + 1) // 2  # the two of a pair are as far apart as can be
        return row + (2 * column if column < at else 2 * (column - at) + 1)

    def begin(self, generation):
        """The first generation of its group."""
        return self._starts[self._seek(generation)] if self.mixed else generation

    def until(self, generation):
        """The first generation behind its group."""
        return self._starts[self._seek(generation) + 1] if self.mixed else generation + 1

    def step(self, generation):
        """How far the blocks of a generation are from one another."""
        if not self.mixed:
            return 1
        at = self._seek(generation)
        return self._starts[at + 1] - self._starts[at]

    def origin(self, generation):
        """The first block of a generation."""
        if not self.mixed:
            return generation * self.k + 1
        at = self._seek(generation)
        start = self._starts[at]
        column = (generation - start) // 2
        if (generation - start) % 2:
            column += (self._starts[at + 1] - start + 1) // 2
        return start * self.k + column + 1

    def last(self, generation):
        """The last block of a generation, or, when mixed, of its group."""
        return min(self.until(generation) * self.k, self.total_blocks)

    def blocks(self, generation):
        """The blocks of a generation; none when there is no such."""
        if generation >= self.count:
            return 0
        if not self.mixed:
            left = self.total_blocks - generation * self.k
            return left if left < self.k else self.k
        return (self.last(generation) - self.origin(generation)) // self.step(generation) + 1

    def first(self, unit):
        """The number, from 1, of the first block of a unit, or, when mixed, of its group."""
        return self.begin(first_of(unit)) * self.k + 1

    def end(self, unit):
        """The number of the last block of a unit, or, when mixed, of its group."""
        unit = first_of(unit) + (unit % 3 == WHOLE)
        return self.last(min(unit, self.count - 1))

    def size(self, unit):
        """Blocks in a unit; none when there is no such."""
        size = self.blocks(first_of(unit))
        if unit % 3 == WHOLE:
            size += self.blocks(first_of(unit) + 1)
        return size

    def block(self, unit, j):
        """The number of the block that is data symbol j of a unit."""
        generation = first_of(unit)
        if not self.mixed:
            return generation * self.k + j + 1
        if unit % 3 == WHOLE and j >= self.blocks(generation):
            j -= self.blocks(generation)
            generation += 1
        return self.origin(generation) + j * self.step(generation)

    def passed(self, position):
        """How many generations lie wholly below block `position`."""
        if position > self.total_blocks:
            return self.count
        return self.begin((position - 1) // self.k)


def first_of(unit):
    """The first generation of a unit."""
    kind = unit % 3
    return unit // 3 * 2 + (kind if kind != WHOLE else 0)


def alone(generation):
    """The unit of one generation."""
    return generation // 2 * 3 + generation % 2


def whole(generation):
    """The unit of the pair that a generation is in."""
    return generation // 2 * 3 + WHOLE
