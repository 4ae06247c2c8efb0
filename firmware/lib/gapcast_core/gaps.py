"""The gap list: which blocks of a download are missing, and how many in a row.

Blocks are numbered from 1. Everything from the cursor `next_block` on has not been seen yet
(the open tail); below it, missing blocks stand in a sorted fixed array of (first, length)
pairs. An in-order block only moves the cursor, so a clean stream costs O(1) and allocates
nothing; a lost run adds one pair at the end.

Memory is bounded whatever the loss: when the array is full, the gaps with the least good
blocks between them are merged. Those good blocks are then listed as missing once more:
fetching a block twice is allowed, losing one never.
"""

from array import array

from .errors import UsageError

CAPACITY_GAPS = 480  # 2 x 2 bytes a gap = 1920 bytes: with its object, within 2 KiB
MAX_TOTAL_BLOCKS = 1 << 24  # 8 GiB of 512-byte blocks; a longer file is not for a board


class GapList:
    """The missing blocks out of 1..total.

    total: number of blocks, or None while the length is unknown (no `tsize`, RFC 2349).
    capacity: gaps it can hold; None is what fits 2 KiB.
    """

    def __init__(self, total, capacity=None):
        if total is not None and not 0 <= total <= MAX_TOTAL_BLOCKS:
            raise UsageError("gap list of %s blocks" % total)
        known = total is not None
        wide = not known or total > 65535
        code = "I" if wide else "H"
        if capacity is None:
            capacity = CAPACITY_GAPS // 2 if wide else CAPACITY_GAPS
        if capacity < 2:
            raise UsageError("gap list of %d gaps" % capacity)
        self.total = total if known else MAX_TOTAL_BLOCKS
        self.total_known = known
        self.next_block = 1
        self._capacity = capacity
        self._count = 0
        self._first = array(code, bytes(capacity * (4 if wide else 2)))
        self._length = self._first[:]
        self._missing = 0  # blocks in the pairs, the tail not counted
        self.merges = 0  # how often memory ran out and gaps were merged

    def set_total(self, total):
        """Fix the length once it is known; what lies beyond is no longer missing."""
        if not 0 <= total <= self.total or total < self.next_block - 1:
            raise UsageError("total %d after block %d" % (total, self.next_block - 1))
        self.total = total
        self.total_known = True

    # -- reading ------------------------------------------------------------------------

    def is_complete(self):
        return self._count == 0 and self.next_block > self.total

    def missing_blocks(self):
        return self._missing + self.total + 1 - self.next_block

    def gap_count(self):
        return self._count + (1 if self.next_block <= self.total else 0)

    def first(self, i):
        """The first block of gap `i`, 0 <= i < gap_count; the last gap may be the open tail."""
        return self._first[i] if i < self._count else self.next_block

    def length(self, i):
        """The blocks in gap `i`."""
        return self._length[i] if i < self._count else self.total + 1 - self.next_block

    def ranges(self):
        """All gaps as a list of (first, length)."""
        return [(self.first(i), self.length(i)) for i in range(self.gap_count())]

    def largest_gap_blocks(self):
        largest = 0
        for i in range(self.gap_count()):
            if self.length(i) > largest:
                largest = self.length(i)
        return largest

    def is_missing(self, block):
        if block >= self.next_block:
            return block <= self.total
        i = self._find(block)
        return i < self._count and self._first[i] <= block

    def next_missing(self, block):
        """The first missing block at or after `block`; total + 1 when there is none."""
        if block < self.next_block:
            i = self._find(block)
            if i < self._count:
                first = self._first[i]
                return first if first > block else block
            block = self.next_block
        return block if block <= self.total else self.total + 1

    # -- changing -----------------------------------------------------------------------

    def add(self, block):
        """Block `block` is stored now. True when it was missing; out of range is False."""
        cursor = self.next_block
        if block == cursor and block <= self.total:
            self.next_block = cursor + 1
            return True
        if block > cursor:
            if block > self.total:
                return False
            self._append(cursor, block - cursor)
            self.next_block = block + 1
            return True
        return self._fill(block)

    def add_range(self, first, length):
        """Blocks first..first+length-1 are stored now."""
        end = min(first + length, self.total + 1)
        if first >= self.next_block and first < end:  # behind all that was seen: no need to count
            if first > self.next_block:
                self._append(self.next_block, first - self.next_block)
            self.next_block = end
            return
        for block in range(first, first + length):
            self.add(block)

    def mark_missing(self, first, length):
        """Blocks first..first+length-1 are bad after all (a chunk failed its digest)."""
        last = first + length - 1
        if first < 1 or length < 1 or last > self.total:
            raise UsageError("mark %d+%d of %d" % (first, length, self.total))
        if first >= self.next_block:
            return
        if last >= self.next_block:
            last = self.next_block - 1
        self._insert(first, last)

    # -- the array ----------------------------------------------------------------------

    def _find(self, block):
        """The first pair that ends at or after `block` (binary search)."""
        low = 0
        high = self._count
        while low < high:
            mid = (low + high) >> 1
            if self._first[mid] + self._length[mid] > block:
                high = mid
            else:
                low = mid + 1
        return low

    def _append(self, first, length):
        if self._count == self._capacity:
            self._compact()
        i = self._count
        self._first[i] = first
        self._length[i] = length
        self._count = i + 1
        self._missing += length

    def _fill(self, block):
        i = self._find(block)
        if i == self._count or block < self._first[i]:
            return False
        first = self._first[i]
        length = self._length[i]
        if length == 1:
            self._delete(i)
        elif block == first:
            self._first[i] = first + 1
            self._length[i] = length - 1
        elif block == first + length - 1:
            self._length[i] = length - 1
        else:
            return self._split(i, block)
        self._missing -= 1
        return True

    def _split(self, i, block):
        if self._count == self._capacity:
            self._compact()
            i = self._find(block)
        last = self._first[i] + self._length[i] - 1
        self._shift_up(i + 1)
        self._length[i] = block - self._first[i]
        self._first[i + 1] = block + 1
        self._length[i + 1] = last - block
        self._missing -= 1
        return True

    def _insert(self, first, last):
        """Make first..last (all below the cursor) missing, joining what it touches."""
        i = self._find(first - 1 if first > 1 else first)
        while i < self._count and self._first[i] <= last + 1:
            if self._first[i] < first:
                first = self._first[i]
            end = self._first[i] + self._length[i] - 1
            if end > last:
                last = end
            self._missing -= self._length[i]
            self._delete(i)
        if self._count == self._capacity:
            self._compact()
            self._insert(first, last)
            return
        self._shift_up(i)
        self._first[i] = first
        self._length[i] = last - first + 1
        self._missing += last - first + 1

    def _delete(self, i):
        count = self._count - 1
        while i < count:
            self._first[i] = self._first[i + 1]
            self._length[i] = self._length[i + 1]
            i += 1
        self._count = count

    def _shift_up(self, i):
        j = self._count
        while j > i:
            self._first[j] = self._first[j - 1]
            self._length[j] = self._length[j - 1]
            j -= 1
        self._count += 1

    def _compact(self):
        """Merge every pair of neighbours whose distance is the smallest there is."""
        nearest = self.total
        for i in range(1, self._count):
            distance = self._first[i] - self._first[i - 1] - self._length[i - 1]
            if distance < nearest:
                nearest = distance
        kept = 0
        for i in range(1, self._count):
            distance = self._first[i] - self._first[kept] - self._length[kept]
            if distance <= nearest:
                self._length[kept] += distance + self._length[i]
                self._missing += distance
            else:
                kept += 1
                self._first[kept] = self._first[i]
                self._length[kept] = self._length[i]
        self._count = kept + 1
        self.merges += 1
