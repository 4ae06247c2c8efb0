"""What a board does with repair symbols, and when it tells what it lacks (PROTOCOL.md section 11).

Pure: symbols and milliseconds come in; which generation can be solved, and when to report come
out. The symbols wait in a pool (fec.py) as memory allows; the blocks that are there already are read
back from flash by the caller when a generation is solved. Nothing here allocates per packet.
"""

from . import generations as gen

REPORT_MS = 12  # between two reports of a board; twice as long each time nothing comes of it
REPORT_MAX_MS = 640
SLACK_BLOCKS = 16  # a generation has gone by when the stream is so far beyond it
HEARD_SLACK_BLOCKS = 3  # the same when symbols of it were heard: they come right behind its blocks
PAUSE_MS = 8  # silence of the server that asks for a report
AHEAD_BLOCKS = 64  # symbols for blocks so far ahead of the stream are a forger's
NONE = -1


class Mender:
    """State of one board.

    gaps: the GapList, of known length. plan: generations.Plan. pool: keeps symbols; see fec.Pool.
    """

    def __init__(self, gaps, plan, pool, now_ms):
        self.gaps = gaps
        self.plan = plan
        self.pool = pool
        self.symbols = 0  # repair symbols heard
        self.solved = 0  # generations
        self.solving = NONE  # a generation, from `begin` to `done`
        self.needs = bytearray(plan.count)  # what `report` tells
        self._missing = bytearray(plan.count)  # blocks, by generation
        self._heard = NONE  # highest generation of which a symbol was heard
        self._frame_ms = NONE
        self._reported_ms = now_ms
        self._wait_ms = REPORT_MS
        self._told = 0  # generations that had gone by at the last report
        self._lacked = 0  # symbols lacking in the last report
        self._woken = False
        self._ask_again_at = 0  # position of the stream
        self._merges = 0
        self._recount()

    def _recount(self):
        """What is missing of each generation; when the gap list ran out of memory, more than before."""
        gaps = self.gaps
        plan = self.plan
        self._merges = gaps.merges
        for generation in range(plan.count):
            self._missing[generation] = 0
        for i in range(gaps.gap_count):
            block = gaps.first(i)
            end = block + gaps.length(i)
            while block < end:
                generation = plan.of(block)
                after = min(end, plan.end(generation) + 1)
                self._missing[generation] += after - block
                block = after

    # -- what comes in --------------------------------------------------------------------

    def stored(self, block, now_ms):
        """A block that was missing is in flash. The generation that can be solved now, or NONE."""
        self._hear(now_ms)
        if self.gaps.merges != self._merges:
            self._recount()
            return NONE
        generation = self.plan.of(block)
        missing = self._missing[generation]
        if missing:
            self._missing[generation] = missing - 1
        if generation > self._heard:
            return NONE
        if missing <= 1 and generation != self.solving:
            self.pool.release(generation)
        return self._solvable(generation)

    def heard(self, now_ms):
        """DATA of the stream that was there already."""
        self._hear(now_ms)

    def accept(self, number, view, position, now_ms):
        """A repair symbol. The generation that can be solved now, or NONE.

        position: the stream's next block.
        """
        number &= 0x7FFF
        generation = number >> 7
        if generation >= self.plan.count or self.plan.first(generation) > position + AHEAD_BLOCKS:
            return NONE
        self._hear(now_ms)
        self.symbols += 1
        if generation > self._heard:
            self._heard = generation
        self._wait_ms = REPORT_MS
        self._ask_again_at = position + HEARD_SLACK_BLOCKS
        missing = self._missing[generation]
        if not 0 < missing <= self.pool.capacity:
            return NONE
        self.pool.add(generation, (number & 127) + gen.FIRST_REPAIR_SYMBOL, view, missing)
        return self._solvable(generation)

    def _hear(self, now_ms):
        if self._frame_ms >= 0 and now_ms - self._frame_ms >= PAUSE_MS:
            self._woken = True
        self._frame_ms = now_ms

    # -- solving --------------------------------------------------------------------------

    def _solvable(self, generation):
        missing = self._missing[generation]
        if self.solving == NONE and 0 < missing <= self.pool.held(generation):
            return generation
        return NONE

    def begin(self, generation):
        """Which data symbols (from 0) of it are missing; [] when it cannot be solved after all."""
        first = self.plan.first(generation)
        end = self.plan.end(generation)
        found = []
        block = self.gaps.next_missing(first)
        while block <= end:
            found.append(block - first)
            block = self.gaps.next_missing(block + 1)
        if len(found) > self.pool.held(generation):
            return []
        if found:
            self.pool.begin(generation, found, self.plan.size(generation))
            self.solving = generation
        return found

    def done(self):
        """The generation was solved and its blocks are stored. The next that can be, or NONE."""
        self.pool.release(self.solving)
        self.solving = NONE
        self.solved += 1
        for generation in range(self._heard + 1):
            if 0 < self._missing[generation] <= self.pool.capacity and self._solvable(generation) != NONE:
                return generation
        return NONE

    @property
    def mendable(self):
        """Whether symbols can still help."""
        return any(0 < missing <= self.pool.capacity for missing in self._missing)

    # -- reports --------------------------------------------------------------------------

    def report(self, position, at_end, now_ms):
        """How many generations to report now, with what they need in `needs`; NONE for nothing to say.

        position: the stream's next block. at_end: the master says so by a report of all generations.
        """
        if now_ms - self._reported_ms < self._wait_ms:
            return NONE
        count = self.plan.count
        passed = count if at_end else self._passed(position)
        if passed == self._told and not self._is_late(position, now_ms):
            return NONE
        lacked = self._write_needs(passed)
        if not lacked and passed == count and self.mendable:
            return NONE  # all that is needed is here, and being solved
        if lacked == self._lacked and passed == self._told:
            self._wait_ms = min(self._wait_ms * 2, REPORT_MAX_MS)
        self._woken = False
        self._ask_again_at = position + SLACK_BLOCKS
        self._reported_ms = now_ms
        self._told = passed
        self._lacked = lacked
        return passed

    def _is_late(self, position, now_ms):
        """Whether what was reported should have come by now."""
        if self._woken or now_ms - self._frame_ms >= PAUSE_MS:
            return self._lacked or self._told == self.plan.count
        return self._lacked and position >= self._ask_again_at

    def _passed(self, position):
        """Generations whose blocks, and the first symbols for them, have gone by."""
        passed = self.plan.passed(position)
        if self._heard >= passed:  # its symbols come behind its blocks, which were lost
            passed = self._heard + 1
        if passed and not self._woken:
            slack = HEARD_SLACK_BLOCKS if self._heard >= passed - 1 else SLACK_BLOCKS
            if position - 1 - self.plan.end(passed - 1) < slack:
                passed -= 1
        return passed

    def _write_needs(self, passed):
        lacked = 0
        for generation in range(passed):
            need = 0
            missing = self._missing[generation]
            # More than memory holds cannot be solved: those are fetched one by one at the end.
            if 0 < missing <= self.pool.capacity:
                need = max(missing - self.pool.held(generation), 0)
            self.needs[generation] = need
            lacked += need
        return lacked
