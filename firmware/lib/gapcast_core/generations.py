"""Generations of a file, and the option `lacks`: what a board still needs of each (PROTOCOL.md section 11).

A generation is k blocks in a row (64 as a rule); the last one may be shorter. Two generations in a row
are a pair. What a repair symbol is made of is its *unit*: one generation, or a whole pair. Units are
numbered in the order of the stream: 3 x pair, and 0 for the first generation of the pair, 1 for the
second, WHOLE for both. Repair symbols are DATA for the session's repair group, numbered
0x8000 | pair << 8 | index: indices 0..127 are symbols 128..255 of the pair, 128..191 are symbols
128..191 of its first generation, and 192..255 those of its second. So files of such a session have at
most 256 generations. `lacks` is "" (I could be mended); in the server's answer "GROUP,k"; in a report the
symbols needed of generation 0, 1, ...: `count[*times]`, comma-separated; generations that are not
listed have not gone by yet.
"""

from . import options as opt
from .errors import PeerError, UsageError
from .wire import ERR_OPTION

LACKS = "lacks"
HEARD = "heard"  # in a report: the number of the DATA heard last, and how many were (modulo 65536)
BLOCKS = 64  # of a generation: what the server offers
MAX_BLOCKS = 64  # of a generation
TOO_MANY = 128  # in a report: more blocks of that unit are missing than symbols can help with
MAX_GENERATIONS = 256
POOL_BLOCKS = 20  # what a board can solve for at once: 20 KiB, with blocks of 1 KiB
SURPLUS_BLOCKS = 16  # beyond what it can solve for, a board asks for so many in a report
MAX_SURPLUS_BLOCKS = 40  # of a unit, in all: who lost more was away
FIRST_REPAIR_SYMBOL = 128
REPAIR_FLAG = 0x8000  # of a block number
WHOLE = 2
_ITEM_BYTES = 8  # ",128*256"


class Plan:
    """How a file of `total_blocks` is cut into generations of `k` blocks."""

    def __init__(self, total_blocks, k):
        if not 1 <= k <= MAX_BLOCKS:
            raise UsageError("generations of %d blocks" % k)
        self.total_blocks = total_blocks
        self.k = k
        self.count = (total_blocks + k - 1) // k
        self.pairs = (self.count + 1) // 2

    @property
    def fits(self):
        """Whether block numbers can name every symbol."""
        return 0 < self.count <= MAX_GENERATIONS and self.total_blocks < REPAIR_FLAG

    def of(self, block):
        """The generation of a block."""
        return (block - 1) // self.k

    def first(self, unit):
        """The number, from 1, of a unit's first block."""
        kind = unit % 3
        return (unit // 3 * 2 + (kind if kind != WHOLE else 0)) * self.k + 1

    def end(self, unit):
        """The number of a unit's last block; before its first one when there is no such unit."""
        kind = unit % 3
        last = (unit // 3 * 2 + (kind + 1 if kind != WHOLE else 2)) * self.k
        return last if last < self.total_blocks else self.total_blocks

    def size(self, unit):
        """Blocks in a unit."""
        return self.end(unit) - self.first(unit) + 1

    def passed(self, position):
        """How many generations lie wholly below block `position`."""
        return self.count if position > self.total_blocks else (position - 1) // self.k


def alone(generation):
    """The unit of one generation."""
    return generation // 2 * 3 + generation % 2


def whole(generation):
    """The unit of the pair that a generation is in."""
    return generation // 2 * 3 + WHOLE


def max_symbols(unit):
    """How many repair symbols block numbers can name."""
    return 128 if unit % 3 == WHOLE else 64


def number(unit, index):
    """The block number of the repair symbol FIRST_REPAIR_SYMBOL + index of a unit."""
    kind = unit % 3
    if kind != WHOLE:
        index += 128 + 64 * kind
    return REPAIR_FLAG | unit // 3 << 8 | index


def unit_of(number):
    """The unit of the repair symbol with that block number."""
    kind = WHOLE
    if number & 0x80:
        kind = number >> 6 & 1
    return (number >> 8 & 0x7F) * 3 + kind


def symbol_of(number):
    """Which of its unit's repair symbols has that block number, from FIRST_REPAIR_SYMBOL on."""
    return FIRST_REPAIR_SYMBOL + (number & (0x3F if number & 0x80 else 0x7F))


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
        if i:
            buf[at] = 0x2C  # ","
            at += 1
        number = needs[i]
        at = _write_number(buf, at, number)
        number = _times(needs, i, count)
        if number > 1:
            buf[at] = 0x2A  # "*"
            at = _write_number(buf, at + 1, number)
        i += number
    return at


def _times(needs, i, count):
    """How often needs[i] stands there in a row, below `count`."""
    times = 1
    while i + times < count and needs[i + times] == needs[i]:
        times += 1
    return times


def write_surplus(buf, at, limit, blocks, count):
    """Write blocks[0..count-1] as a value of `ranges` into buf[at..limit-1]; where it ends."""
    i = 0
    while i < count and at + _ITEM_BYTES <= limit:
        if i:
            buf[at] = 0x2C  # ","
            at += 1
        at = _write_number(buf, at, blocks[i])
        i += 1
    return at


def write_text(buf, at, text):
    """Write octets into buf[at..]; where they end. A slice would be an allocation."""
    for i in range(len(text)):
        buf[at] = text[i]
        at += 1
    return at


def _write_number(buf, at, value):
    """Decimal, up to five digits, without leading zeros."""
    if value >= 10000:
        buf[at] = 0x30 + value // 10000
        at += 1
    if value >= 1000:
        buf[at] = 0x30 + value // 1000 % 10
        at += 1
    if value >= 100:
        buf[at] = 0x30 + value // 100 % 10
        at += 1
    if value >= 10:
        buf[at] = 0x30 + value // 10 % 10
        at += 1
    buf[at] = 0x30 + value % 10
    return at + 1


def write_heard(buf, at, latest, count):
    """Write the value of `heard` into buf[at..], at most 11 octets; where it ends."""
    at = _write_number(buf, at, latest)
    buf[at] = 0x2C  # ","
    return _write_number(buf, at + 1, count)


def parse_heard(text):
    """(number, count) of `heard`. Raises PeerError `bad_heard`."""
    latest, _comma, count = text.partition(",")
    try:
        return opt.parse_number(latest, 0, 0xFFFF), opt.parse_number(count, 0, 0xFFFF)
    except PeerError:
        raise PeerError("bad_heard", ERR_OPTION)


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
            needed = opt.parse_number(needed, 0, TOO_MANY)
            times = opt.parse_number(times, 2, MAX_GENERATIONS) if star else 1
        except PeerError:
            raise PeerError("bad_lacks", ERR_OPTION)
        if len(counts) + times > generations:
            raise PeerError("bad_lacks", ERR_OPTION)
        counts.extend([needed] * times)
    return counts
