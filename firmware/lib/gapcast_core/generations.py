"""Generations of a file, and the option `lacks`: what a board still needs of each (PROTOCOL.md section 11).

A generation is k blocks in a row (64 as a rule); the last one may be shorter. Two generations in a row
are a pair. What a repair symbol is made of is its *unit*: one generation, or a whole pair. Units are
numbered in the order of the stream: 3 x pair, and 0 for the first generation of the pair, 1 for the
second, WHOLE for both. Repair symbols are DATA for the session's repair group, numbered
0x8000 | mixed << 14 | pair << 8 | index: mixed is 1 for interleaved generations (plan.py), indices 0..127
are symbols 128..255 of the pair, 128..191 are symbols 128..191 of its first generation, and 192..255
those of its second. So files of such a session have at most 128 generations. `lacks` is "" (I could be
mended); in the server's answer "GROUP,k"; in a report the symbols needed of generation 0, 1, ...:
`count[*times]`, comma-separated; generations that are not listed have not gone by yet.
"""

from . import options as opt
from .errors import PeerError
from .plan import MAX_BLOCKS, MAX_GENERATIONS
from .plan import WHOLE as WHOLE
from .plan import Plan as Plan
from .plan import alone as alone
from .plan import first_of as first_of
from .plan import whole as whole
from .wire import ERR_OPTION

LACKS = "lacks"
HEARD = "heard"  # in a report: number of the DATA heard last, how many were (modulo 65536), "1" when mixed
BLOCKS = 64  # of a generation: what the server offers
TOO_MANY = 128  # in a report: more blocks of that unit are missing than symbols can help with
MIXED_FLAG = 0x4000  # of a block number: the symbol is of interleaved generations
POOL_BLOCKS = 20  # what a board can solve for at once: 20 KiB, with blocks of 1 KiB
SURPLUS_BLOCKS = 16  # beyond what it can solve for, a board asks for so many in a report
MAX_SURPLUS_BLOCKS = 40  # of a unit, in all: who lost more was away
FIRST_REPAIR_SYMBOL = 128
REPAIR_FLAG = 0x8000  # of a block number
_ITEM_BYTES = 8  # ",128*256"


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
    return (number >> 8 & 0x3F) * 3 + kind


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


def write_heard(buf, at, latest, count, mixed=False):
    """Write the value of `heard` into buf[at..], at most 13 octets; where it ends."""
    at = _write_number(buf, at, latest)
    buf[at] = 0x2C  # ","
    at = _write_number(buf, at + 1, count)
    if mixed:
        buf[at] = 0x2C  # ","
        buf[at + 1] = 0x31  # "1"
        at += 2
    return at


def parse_heard(text):
    """(number, count, whether mixed) of `heard`. Raises PeerError `bad_heard`."""
    latest, _comma, count = text.partition(",")
    count, _comma, mixed = count.partition(",")
    try:
        if mixed not in ("", "1"):
            raise PeerError("bad_heard", ERR_OPTION)
        return opt.parse_number(latest, 0, 0xFFFF), opt.parse_number(count, 0, 0xFFFF), mixed == "1"
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


def parse_surplus(text, total_blocks):
    """[block, ...] of a report's `ranges`: up to SURPLUS_BLOCKS, in any order; "" is none.

    Raises PeerError `bad_surplus`.
    """
    try:
        items = text.split(",", SURPLUS_BLOCKS) if text else []
        return [opt.parse_number(item, 1, total_blocks) for item in items[:SURPLUS_BLOCKS]]
    except PeerError:
        raise PeerError("bad_surplus", ERR_OPTION)
