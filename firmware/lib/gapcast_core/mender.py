"""What a board does with repair symbols, and when it tells what it lacks (PROTOCOL.md section 11).

Pure. The symbols wait in a pool (fec.py) as memory allows; the blocks that are there already are read
back from flash by the caller when a generation is solved. Nothing here allocates per packet.
"""

from . import generations as gen
from .missing import NONE, Missing

REPORT_MS = 12  # between two reports of a board; twice as long each time nothing comes of it
REPORT_MAX_MS = 640
LOOK_MS = 3  # so often is looked whether blocks that went by want a report: it takes longer than to take one
SLACK_BLOCKS = 16  # a generation has gone by when the stream is so far beyond it
HEARD_SLACK_BLOCKS = 3  # the same when symbols of it were heard: they come right behind its blocks
PAUSE_MS = 8  # silence of the server that asks for a report
# At a slow rate the same in datagrams, by the mean time between two.
REPORT_DATAGRAMS = 6
LOOK_DATAGRAMS = 2
PAUSE_DATAGRAMS = 4
MEAN_DATAGRAMS = 64
SPACING_MAX_MS = 16  # no more of one counts: pauses after the stream are none of its times
QUIET_DATAGRAMS = 256  # a board that lacks nothing reports as often, so that its loss is known
AHEAD_BLOCKS = 64  # symbols for blocks so far ahead of the stream are a forger's


class Mender:
    """State of one board.

    gaps: the GapList, of known length. plan: generations.Plan. pool: keeps symbols; see fec.Pool.
    """

    def __init__(self, gaps, plan, pool, now_ms):
        self.gaps = gaps
        self.plan = plan
        self.pool = pool
        self._generations = plan.count
        self.symbols = 0  # repair symbols heard
        self.latest = 0  # the number of the DATA heard last
        self.count = 0  # of DATA heard, modulo 65536
        self.solved = 0  # generations
        self.solving = NONE  # a unit, from `begin` to `done`
        self._missing = Missing(gaps, plan, pool)
        self.needs = self._missing.needs  # what `report` tells
        self.surplus = self._missing.surplus  # and the blocks asked for one by one
        self.surplus_count = 0
        self._heard = NONE  # highest generation of which a symbol was heard
        self._frame_ms = NONE
        self._spacing_ms = 0  # the mean time between two DATA, times MEAN_DATAGRAMS
        self._pause_ms = PAUSE_MS
        self._reported_ms = now_ms
        self.look_ms = now_ms  # before that there is nothing to report, but the end
        self._look_every_ms = LOOK_MS
        self._least_ms = REPORT_MS  # between two reports
        self._wait_ms = REPORT_MS
        self._end_told = 0
        self._told = 0  # generations that had gone by at the last report
        self._lacked = 0  # symbols lacking when last looked at
        self._said = 0  # the same in the last report
        self._told_count = 0  # DATA heard until then
        self._woken = False
        self._since = 0  # DATA heard since the last symbol for what was lacking
        self._oldest = 0  # nothing is missing of the generations below
        self._lacking = NONE  # what _find_lacking found, if it still holds
        self._other = NONE  # unit of the last symbol, when it was of the other kind

    def _is_ahead(self, unit, position):
        return self.plan.first(unit) > self._stream(position) + AHEAD_BLOCKS

    def _is_of_other_kind(self, unit, number):
        """Whether a symbol is of no use because generations are interleaved, or not.

        Two of one unit in a row say that they are now, or are not: a single one may be forged.
        """
        mixed = bool(number & gen.MIXED_FLAG)
        if mixed == self.plan.mixed:
            self._other = NONE
        elif unit != self._other or self.solving != NONE:
            self._other = unit
        else:
            self._change(mixed)
        return mixed != self.plan.mixed

    def _change(self, mixed):
        """All is counted anew."""
        self._other = NONE
        for unit in range(3 * self.plan.pairs):
            self.pool.release(unit)
        if mixed:
            self.plan.mix()
        else:
            self.plan.mixed = False
        self._heard = NONE
        self._lacking = NONE
        self._told = 0
        self._since = 0
        self._oldest = 0
        self._missing.recount()

    # -- what comes in --------------------------------------------------------------------

    def stored(self, block):
        """A block that was missing is in flash. The unit that can be solved now, or NONE."""
        generation = self._missing.stored(block)
        if generation == NONE:
            self._oldest = 0
            self._lacking = NONE
            return NONE
        if generation > self._heard:
            return NONE
        self._lacking = NONE
        found = self._retry(gen.alone(generation))
        other = self._retry(gen.whole(generation))
        return found if found != NONE else other

    def _retry(self, unit):
        """As _solvable, when the unit misses less than before; one that misses nothing needs no memory."""
        if not self._missing.of(unit) and unit != self.solving:
            self.pool.release(unit)
        return self._solvable(unit)

    def note(self, number, now_ms):
        """DATA was heard, of the stream if nothing else is told of it."""
        self.latest = number
        self.count = (self.count + 1) & 0xFFFF
        self._since += 1
        last_ms = self._frame_ms
        self._frame_ms = now_ms
        if last_ms >= 0:
            since_ms = now_ms - last_ms
            if since_ms >= self._pause_ms:
                self._woken = True
                self.look_ms = now_ms
            if since_ms > SPACING_MAX_MS:
                since_ms = SPACING_MAX_MS
            self._spacing_ms += since_ms - self._spacing_ms // MEAN_DATAGRAMS

    def accept(self, number, view, position, now_ms):
        """A repair symbol. The unit that can be solved now, or NONE.

        position: the stream's next block.
        """
        unit = gen.unit_of(number)
        if (
            self.plan.size(unit) <= 0
            or self._is_of_other_kind(unit, number)
            or self._is_ahead(unit, position)
        ):
            return NONE
        self.note(number, now_ms)
        self.symbols += 1
        self._wait_ms = self._least_ms
        self.look_ms = now_ms
        self._reach(unit)
        if gen.first_of(unit) <= self._oldest_lacking():
            self._since = 0
        elif self._since > 0:
            self._since = HEARD_SLACK_BLOCKS
        self._lacking = NONE
        self._missing.expect(unit // 3, unit % 3 == gen.WHOLE)
        if not self._missing.can_mend(unit):
            return NONE
        self._keep(unit, number, view)
        return self._solvable(unit)

    def _stream(self, position):
        """Where the stream is at least: blocks that were sent once more take the position back."""
        if self._heard == NONE:
            return position
        return max(position, self.plan.end(gen.alone(self._heard)) + 1)

    def _oldest_lacking(self):
        """The first generation, of those whose symbols were heard, that lacks some.

        Found once, until a symbol or a block of theirs comes.
        """
        if self._lacking == NONE:
            self._lacking = self._find_lacking()
        return self._lacking

    def _find_lacking(self):
        while self._oldest < self._generations and not self._missing.of(self._missing.unit(self._oldest)):
            self._oldest += 1
        for generation in range(self._oldest, self._heard + 1):
            unit = self._missing.unit(generation)
            if self._missing.of(unit) > self.pool.held(unit):
                return generation
        return self._heard + 1

    def _reach(self, unit):
        """Symbols of it were heard."""
        last = gen.first_of(unit) + (unit % 3 == gen.WHOLE)
        if last > self._heard:
            self._heard = min(last, self._generations - 1)
            self._lacking = NONE

    def _keep(self, unit, number, view):
        need = min(self._missing.of(unit), self.pool.capacity)
        self.pool.add(unit, gen.symbol_of(number), view, need)

    # -- solving --------------------------------------------------------------------------

    def _solvable(self, unit):
        count = self._missing.of(unit)
        if self.solving == NONE and 0 < count <= self.pool.capacity and count <= self.pool.held(unit):
            return unit
        return NONE

    def begin(self, unit):
        """Which data symbols (from 0) of it are missing; [] when it cannot be solved after all."""
        found = self._missing.symbols(unit)
        if len(found) > self.pool.held(unit):
            return []
        if found:
            self.pool.begin(unit, found, self.plan.size(unit))
            self.solving = unit
        return found

    def done(self):
        """The unit was solved and its blocks are stored. The next that can be, or NONE."""
        self.pool.release(self.solving)
        self.solving = NONE
        self._lacking = NONE
        self.solved += 1
        for unit in range(gen.whole(max(self._heard, 0)) + 1):
            if self._solvable(unit) != NONE:
                return unit
        return NONE

    def is_mendable(self):
        """Whether symbols can still help."""
        for generation in range(self._generations):  # any() would allocate
            if self._missing.can_mend(self._missing.unit(generation)):
                return True
        return False

    # -- reports --------------------------------------------------------------------------

    def report(self, position, at_end, now_ms):
        """How many generations to report now, with what they need in `needs`; NONE for nothing to say.

        position: the stream's next block. at_end: how often this board, as master, found itself at the
        end: each time it says so at once, by a report of all generations.
        """
        is_end = at_end != self._end_told
        if not is_end and (now_ms < self.look_ms or now_ms - self._reported_ms < self._wait_ms):
            return NONE
        self.look_ms = now_ms + self._look_every_ms
        passed = self._generations if at_end else self._passed(position)
        if not is_end and passed == self._told and not self._is_late(position, now_ms):
            return NONE
        lacked = self._missing.write_needs(passed, self._heard)
        self.surplus_count = self._missing.surplus_count
        if not (is_end or lacked) and self._may_be_quiet(passed):
            return NONE
        self._end_told = at_end
        self._told_count = self.count
        if lacked == self._lacked and passed == self._told:
            self._wait_ms = min(self._wait_ms * 2, REPORT_MAX_MS)
        self._woken = False
        self._since = HEARD_SLACK_BLOCKS - SLACK_BLOCKS
        self._reported_ms = now_ms
        self._look_every_ms = max(LOOK_MS, LOOK_DATAGRAMS * self._spacing_ms // MEAN_DATAGRAMS)
        self._least_ms = max(REPORT_MS, REPORT_DATAGRAMS * self._spacing_ms // MEAN_DATAGRAMS)
        self._pause_ms = max(PAUSE_MS, PAUSE_DATAGRAMS * self._spacing_ms // MEAN_DATAGRAMS)
        self._told = passed
        self._lacked = self._said = lacked
        return passed

    def _may_be_quiet(self, passed):
        """Nothing is lacking: all is here and being solved, or the last report was not long ago."""
        if passed == self._generations:
            return self.is_mendable()
        if self._woken and self._said:
            return False  # the server waits for what it was told is lacking
        if (self.count - self._told_count) & 0xFFFF >= QUIET_DATAGRAMS:
            return False
        self._told = passed
        self._lacked = 0
        return True

    def _is_late(self, position, now_ms):
        """Whether what was reported should have come by now."""
        if self._woken or now_ms - self._frame_ms >= self._pause_ms:
            return self._lacked or self._said or self._told == self._generations
        return self._since >= HEARD_SLACK_BLOCKS and self._oldest_lacking() <= self._heard

    def _passed(self, position):
        """Generations whose blocks, and the first symbols for them, have gone by."""
        passed = self.plan.passed(position)
        if self._heard >= passed:  # its symbols come behind its blocks, which were lost
            passed = self.plan.until(self._heard)
        if passed and not self._woken and not self.plan.mixed:
            slack = HEARD_SLACK_BLOCKS if self._heard >= passed - 1 else SLACK_BLOCKS
            if position - 1 - self.plan.end(gen.alone(passed - 1)) < slack:
                passed -= 1
        passed = max(passed, self._told)  # the position may go back
        if passed % 2 and passed < self._generations and self._missing.unit(passed) == gen.whole(passed):
            passed -= 1  # what a pair needs is told of both generations together, once it is known to be one
        return passed
