"""A client's requests, and the server's first answer to them (PROTOCOL.md sections 3 to 5).

Pure: builds RRQ bytes and judges the datagram that comes back.
"""

from . import generations, wire
from . import options as opt
from .errors import PeerError, UsageError
from .gaps import MAX_TOTAL_BLOCKS

STREAM_WINDOW_BLOCKS = 8  # of a gap-aware session without `windowsize` (PROTOCOL.md section 3)
RANGES_BUDGET_BYTES = 380  # what is left of 512 octets after a long name and the other options


class Offer:
    """What the server offered in answer to an RRQ.

    blksize, window: blocks of bytes, blocks per ACK.
    size_bytes: the file's size, or None without `tsize`.
    group, port, is_master: the multicast session, or group None for unicast.
    gap_aware: the server echoed our empty `ranges`.
    ranges: accepted (first, length) pairs of a repair, or None.
    plain: the answer was DATA 1 itself, so no option was taken (RFC 2347).
    repair_group, generation_blocks: where repair symbols go, or None without `lacks`.
    """

    def __init__(self):
        self.blksize = opt.DEFAULT_BLKSIZE_BYTES
        self.window = 1
        self.size_bytes = None
        self.group = None
        self.port = 0
        self.is_master = False
        self.gap_aware = False
        self.ranges = None
        self.plain = False
        self.repair_group = None
        self.generation_blocks = 0

    def blocks(self):
        """Blocks that carry bytes, or None when the size is unknown."""
        if self.size_bytes is None:
            return None
        return (self.size_bytes + self.blksize - 1) // self.blksize

    def final_ack(self):
        """The ACK that says "I have everything" (PROTOCOL.md section 1, `total`); needs the size."""
        if self.size_bytes is None:
            raise UsageError("no size, no last block")
        if self.gap_aware:
            return self.blocks()
        return self.size_bytes // self.blksize + 1


def image_request(name, blksize):
    """RRQ for a whole image: multicast if the server can, gap-aware and mended if it is ours."""
    return wire.pack_request(
        wire.OP_RRQ,
        name,
        [
            (opt.BLKSIZE, str(blksize)),
            (opt.TSIZE, "0"),
            (opt.MULTICAST, ""),
            (opt.RANGES, ""),
            (generations.LACKS, ""),
        ],
    )


def head_requests(name, blksize):
    """RRQs for a small file that a whole fleet may ask for at once: with multicast, and without.

    A server gives both the same answer by unicast, so they can be sent in turn.
    """
    options = [(opt.BLKSIZE, str(blksize)), (opt.TSIZE, "0")]
    plain = wire.pack_request(wire.OP_RRQ, name, options)
    return wire.pack_request(wire.OP_RRQ, name, options + [(opt.MULTICAST, ""), (opt.RANGES, "")]), plain


def plain_request(name, blksize, window):
    """RRQ for a whole file by unicast."""
    return wire.pack_request(
        wire.OP_RRQ,
        name,
        [(opt.BLKSIZE, str(blksize)), (opt.TSIZE, "0"), (opt.WINDOWSIZE, str(window))],
    )


def repair_request(name, blksize, window, gaps):
    """(RRQ bytes, [(first, length), ...] asked for): as many gaps as one request holds."""
    ranges = [(gaps.first(i), gaps.length(i)) for i in range(min(gaps.gap_count(), opt.MAX_RANGES))]
    text, count = opt.format_ranges(ranges, RANGES_BUDGET_BYTES)
    options = [
        (opt.BLKSIZE, str(blksize)),
        (opt.TSIZE, "0"),
        (opt.WINDOWSIZE, str(window)),
        (opt.RANGES, text),
    ]
    return wire.pack_request(wire.OP_RRQ, name, options), ranges[:count]


def parse_offer(data, blksize, window, asked_ranges=None):
    """The Offer in the first datagram that answers an RRQ.

    asked_ranges: the repair list we asked for, or None when this is no repair.
    Raises PeerError: `refused` (an ERROR; its code and text are in `error_code`, `error_text`),
    `unrequested_option`, `not_an_answer`, and whatever the option parsers raise.
    """
    op = wire.opcode(data)
    if op == wire.OP_ERROR:
        raise refusal(data)
    offer = Offer()
    if op == wire.OP_DATA:
        longest = wire.HEADER_BYTES + opt.DEFAULT_BLKSIZE_BYTES
        if not wire.HEADER_BYTES <= len(data) <= longest or data[2] or data[3] != 1:
            raise PeerError("not_an_answer", wire.ERR_ILLEGAL)
        offer.plain = True
        return offer
    if op != wire.OP_OACK:
        raise PeerError("not_an_answer", wire.ERR_ILLEGAL)
    for name, value in wire.parse_oack(data):
        _take(offer, name, value, blksize, window, asked_ranges)
    blocks = offer.blocks()
    if blocks is not None and blocks > MAX_TOTAL_BLOCKS:
        raise PeerError("bad_number", wire.ERR_OPTION)
    return offer


def is_turn(data):
    """True for an OACK that makes its receiver the master or gives it its turn."""
    try:
        value = wire.option(wire.parse_oack(data), opt.MULTICAST)
        return value is not None and opt.parse_multicast(value)[2]
    except PeerError:
        return False


def refusal(data):
    """The PeerError `refused` that carries an ERROR datagram's code and text."""
    code, text = wire.parse_error(data)
    return PeerError("refused", error_code=code, error_text=text)


def _take(offer, name, value, blksize, window, asked_ranges):
    if name == opt.BLKSIZE:
        offer.blksize = opt.parse_number(value, opt.BLKSIZE_MIN_BYTES, blksize)
    elif name == opt.TSIZE:
        offer.size_bytes = opt.parse_number(value, 0, 1 << 30)
    elif name == opt.WINDOWSIZE:
        offer.window = opt.parse_number(value, 1, window)
    elif name == opt.MULTICAST:
        offer.group, offer.port, offer.is_master = opt.parse_multicast(value)
        if not offer.group:
            raise PeerError("bad_multicast", wire.ERR_OPTION)
    elif name == opt.RANGES:
        if asked_ranges is None:
            offer.gap_aware = True
            offer.window = STREAM_WINDOW_BLOCKS
            return
        offer.ranges = opt.parse_ranges(value, opt.MAX_BLOCK)
        _check_prefix(offer.ranges, asked_ranges)
    elif name == generations.LACKS and asked_ranges is None:
        offer.repair_group, offer.generation_blocks = generations.parse_offer(value)
    else:
        raise PeerError("unrequested_option", wire.ERR_OPTION)


def _check_prefix(accepted, asked):
    """The server may cut the list short, never change it (PROTOCOL.md section 4)."""
    if not 0 < len(accepted) <= len(asked) or accepted != asked[: len(accepted)]:
        raise PeerError("bad_ranges", wire.ERR_OPTION)
