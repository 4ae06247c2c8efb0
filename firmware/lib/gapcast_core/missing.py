"""What a board lacks of each generation: blocks, and so repair symbols (PROTOCOL.md section 11)."""

from array import array

from .generations import MAX_SURPLUS_BLOCKS, SURPLUS_BLOCKS, TOO_MANY
from .plan import WHOLE, alone, first_of, whole

NONE = -1


class Missing:
    """Blocks are counted once, and from then on it is told of each that comes.

    gaps: the GapList, of known length. plan: plan.Plan. pool: keeps symbols; see fec.Pool.
    """

    def __init__(self, gaps, plan, pool):
        self._gaps = gaps
        self._plan = plan
        self._pool = pool
        self.counts = bytearray(2 * plan.pairs)  # of blocks, by generation
        self.needs = bytearray(plan.count)  # symbols by generation: what a report tells
        self.merges = 0
        self.surplus = array("H", [0] * SURPLUS_BLOCKS)  # blocks asked for one by one
        self.surplus_count = 0
        self._paired = bytearray(plan.pairs)  # 1: its symbols are made, or will be, of the whole pair
        self._room = 0  # of the pool, while needs are written
        self.recount()

    def recount(self):
        """Count all anew."""
        gaps = self._gaps
        self.merges = gaps.merges
        for generation in range(self._plan.count):
            self.counts[generation] = 0
        for i in range(gaps.gap_count()):
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
        """One that was missing came. Its generation, or NONE.

        NONE: the gap list ran out of memory, so more is missing than before, and all was counted anew.
        """
        if self._gaps.merges != self.merges:
            self.recount()
            return NONE
        generation = self._plan.of(block)
        if self.counts[generation]:
            self.counts[generation] -= 1
        return generation

    def of(self, unit):
        """Blocks missing of a unit."""
        generation = unit // 3 * 2
        kind = unit % 3
        if kind != WHOLE:
            return self.counts[generation + kind]
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
        """Write up to `count` missing blocks of a unit into surplus[at..]; where they end."""
        count = min(at + count, len(self.surplus))
        at = self._list(first_of(unit), at, count)
        if unit % 3 == WHOLE:
            at = self._list(first_of(unit) + 1, at, count)
        return at

    def _list(self, generation, at, end):
        if not self._plan.blocks(generation):
            return at
        block = self.next(generation, self._plan.origin(generation))
        while block and at < end:
            self.surplus[at] = block
            at += 1
            block = self._after(generation, block)
        return at

    def _after(self, generation, block):
        return self.next(generation, block + self._plan.step(generation))

    # -- symbols --------------------------------------------------------------------------

    def unit(self, generation):
        """What symbols for that generation are made of, as far as this board knows."""
        return whole(generation) if self._paired[generation // 2] else alone(generation)

    def expect(self, pair, paired):
        """Symbols of this pair are made so: those of the next will be too, until one says otherwise."""
        after = min(pair + 1, self._plan.pairs - 1)
        if self._paired[pair] != paired or self._paired[after] != paired:
            for i in range(pair, self._plan.pairs):
                self._paired[i] = paired

    def can_mend(self, unit):
        """Whether symbols, and its surplus one by one, can still help a unit."""
        return 0 < self.of(unit) <= self._pool.capacity + MAX_SURPLUS_BLOCKS

    def write_needs(self, passed, heard):
        """Fill `needs` and list the surplus; how many symbols and blocks that is.

        passed: generations that have gone by. heard: the highest of which a symbol was heard. What a pair
        needs is told of its first generation. Nothing is asked for that would find the pool full of symbols
        for units before it: these wait for a surplus, say.
        """
        lacked = 0
        self.surplus_count = 0
        self._room = self._pool.capacity
        generation = 0
        while generation < passed:
            unit = self.unit(generation)
            self.needs[generation] = need = self._need(unit, heard)
            lacked += need
            generation += 1
            if unit % 3 == WHOLE and generation < passed:
                self.needs[generation] = 0
                self._tell_apart(generation - 1, heard)
                generation += 1
        return lacked + self.surplus_count

    def _tell_apart(self, first, heard):
        """Of an interleaved pair whose symbols did not come yet both needs: the server may still decide."""
        if self._plan.mixed and first > heard and self.needs[first] != TOO_MANY:
            self.needs[first] = self.counts[first]
            self.needs[first + 1] = self.counts[first + 1]

    def _need(self, unit, heard):
        """The symbols that a unit needs.

        More than memory holds cannot be solved: the surplus is asked for one by one. What lost still
        more is sent to all again when others lack it too, or fetched at the end.
        """
        count = self.of(unit)
        if not self.can_mend(unit):
            return TOO_MANY if count else 0
        if count > self._pool.capacity:
            self.surplus_count = self.list(unit, count - self._pool.capacity, self.surplus_count)
            count = self._pool.capacity
        held = self._pool.held(unit)
        if self._plan.mixed and first_of(unit) > heard:
            return max(count - held, 0)
        need = max(min(count, self._room) - held, 0)
        self._room -= held + need
        return need
