"""How many blocks are missing of each generation. Counted once, and from then on told of each that comes."""

from array import array

from .plan import WHOLE, first_of


class Missing:
    """gaps: the GapList, of known length. plan: plan.Plan. room: of `listed`."""

    def __init__(self, gaps, plan, room):
        self._gaps = gaps
        self._plan = plan
        self.counts = bytearray(2 * plan.pairs)  # by generation
        self.merges = 0
        self.listed = array("H", [0] * room)  # block numbers
        self.recount()

    @property
    def is_stale(self):
        """Whether the gap list ran out of memory: then more is missing than before."""
        return self._gaps.merges != self.merges

    def recount(self):
        """Count all anew."""
        gaps = self._gaps
        self.merges = gaps.merges
        for generation in range(self._plan.count):
            self.counts[generation] = 0
        for i in range(gaps.gap_count):
            block = gaps.first(i)
            end = block + gaps.length(i)
            while block < end:
                block = self._count(block, end)

    def _count(self, block, end):
        """Count what is missing from `block` on, at most to `end`, in one step; where the next one begins."""
        plan = self._plan
        generation = plan.of(block)
        after = plan.last(generation) + 1
        if not plan.mixed:
            after = min(end, after)
            self.counts[generation] += after - block
            return after
        first = plan.begin(generation)
        if block == first * plan.k + 1 and after <= end:  # a whole group
            for i in range(first, plan.until(generation)):
                self.counts[i] = plan.blocks(i)
            return after
        self.counts[generation] += 1
        return block + 1

    def stored(self, block):
        """One that was missing came. Its generation."""
        generation = self._plan.of(block)
        if self.counts[generation]:
            self.counts[generation] -= 1
        return generation

    def of(self, unit):
        """Blocks missing of a unit."""
        generation = first_of(unit)
        if unit % 3 != WHOLE:
            return self.counts[generation]
        return self.counts[generation] + self.counts[generation + 1]

    def next(self, generation, block):
        """The first block missing of a generation at or behind `block`, which is one of it; 0 for none."""
        step = self._plan.step(generation)
        end = self._plan.last(generation)
        while block <= end:
            found = self._gaps.next_missing(block)
            if found == block:
                return block
            block += (found - block + step - 1) // step * step
        return 0

    def symbols(self, unit):
        """Which data symbols (from 0) of a unit are missing, as a list."""
        found = []
        self._find(first_of(unit), 0, found)
        if unit % 3 == WHOLE:
            self._find(first_of(unit) + 1, self._plan.blocks(first_of(unit)), found)
        return found

    def _find(self, generation, before, found):
        """Add those of a generation; its first symbol has the number `before`."""
        if self._plan.blocks(generation):
            origin = self._plan.origin(generation)
            step = self._plan.step(generation)
            block = self.next(generation, origin)
            while block:
                found.append(before + (block - origin) // step)
                block = self.next(generation, block + step)

    def list(self, unit, count, at):
        """Write up to `count` missing blocks of a unit into listed[at..]; where they end."""
        count = min(at + count, len(self.listed))
        at = self._list(first_of(unit), at, count)
        if unit % 3 == WHOLE:
            at = self._list(first_of(unit) + 1, at, count)
        return at

    def _list(self, generation, at, end):
        if not self._plan.blocks(generation):
            return at
        block = self.next(generation, self._plan.origin(generation))
        while block and at < end:
            self.listed[at] = block
            at += 1
            block = self._after(generation, block)
        return at

    def _after(self, generation, block):
        return self.next(generation, block + self._plan.step(generation))
