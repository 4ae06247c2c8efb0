"""Generations of a file, and the option `lacks`: what a board still needs of each (PROTOCOL.md section 8).

A generation is k blocks in a row (64 as a rule); the last one may be shorter. Repair symbols are
DATA for the session's repair group, numbered 0x8000 | generation << 7 | (symbol - 128), so files
of such a session have at most 256 generations and 32767 blocks. `lacks` is "" (I could be mended);
in the server's answer "GROUP,k"; in a report the symbols needed of generation 0, 1, ...:
`count[*times]`, comma-separated; generations that are not listed have not gone by yet.
"""

from . import options as opt
from .errors import PeerError, UsageError

LACKS = "lacks"
MAX_BLOCKS = 128  # of a generation: data symbols are 0..127
MAX_GENERATIONS = 256
FIRST_REPAIR_SYMBOL = 128
REPAIR_FLAG = 0x8000  # of a block number
_MAX_ITEMS = 256


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
    group, comma, k = text.partition(",")
    try:
        k = opt.parse_number(k, 1, MAX_BLOCKS)
        group = opt.parse_multicast(group + ",1,0")[0]
    except PeerError:
        raise PeerError("bad_lacks", opt.ERR_OPTION)
    if not comma or not group:
        raise PeerError("bad_lacks", opt.ERR_OPTION)
    return group, k


def format_lacks(counts, max_bytes):
    """The report of these needs; shorter, from the end, when it does not fit `max_bytes`."""
    text = ""
    i = 0
    while i < len(counts):
        times = 1
        while i + times < len(counts) and counts[i + times] == counts[i]:
            times += 1
        item = "%d" % counts[i] if times == 1 else "%d*%d" % (counts[i], times)
        if len(text) + len(item) + 1 > max_bytes:
            break
        text = text + "," + item if text else item
        i += times
    return text


def parse_lacks(text, generations):
    """[symbols needed, ...] of the first generations of at most `generations`.

    Raises PeerError `bad_lacks`: the grammar, too much of one generation, more of them than there are.
    """
    counts = []
    items = text.split(",", _MAX_ITEMS)
    if len(items) > _MAX_ITEMS:
        raise PeerError("bad_lacks", opt.ERR_OPTION)
    for item in items:
        needed, star, times = item.partition("*")
        try:
            needed = opt.parse_number(needed, 0, MAX_BLOCKS)
            times = opt.parse_number(times, 2, MAX_GENERATIONS) if star else 1
        except PeerError:
            raise PeerError("bad_lacks", opt.ERR_OPTION)
        if len(counts) + times > generations:
            raise PeerError("bad_lacks", opt.ERR_OPTION)
        counts.extend([needed] * times)
    return counts
