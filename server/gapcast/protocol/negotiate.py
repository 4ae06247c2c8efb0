"""An RRQ's options become a plan (RFC 2347, 2348, 2349, 7440, 2090; PROTOCOL.md sections 3 and 4)."""

from __future__ import annotations

from dataclasses import dataclass, field

from gapcast.protocol.blocks import Ranges, acceptable, blocks_to_end, blocks_with_bytes
from gapcast_core import options
from gapcast_core.errors import PeerError
from gapcast_core.generations import LACKS
from gapcast_core.offer import STREAM_WINDOW_BLOCKS
from gapcast_core.report import parse_name
from gapcast_core.wire import (
    ERR_ACCESS,
    ERR_ILLEGAL,
    ERR_OPTION,
    HEADER_BYTES,
    OP_WRQ,
    pack_oack,
    parse_request,
)

REPAIR_WINDOW_BLOCKS = (
    6  # an ESP32 queues so many: of a longer window a board whose flash is slow loses the end
)
WINDOWSIZE_CAP_BLOCKS = 64  # a forged ACK can cause one window; some clients fail above 64 anyway
SMALL_BLOCKS = 4  # a header, and no container
TSIZE_MAX = 9_999_999_999  # ten digits: what parse_number takes

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Request:
    """An RRQ that is well formed; file-dependent checks come in plan_*()."""

    name: str
    pairs: tuple[tuple[str, str], ...]  # the known options, in the order asked
    blksize: int = options.DEFAULT_BLKSIZE_BYTES
    windowsize: int = 1
    multicast: bool = False
    gap_aware: bool = False
    ranges: str | None = None  # the list of a repair
    received_bytes: int = 0  # what it may cost before the client has proven its address: credit.py

    def asks_same(self, other: Request) -> bool:
        """Whether one unicast answer fits both: a board asks with and without `multicast` in turn."""
        return (self.name, _unicast_pairs(self)) == (other.name, _unicast_pairs(other))


@dataclass(frozen=True, slots=True)
class UnicastPlan:
    """What one unicast transfer will do. oack: None when no option was accepted (RFC 2347).

    first_bytes: of the datagram that answers the request, OACK or DATA 1. brief: the same OACK without what a
    stock client can do without; it is repeated when the request has not paid for more (credit.py), or None.
    """

    blksize: int
    windowsize: int
    ranges: Ranges | None
    ranges_text: str | None
    oack: bytes | None
    brief: bytes | None
    first_bytes: int
    received_bytes: int


@dataclass(frozen=True, slots=True)
class JoinPlan:
    """What one member of a multicast session was promised."""

    gap_aware: bool
    windowsize: int
    pairs: Pairs = field(default_factory=list)
    received_bytes: int = 0

    def oack(
        self, group: tuple[str, int], is_master: bool, ranges: str | None, lacks: str | None = None
    ) -> bytes:
        """An OACK with `addr,port,mc` always in full: atftp aborts on the short form."""
        out: Pairs = []
        for key, value in self.pairs:
            if key == options.MULTICAST:
                out.append((key, options.format_multicast(group[0], group[1], is_master)))
            elif key == options.RANGES:
                if ranges is not None:
                    out.append((key, ranges))
            elif key == LACKS:
                if lacks is not None:
                    out.append((key, lacks))
            else:
                out.append((key, value))
        packed: bytes = pack_oack(out)
        return packed


def read_request(data: bytes) -> Request:
    """The Request in a datagram to the main port.

    Raises PeerError with a drop name and the ERROR code to answer with.
    """
    op, name, mode, pairs = parse_request(data)
    if op == OP_WRQ:
        raise PeerError("write_request", ERR_ACCESS)
    if mode != "octet":
        raise PeerError("mode", ERR_ILLEGAL)
    known = [(key, value) for key, value in pairs if key in _KNOWN]
    values = dict(known)
    blksize, windowsize = _read_sizes(values)
    multicast = values.get(options.MULTICAST)
    ranges = values.get(options.RANGES)
    if ranges:
        windowsize = min(windowsize, REPAIR_WINDOW_BLOCKS)
    lacks = values.get(LACKS)
    if multicast:
        raise PeerError("bad_multicast", ERR_OPTION)
    if ranges is not None and (ranges == "") != (multicast is not None):
        raise PeerError("bad_ranges", ERR_OPTION)
    if lacks is not None and (lacks or multicast is None or ranges is None):
        raise PeerError("bad_lacks", ERR_OPTION)  # reports go to the session's port
    return Request(
        name=name,
        pairs=tuple(known),
        blksize=blksize,
        windowsize=windowsize,
        multicast=multicast is not None,
        gap_aware=multicast is not None and ranges is not None,
        ranges=ranges or None,
        received_bytes=len(data),
    )


def _read_sizes(values: dict[str, str]) -> tuple[int, int]:
    """(blksize, windowsize) of a request, all its numbers checked. Raises PeerError."""
    blksize = options.DEFAULT_BLKSIZE_BYTES
    windowsize = 1
    if options.BLKSIZE in values:
        blksize = options.parse_number(
            values[options.BLKSIZE], options.BLKSIZE_MIN_BYTES, options.BLKSIZE_MAX_BYTES
        )
    if options.TSIZE in values:
        options.parse_number(values[options.TSIZE], 0, TSIZE_MAX)
    if options.TIMEOUT in values:
        options.parse_number(values[options.TIMEOUT], 1, options.TIMEOUT_MAX_S)
    if options.WINDOWSIZE in values:
        asked = options.parse_number(values[options.WINDOWSIZE], 1, options.WINDOWSIZE_MAX_BLOCKS)
        windowsize = min(asked, WINDOWSIZE_CAP_BLOCKS)
    return blksize, windowsize


def read_report_name(data: bytes) -> str:
    """The board id in a WRQ: one name form may be written, and nothing else (PROTOCOL.md section 10).

    Raises PeerError as read_request does, and `write_request` for any other name.
    """
    _op, name, mode, _pairs = parse_request(data)
    board_id: str = parse_name(name)
    if mode != "octet":
        raise PeerError("mode", ERR_ILLEGAL)
    return board_id


def can_multicast(request: Request, size: int) -> bool:
    """Whether block numbers fit 16 bits. RFC 2090 has no wrap; an empty file has nothing to share."""
    count = blocks_with_bytes if request.gap_aware else blocks_to_end
    return request.multicast and size > 0 and count(size, request.blksize) <= options.MAX_BLOCK


def is_small(request: Request, size: int) -> bool:
    """Whether a board asks for a few blocks, which a crowd gets by a handout, not by a stream."""
    return request.gap_aware and blocks_with_bytes(size, request.blksize) <= SMALL_BLOCKS


def plan_unicast(request: Request, size: int) -> UnicastPlan:
    """The plan of a unicast transfer of a file of `size` bytes, also when `multicast` had to be left out.

    Raises PeerError `bad_ranges`.
    """
    ranges: Ranges | None = None
    text: str | None = None
    if request.ranges is not None:
        asked = options.parse_ranges(request.ranges, blocks_with_bytes(size, request.blksize))
        ranges = acceptable(asked)
        if not ranges:
            raise PeerError("bad_ranges", ERR_OPTION)
        text, _count = options.format_ranges(ranges, len(request.ranges) + 1)
    answer: Pairs = []
    for key, value in request.pairs:
        if key == options.RANGES:
            if text is not None:
                answer.append((key, text))
        elif key not in _SHARED:
            answer.append((key, _accepted(request, key, value, size)))
    oack = pack_oack(answer) if answer else None
    kept = [pair for pair in answer if pair[0] not in _DISPENSABLE]
    # Boards need every option, and repeat their request soon.
    brief = pack_oack(kept) if kept and request.ranges is None and not request.multicast else None
    first_bytes = HEADER_BYTES + min(request.blksize, size) if oack is None else len(oack)
    return UnicastPlan(
        request.blksize, request.windowsize, ranges, text, oack, brief, first_bytes, request.received_bytes
    )


def plan_join(request: Request, size: int) -> JoinPlan:
    """What to promise a client that joins a multicast session on a file of `size` bytes."""
    pairs: Pairs = []
    for key, value in request.pairs:
        # RFC 7440 says nothing about groups; a stock master is clocked in lock-step.
        if key != options.WINDOWSIZE or request.gap_aware:
            pairs.append((key, _accepted(request, key, value, size)))
    asked = any(key == options.WINDOWSIZE for key, _value in request.pairs)
    window = request.windowsize if asked else STREAM_WINDOW_BLOCKS
    return JoinPlan(request.gap_aware, window if request.gap_aware else 1, pairs, request.received_bytes)


_DISPENSABLE = (options.TSIZE, options.TIMEOUT)  # RFC 2349: they change nothing in what is sent
_SHARED = (options.MULTICAST, LACKS)
_KNOWN = (
    options.BLKSIZE,
    options.TSIZE,
    options.TIMEOUT,
    options.WINDOWSIZE,
    options.MULTICAST,
    options.RANGES,
    LACKS,
)


def _unicast_pairs(request: Request) -> Pairs:
    return [pair for pair in request.pairs if pair[0] not in _SHARED and pair != (options.RANGES, "")]


def _accepted(request: Request, key: str, value: str, size: int) -> str:
    if key == options.TSIZE:
        return str(size)
    if key == options.WINDOWSIZE:
        return str(request.windowsize)
    if key == options.BLKSIZE:
        return str(request.blksize)
    return value
