"""Option values: RFC 2348, 2349, 7440, 2090, and our own `ranges` (PROTOCOL.md section 4).

Values are case-insensitive ASCII (RFC 2347), so numbers are decimal and nothing is base64.
Parsers take text from the network and can leave only by returning or by PeerError.
"""

from .errors import PeerError, UsageError
from .wire import ERR_OPTION

BLKSIZE = "blksize"
TSIZE = "tsize"
TIMEOUT = "timeout"
WINDOWSIZE = "windowsize"
MULTICAST = "multicast"
RANGES = "ranges"
PACE = "pace"

BLKSIZE_MIN_BYTES = 8  # RFC 2348
BLKSIZE_MAX_BYTES = 65464  # RFC 2348
DEFAULT_BLKSIZE_BYTES = 512  # RFC 1350
WINDOWSIZE_MAX_BLOCKS = 65535  # RFC 7440
TIMEOUT_MAX_S = 255  # RFC 2349
MAX_BLOCK = 65535  # 16-bit numbers; a multicast transfer never wraps (RFC 2090 has no lap)
MAX_RANGES = 128  # a 512-octet request holds about 100; a longer list is an attack on the CPU


def parse_number(text, low, high):
    """A strict decimal number between `low` and `high`.

    Raises PeerError `bad_number`: empty, signs, blanks, other digits, too long, out of range.
    """
    if not 1 <= len(text) <= 10:
        raise PeerError("bad_number", ERR_OPTION)
    for char in text:
        if not "0" <= char <= "9":
            raise PeerError("bad_number", ERR_OPTION)
    number = int(text)
    if not low <= number <= high:
        raise PeerError("bad_number", ERR_OPTION)
    return number


def format_multicast(address, port, is_master):
    """The value of the `multicast` option of an OACK (RFC 2090): "addr,port,mc"."""
    return "%s,%d,%d" % (address, port, 1 if is_master else 0)


def parse_multicast(text):
    """(address, port, is_master) of an OACK's `multicast` value.

    The short form ",,mc" (RFC 2090: later OACKs) gives address "" and port 0.
    Raises PeerError `bad_multicast`, also for an address outside 224.0.0.0/4 or port 0.
    """
    parts = text.split(",")
    if len(parts) != 3 or parts[2] not in ("0", "1"):
        raise PeerError("bad_multicast", ERR_OPTION)
    is_master = parts[2] == "1"
    if parts[0] == "" and parts[1] == "":
        return "", 0, is_master
    try:
        octets = [parse_number(octet, 0, 255) for octet in parts[0].split(".")]
        port = parse_number(parts[1], 1, 65535)
    except PeerError:
        raise PeerError("bad_multicast", ERR_OPTION)
    if len(octets) != 4 or not 224 <= octets[0] <= 239:
        raise PeerError("bad_multicast", ERR_OPTION)
    return "%d.%d.%d.%d" % tuple(octets), port, is_master


def parse_ranges(text, max_block):
    """[(first, length), ...] of a `ranges` value, in blocks; an empty value gives [].

    Grammar: `first[-last]` decimal, 1-based, ascending and disjoint, comma-separated.
    Raises PeerError `bad_ranges`, also beyond `max_block` or MAX_RANGES items.
    """
    if text == "":
        return []
    items = text.split(",", MAX_RANGES)
    if len(items) > MAX_RANGES:
        raise PeerError("bad_ranges", ERR_OPTION)
    ranges = []
    after = 0
    for item in items:
        ends = item.split("-", 2)
        if len(ends) > 2:
            raise PeerError("bad_ranges", ERR_OPTION)
        try:
            first = parse_number(ends[0], after + 1, max_block)
            last = parse_number(ends[-1], first, max_block)
        except PeerError:
            raise PeerError("bad_ranges", ERR_OPTION)
        ranges.append((first, last - first + 1))
        after = last
    return ranges


def format_range(first, length):
    """One item of a `ranges` value."""
    if first < 1 or length < 1:
        raise UsageError("range %d+%d" % (first, length))
    if length == 1:
        return "%d" % first
    return "%d-%d" % (first, first + length - 1)


def format_ranges(ranges, max_bytes):
    """(text, count): as many of the (first, length) pairs as fit `max_bytes`, and their number."""
    text = ""
    count = 0
    for first, length in ranges:
        item = format_range(first, length)
        if count == MAX_RANGES or len(text) + len(item) + 1 > max_bytes:
            break
        text = text + "," + item if text else item
        count += 1
    return text, count


def count_blocks(ranges):
    """How many blocks the (first, length) pairs hold together."""
    total = 0
    for _first, length in ranges:
        total += length
    return total
