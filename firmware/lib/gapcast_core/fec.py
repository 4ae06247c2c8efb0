"""Erasure repair: lost blocks of a generation from any as many of its repair symbols.

A systematic Cauchy Reed-Solomon code over GF(256) (gf.py). Data symbols 0..127 are the blocks of a
generation, repair symbols are 128..255, and byte i of repair symbol s is the sum over the data
symbols j of 1/(s XOR j) times their byte i. Symbols that a short generation lacks count as zero, so
the code is the same for every length. Every square part of a Cauchy matrix can be inverted
(J. Blomer et al., An XOR-Based Erasure-Resilient Coding Scheme, ICSI TR-95-048, 1995): m repair
symbols mend any m losses.

The board keeps repair symbols in a Pool until it has one per missing block. Then it feeds in the
blocks it has, which leaves sums of missing blocks only, and solves for them in place:

    pool.begin(generation, missing, size)
    while True:
        j = pool.next_known()
        if j < 0: break
        pool.feed(j, block)     # read from flash; feed_two() is quicker
    pool.solve()
    for i in range(len(missing)): store(missing[i], pool.block(i))
    pool.release(generation)

Symbols of other generations may come in between. Nothing here allocates but __init__ and begin.
"""

from array import array

from . import gf
from .errors import UsageError

try:
    from . import fec_viper as kernel
except (ImportError, SyntaxError, ValueError):  # CPython; no native code here; compiled for another processor
    from . import fec_plain as kernel  # type: ignore[no-redef]

CAPACITY_BLOCKS = 20  # with blocks of 1 KiB: 23.4 KiB of the heap with all around it (measured on i386)
_FREE = 0  # in place of a symbol number
_LANES = 4  # symbols in a quad, see fec_viper.py
_STEP_BYTES = 8  # the loops are unrolled by so much
_NONE = -1
MAX_BLKSIZE = 16384


def _words(count):
    """So many 32-bit words, whatever is in them. From zeros they would for a moment take twice the room."""
    return array("H", range(2 * count))


class Pool:
    """Repair symbols of one or more generations, and the decoding of one of them at a time.

    blksize: bytes of a symbol, a multiple of 8 up to 16384. capacity: symbols it can hold.
    Memory: capacity, rounded up to 4, times (blksize + capacity), and blksize + 2.4 KiB.
    """

    def __init__(self, blksize, capacity=CAPACITY_BLOCKS):
        if not _STEP_BYTES <= blksize <= MAX_BLKSIZE or blksize % _STEP_BYTES:
            raise UsageError("repair of blocks of %d bytes" % blksize)
        if not 1 <= capacity <= gf.REPAIR_FIRST:
            raise UsageError("room for %d repair symbols" % capacity)
        self.blksize = blksize
        self.capacity = capacity
        self.evicted = 0  # symbols thrown away to make room
        # Behind the bytes of each symbol are its coefficients of the missing blocks. What solving does to the
        # symbols is done to these in the same pass, so there is no matrix besides.
        self._row_bytes = blksize + (capacity + _STEP_BYTES - 1) // _STEP_BYTES * _STEP_BYTES
        quads = (capacity + _LANES - 1) // _LANES
        words = _words(self._row_bytes)
        self._quads = [words] + [words[:] for _quad in range(quads - 1)]
        self._active = [
            bytearray(_LANES) for _quad in range(quads)
        ]  # symbols being decoded, by quad and lane
        self._used = bytearray(quads)  # 1: symbols of this quad are being decoded
        self._symbol = bytearray(capacity)  # by slot: lane slot & 3 of quad slot >> 2
        self._generation = array("H", [0] * capacity)
        self._table = _words(512)  # two, one behind the other
        self._second = memoryview(self._table)[512:]
        self._four = bytearray(_LANES)
        self._row = bytearray(self._row_bytes)
        self.spare = memoryview(self._row)[:blksize]  # for the caller, until the next call but next_known()
        self._decoding = _NONE
        self._size = 0
        self._todo = bytearray(gf.REPAIR_FIRST)  # 1: a known symbol that was not fed
        self._cursor = 0  # nothing to do below
        self._pivot = 0
        self._slots = []

    # -- keeping symbols ------------------------------------------------------------------

    def held(self, generation):
        """How many symbols of a generation are here."""
        count = 0
        for slot in range(self.capacity):
            if self._symbol[slot] and self._generation[slot] == generation:
                count += 1
        return count

    def add(self, generation, symbol, view, need):
        """Keep a repair symbol. True when it is one more towards `need`, the blocks missing now.

        False, and no exception, for what is of no use, whoever sent it: a symbol that is here or was never
        numbered, one of a wrong length, more than is needed, and anything for a generation with more
        losses than the pool has room. When the pool is full a later generation loses a symbol for it.
        """
        if not gf.REPAIR_FIRST <= symbol <= 255 or len(view) != self.blksize or generation == self._decoding:
            return False
        slot = self._place(generation, symbol, need)
        if slot < 0:
            return False
        self._put(slot, view)
        self._symbol[slot] = symbol
        self._generation[slot] = generation
        return True

    def _put(self, slot, view):
        kernel.put(self._quads[slot >> 2], slot & 3, view, self.blksize)

    def _place(self, generation, symbol, need):
        """A slot for a symbol; _NONE when it is here, or not needed, or there is no room."""
        free = _NONE
        count = 0
        for slot in range(self.capacity):
            if not self._symbol[slot]:
                if free < 0:
                    free = slot
            elif self._generation[slot] == generation:
                if self._symbol[slot] == symbol:
                    return _NONE
                count += 1
        if count >= need or need > self.capacity:
            return _NONE
        return free if free >= 0 else self._evict(generation)

    def release(self, generation):
        """Forget a generation: its slots are free."""
        for slot in range(self.capacity):
            if self._generation[slot] == generation:
                self._symbol[slot] = _FREE
        if generation == self._decoding:
            self._decoding = _NONE

    def _evict(self, generation):
        """A slot of the last generation here, which must be a later one, and not the one being decoded.

        The earlier one wins because it is mended first: what is lost of the other can be sent again.
        """
        last = generation
        found = _NONE
        for slot in range(self.capacity):
            other = self._generation[slot]
            if other > last and other != self._decoding:
                last = other
                found = slot
        if found >= 0:
            self.evicted += 1
        return found

    # -- decoding -------------------------------------------------------------------------

    def begin(self, generation, missing, size):
        """Start to decode.

        missing: the numbers of the missing data symbols, a list without repeats. size: data symbols
        in this generation. Raises UsageError when there are fewer repair symbols than missing ones.
        """
        if self._decoding != _NONE:
            raise UsageError("generation %d is being decoded" % self._decoding)
        if not 1 <= size <= gf.REPAIR_FIRST or not 1 <= len(missing) <= self.held(generation):
            raise UsageError("decode %d of %d with %d" % (len(missing), size, self.held(generation)))
        for j in range(gf.REPAIR_FIRST):
            self._todo[j] = 1 if j < size else 0
        for j in missing:
            if not 0 <= j < size or not self._todo[j]:
                raise UsageError("missing symbol %d of %d" % (j, size))
            self._todo[j] = 0
        self._decoding = generation
        self._size = size
        self._cursor = 0
        self._pivot = 0
        self._choose(generation, len(missing))
        self._write_matrix(missing)

    def _choose(self, generation, count):
        """Take `count` symbols of the generation, and forget what it has beyond that."""
        slots = []
        for q in range(len(self._active)):
            self._used[q] = 0
            for lane in range(_LANES):
                self._active[q][lane] = _FREE
        for slot in range(self.capacity):
            if self._symbol[slot] and self._generation[slot] == generation:
                if len(slots) < count:
                    slots.append(slot)
                    self._used[slot >> 2] = 1
                    self._active[slot >> 2][slot & 3] = self._symbol[slot]
                else:
                    self._symbol[slot] = _FREE
        self._slots = slots

    def _write_matrix(self, missing):
        """The coefficients of the missing blocks, behind the symbols; 0 in lanes of other generations."""
        four = self._four
        for q in range(len(self._quads)):
            quad = self._quads[q]
            at = 2 * self.blksize
            for j in missing:
                kernel.coefficients(four, self._active[q], j, gf.CAUCHY)
                quad[at] = four[0] | four[1] << 8
                quad[at + 1] = four[2] | four[3] << 8
                at += 2

    def next_known(self, after=0):
        """The next data symbol to feed, from number `after` on, or -1 when there is none."""
        j = max(self._cursor, after)
        while j < self._size and not self._todo[j]:
            j += 1
        if not after:
            self._cursor = j
        return j if j < self._size else _NONE

    def feed(self, j, view):
        """Take data symbol `j`, which is known, out of the repair symbols. In any order, each once."""
        self._check_feed(j, view)
        self._todo[j] = 0
        four = self._four
        q = len(self._quads)
        while q:
            q -= 1
            kernel.coefficients(four, self._active[q], j, gf.CAUCHY)
            if four[0] or four[1] or four[2] or four[3]:
                self._spread(q, view, self.blksize)

    def _check_feed(self, j, view):
        if self._decoding == _NONE or not 0 <= j < self._size or not self._todo[j]:
            raise UsageError("symbol %d is not wanted" % j)
        if len(view) != self.blksize:
            raise UsageError("a symbol of %d bytes" % len(view))

    def feed_two(self, j, view, other):
        """As feed(j, view) and feed(other, spare), in three quarters of the time."""
        if other == j or not 0 <= other < self._size or not self._todo[other]:
            raise UsageError("symbol %d is not wanted" % other)
        self._check_feed(j, view)
        self._todo[j] = self._todo[other] = 0
        q = len(self._quads)
        while q:
            q -= 1
            if self._used[q]:
                self._multiples(q, j, self._table)
                self._multiples(q, other, self._second)
                self._spread_two(q, view)

    def _spread_two(self, q, view):
        kernel.spread_two(self._quads[q], view, self._table, self._row, self.blksize)

    def _multiples(self, q, j, table):
        """The products of every byte and the coefficients of data symbol `j` in quad `q`."""
        kernel.coefficients(self._four, self._active[q], j, gf.CAUCHY)
        kernel.table(table, self._four)

    def _spread(self, q, source, length):
        """Add to each symbol of quad `q` its byte of `four` times the source."""
        kernel.table(self._table, self._four)
        kernel.spread(self._quads[q], source, self._table, length)

    def solve(self):
        """Solve for the missing blocks, all in one go."""
        while self.eliminate():
            pass

    def eliminate(self):
        """One step of solve(), for callers that have something else to do in between; False when done."""
        if self._decoding == _NONE or self.next_known() >= 0:
            raise UsageError("not all known symbols were fed")
        if self._pivot == len(self._slots):
            return False
        self._clear_column(self._pivot)
        self._pivot += 1
        return self._pivot < len(self._slots)

    def _clear_column(self, column):
        """Gauss-Jordan: make this column 1 in its own symbol and 0 in all others.

        Without a search for a pivot: what is left of the matrix is Cauchy-like, so never 0 there.
        """
        own = self._slots[column]
        kernel.get(self._quads[own >> 2], own & 3, self._row, self._row_bytes)
        scale = gf.inverse(self._row[self.blksize + column])
        column = 2 * (self.blksize + column)
        q = len(self._quads)
        while q:
            q -= 1
            if self._weigh(self._quads[q], column, scale):
                if q == own >> 2:
                    self._four[own & 3] = scale ^ 1  # a + (1/p + 1) a = a/p
                self._spread(q, self._row, self._row_bytes)

    def _weigh(self, quad, at, scale):
        """Make `four` what is at `at` in the quad's symbols, times `scale`; False when that is 0."""
        low = quad[at]
        high = quad[at + 1]
        if not low and not high:
            return False
        quad = self._four
        quad[0] = gf.mul(low & 0xFF, scale)
        quad[1] = gf.mul(low >> 8, scale)
        quad[2] = gf.mul(high & 0xFF, scale)
        quad[3] = gf.mul(high >> 8, scale)
        return True

    def block(self, i):
        """The block missing[i], after solve(); a view that is good until the next call."""
        if self._decoding == _NONE or not 0 <= i < len(self._slots) or self._pivot < len(self._slots):
            raise UsageError("block %d is not solved" % i)
        slot = self._slots[i]
        kernel.get(self._quads[slot >> 2], slot & 3, self._row, self.blksize)
        return self.spare
