"""Generations of a file, and the option `lacks`: what a board still needs of each (PROTOCOL.md section 11).

A generation is k blocks in a row (64 as a rule); the last one may be shorter. Repair symbols are
DATA for the session's repair group, numbered 0x8000 | generation << 7 | (symbol - 128), so files
of such a session have at most 256 generations and 32767 blocks. `lacks` is "" (I could be mended);
in the server's answer "GROUP,k"; in a report the symbols needed of generation 0, 1, ...:
`count[*times]`, comma-separated; generations that are not listed have not gone by yet.
"""

from . import options as opt
from .errors import PeerError, UsageError
from .wire import ERR_OPTION

LACKS = "lacks"
BLOCKS = 64  # of a generation: what the server offers
MAX_BLOCKS = 128  # of a generation: data symbols are 0..127
MAX_GENERATIONS = 256
FIRST_REPAIR_SYMBOL = 128
REPAIR_FLAG = 0x8000  # of a block number
_ITEM_BYTES = 8  # ",128*256"


class Plan:
    """How a file of `total_blocks` is cut into generations of `k` blocks."""

    def __init__(self, total_blocks, k):
        if not 1 <= k <= MAX_BLOCKS:
            raise UsageError("generations of %d blocks" % k)
        self.total_blocks = total_blocks
        self.k = k
        self.count = (total_blocks + k - 1) // k

    @property
    def fits(self):
        """Whether block numbers can name every symbol."""
        return 0 < self.count <= MAX_GENERATIONS and self.total_blocks < REPAIR_FLAG

    def of(self, block):
        """The generation of a block."""
        return (block - 1) // self.k

    def first(self, generation):
        """The number, from 1, of a generation's first block."""
        return generation * self.k + 1

    def end(self, generation):
        """The number of a generation's last block."""
        last = (generation + 1) * self.k
        return last if last < self.total_blocks else self.total_blocks

    def size(self, generation):
        """Blocks in a generation."""
        return self.end(generation) - generation * self.k

    def passed(self, position):
        """How many generations lie wholly below block `position`."""
        return self.count if position > self.total_blocks else (position - 1) // self.k


def number(generation, symbol):
    """The block number of a repair symbol."""
    return REPAIR_FLAG | generation << 7 | symbol - FIRST_REPAIR_SYMBOL


def format_offer(group, k):
    """The server's `lacks`: where the repair symbols go, and the blocks of a generation."""
    return "%s,%d" % (group, k)


def parse_offer(text):
    """(group address, k) of the server's `lacks`. Raises PeerError `bad_lacks`."""
    group, _comma, k = text.partition(",")
    try:
        k = opt.parse_number(k, 1, MAX_BLOCKS)
        group = opt.parse_multicast(group + ",1,0")[0]
    except PeerError:
        raise PeerError("bad_lacks", ERR_OPTION)
    if not group:
        raise PeerError("bad_lacks", ERR_OPTION)
    return group, k


def write_lacks(buf, at, limit, needs, count):
    """Write the report of needs[0..count-1] into buf[at..limit-1]; where it ends. Allocates nothing.

    Generations that do not fit are left out, from the end: they will be told when those before are mended.
    """
    i = 0
    while i < count and at + _ITEM_BYTES <= limit:
        times = 1
        while i + times < count and needs[i + times] == needs[i]:
            times += 1
        if i:
            buf[at] = 0x2C  # ","
            at += 1
        at = _write_number(buf, at, needs[i])
        if times > 1:
            buf[at] = 0x2A  # "*"
            at = _write_number(buf, at + 1, times)
        i += times
    return at


def _write_number(buf, at, value):
    """Up to three digits."""
    if value >= 100:
        buf[at] = 0x30 + value // 100
        at += 1
    if value >= 10:
        buf[at] = 0x30 + value // 10 % 10
        at += 1
    buf[at] = 0x30 + value % 10
    return at + 1


def parse_lacks(text, generations):
    """[symbols needed, ...] of the first generations of at most `generations`; "" is none of them.

    Raises PeerError `bad_lacks`: the grammar, too much of one generation, more of them than there are.
    """
    counts = []
    if text == "":
        return counts
    for item in text.split(",", generations):
        needed, star, times = item.partition("*")
        try:
            needed = opt.parse_number(needed, 0, MAX_BLOCKS)
            times = opt.parse_number(times, 2, MAX_GENERATIONS) if star else 1
        except PeerError:
            raise PeerError("bad_lacks", ERR_OPTION)
        if len(counts) + times > generations:
            raise PeerError("bad_lacks", ERR_OPTION)
        counts.extend([needed] * times)
    return counts
