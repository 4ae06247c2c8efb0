"""What a board does with repair symbols, and when it tells what it lacks (PROTOCOL.md section 8).

Pure: symbols and milliseconds come in; which generation can be solved, and when to report come
out. The symbols wait in a pool (fec.py) as memory allows; the blocks that are there already are read
back from flash by the caller when a generation is solved.
"""

from . import generations

REPORT_MS = 15  # between two reports of a board; twice as long each time nothing comes of it
REPORT_MAX_MS = 640
SLACK_BLOCKS = 16  # a generation has gone by when the stream is so far beyond it
HEARD_SLACK_BLOCKS = 3  # the same when symbols of it were heard: they come right behind its blocks
PAUSE_MS = 8  # silence of the server that asks for a report


class Mender:
    """State of one board.

    gaps: the GapList, of known length. plan: generations.Plan. pool: keeps symbols; see fec.Pool.
    """

    def __init__(self, gaps, plan, pool, now_ms):
        self.gaps = gaps
        self.plan = plan
        self.pool = pool
        self.generation = 0  # the one that can be solved, after `accept` said so
        self.symbols = 0  # repair symbols heard
        self.solved = 0  # generations
        self._heard = -1  # generation of the latest symbol
        self._frame_ms = now_ms
        self._reported_ms = now_ms
        self._wait_ms = REPORT_MS
        self._told = 0  # generations that had gone by at the last report
        self._lacked = 0  # symbols lacking in the last report
        self._woken = False

    def accept(self, number, frame, now_ms):
        """True when `generation` can be solved now."""
        number &= 0x7FFF
        generation = number >> 7
        if generation >= self.plan.count:
            return False
        self.heard(now_ms)
        self.symbols += 1
        self._heard = generation
        self._wait_ms = REPORT_MS
        missing = self.missing(generation)
        if not missing or missing > self.pool.capacity:
            return False
        self.pool.add(generation, (number & 127) + generations.FIRST_REPAIR_SYMBOL, frame, missing)
        self.generation = generation
        return self.pool.held(generation) >= missing

    def heard(self, now_ms):
        """Any DATA of the session came."""
        if now_ms - self._frame_ms >= PAUSE_MS:
            self._woken = True
        self._frame_ms = now_ms

    @property
    def mendable(self):
        """Whether symbols can still help."""
        for generation in range(self.plan.count):
            if 0 < self.missing(generation) <= self.pool.capacity:
                return True
        return False

    def missing(self, generation):
        """How many blocks of a generation are missing."""
        end = self.plan.end(generation)
        block = self.gaps.next_missing(self.plan.first(generation))
        count = 0
        while block <= end:
            count += 1
            block = self.gaps.next_missing(block + 1)
        return count

    def missing_symbols(self, generation):
        """Which data symbols (from 0) of a generation are missing."""
        first = self.plan.first(generation)
        end = self.plan.end(generation)
        found = []
        block = self.gaps.next_missing(first)
        while block <= end:
            found.append(block - first)
            block = self.gaps.next_missing(block + 1)
        return found

    def done(self, generation):
        """A generation was solved and its blocks are stored."""
        self.pool.release(generation)
        self.solved += 1

    # -- reports --------------------------------------------------------------------------

    def passed(self, position):
        """Generations whose blocks, and the first symbols for them, have gone by."""
        passed = self.plan.passed(position)
        if self._heard >= passed:  # its symbols come behind its blocks, which were lost
            passed = self._heard + 1
        if passed and not self._woken:
            slack = HEARD_SLACK_BLOCKS if self._heard >= passed - 1 else SLACK_BLOCKS
            if position - 1 - self.plan.end(passed - 1) < slack:
                passed -= 1
        return passed

    def report(self, position, now_ms):
        """The needs to report now, [symbols, ...] of the generations gone by, or None.

        position: the stream's next block.
        """
        if now_ms - self._reported_ms < self._wait_ms:
            return None
        passed = self.passed(position)
        late = self._woken or now_ms - self._frame_ms >= PAUSE_MS
        if passed == self._told and not (late and self._lacked):
            return None
        counts = self._counts(passed)
        lacked = sum(counts)
        if not lacked and not self._lacked and self._told:
            self._told = passed
            return None
        if lacked == self._lacked:
            self._wait_ms = min(self._wait_ms * 2, REPORT_MAX_MS)
        self._woken = False
        self._reported_ms = now_ms
        self._told = passed
        self._lacked = lacked
        return counts

    def _counts(self, passed):
        counts = []
        for generation in range(passed):
            missing = self.missing(generation)
            # More than memory holds cannot be solved: those are fetched one by one at the end.
            mendable = 0 < missing <= self.pool.capacity
            counts.append(missing - self.pool.held(generation) if mendable else 0)
        return counts
