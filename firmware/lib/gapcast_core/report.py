"""A board's report: one datagram of at most 328 bytes, with an HMAC (PROTOCOL.md section 10).

    0    4   "GRP1"                        4    4   sequence, strictly growing, from 1
    8    1   state                         9    1   zero
    10   2   reason bytes n, at most 200   12   4   version counter
    16   16  content id                    32   32  version    64  32  board type   (ASCII, NUL-padded)
    96   n   reason, UTF-8                 96+n 32  HMAC-SHA256

Numbers are big-endian. It goes to the server as DATA 1 of a WRQ named `report/<board id>`. The HMAC covers
the id too, so one board's report is nothing under another board's name.
"""

import hashlib
import struct

from .errors import PeerError, UsageError
from .wire import ERR_ACCESS, ERR_ILLEGAL

MAGIC = b"GRP1"
KEY_BYTES = 32
MAC_BYTES = 32
CONTENT_ID_BYTES = 16
MAX_REASON_BYTES = 200
MAX_SEQUENCE = 0xFFFFFFFF
MAX_ID_CHARS = 32
NAME_PREFIX = "report/"

INSTALLED = 1  # written, verified and made the one to boot
CONFIRMED = 2  # it runs, and is healthy
ROLLED_BACK = 3
REFUSED = 4
FAILED = 5
STATES = ("", "installed", "confirmed", "rolled_back", "refused", "failed")

_FIELDS = ">4sIBBHI16s32s32s"
_FIELDS_BYTES = 96
_TEXT_BYTES = 32
MIN_BYTES = _FIELDS_BYTES + MAC_BYTES
MAX_BYTES = MIN_BYTES + MAX_REASON_BYTES
_HASH_BLOCK_BYTES = 64  # of SHA-256: what RFC 2104 calls B


class Report:
    """One report as it was sent, not to be trusted before its `mac` is checked over `body`.

    content_id: 16 raw bytes, zero when there is none. body: what the MAC covers, besides the id.
    """

    def __init__(self, sequence, state, content_id, version, board, counter, reason):
        self.sequence = sequence
        self.state = state
        self.content_id = content_id
        self.version = version
        self.board = board
        self.counter = counter
        self.reason = reason
        self.body = b""
        self.mac = b""


def pack_report(key, board_id, sequence, state, content_id, version, board, counter, reason):
    """The bytes of a report.

    key: 32 bytes. content_id: 16 bytes. reason: what is too long or not printable in it is cut or
    replaced, for it may be the text of any exception; version and board likewise.
    Raises UsageError.
    """
    if not is_board_id(board_id):
        raise UsageError("board id %r" % (board_id,))
    if len(content_id) != CONTENT_ID_BYTES:
        raise UsageError("content id of %d bytes" % len(content_id))
    if not 1 <= sequence <= MAX_SEQUENCE or not 0 <= counter <= MAX_SEQUENCE:
        raise UsageError("sequence %d, counter %d" % (sequence, counter))
    if not INSTALLED <= state <= FAILED:
        raise UsageError("state %d" % state)
    text = _cut_utf8("".join([_clean(char) for char in reason]), MAX_REASON_BYTES)
    fields = struct.pack(
        _FIELDS,
        MAGIC,
        sequence,
        state,
        0,
        len(text),
        counter,
        content_id,
        _pack_text(version),
        _pack_text(board),
    )
    body = fields + text
    return body + report_mac(key, board_id, body)


def parse_report(data):
    """The Report in these bytes, without trust.

    Raises PeerError `bad_length`, `bad_magic`, `bad_format` or `bad_text`.
    """
    if not MIN_BYTES <= len(data) <= MAX_BYTES:
        raise PeerError("bad_length", ERR_ILLEGAL)
    data = bytes(data)
    magic, sequence, state, zero, reason_bytes, counter, content_id, version, board = struct.unpack(
        _FIELDS, data[:_FIELDS_BYTES]
    )
    if magic != MAGIC:
        raise PeerError("bad_magic", ERR_ILLEGAL)
    if len(data) != MIN_BYTES + reason_bytes:
        raise PeerError("bad_length", ERR_ILLEGAL)
    if zero or sequence == 0 or not INSTALLED <= state <= FAILED:
        raise PeerError("bad_format", ERR_ILLEGAL)
    body = data[:-MAC_BYTES]
    try:
        reason = body[_FIELDS_BYTES:].decode()
    except ValueError:  # UnicodeDecodeError on CPython, UnicodeError on MicroPython
        raise PeerError("bad_text", ERR_ILLEGAL)
    for char in reason:
        if _clean(char) != char:
            raise PeerError("bad_text", ERR_ILLEGAL)
    out = Report(sequence, state, content_id, _parse_text(version), _parse_text(board), counter, reason)
    out.body = body
    out.mac = data[-MAC_BYTES:]
    return out


def report_mac(key, board_id, body):
    """The 32 bytes of HMAC-SHA256 (RFC 2104) over the id and the body. Raises UsageError."""
    if len(key) != KEY_BYTES:
        raise UsageError("report key of %d bytes, not %d" % (len(key), KEY_BYTES))
    message = b"gapcast report\0" + board_id.encode() + b"\0" + body
    inner = hashlib.sha256(_pad_key(key, 0x36) + message).digest()
    return hashlib.sha256(_pad_key(key, 0x5C) + inner).digest()


def is_board_id(text):
    """Whether this is 1..32 of [0-9a-z-]."""
    if not 1 <= len(text) <= MAX_ID_CHARS:
        return False
    return all("0" <= char <= "9" or "a" <= char <= "z" or char == "-" for char in text)


def report_name(board_id):
    """The one name that a board may write. Raises UsageError."""
    if not is_board_id(board_id):
        raise UsageError("board id %r" % (board_id,))
    return NAME_PREFIX + board_id


def parse_name(name):
    """The board id in the name of a WRQ. Raises PeerError `write_request` for any other name."""
    board_id = name[len(NAME_PREFIX) :]
    if not name.startswith(NAME_PREFIX) or not is_board_id(board_id):
        raise PeerError("write_request", ERR_ACCESS)
    return board_id


def _pad_key(key, value):
    return bytes([byte ^ value for byte in key]) + bytes([value]) * (_HASH_BLOCK_BYTES - KEY_BYTES)


def _clean(char):
    """No control characters: the operator reads this in a terminal."""
    code = ord(char)
    return "?" if code < 32 or 127 <= code < 160 or 0xD800 <= code < 0xE000 else char


def _cut_utf8(text, max_bytes):
    """At most so many bytes of the UTF-8 of `text`, never half a character."""
    raw = text.encode()
    if len(raw) <= max_bytes:
        return raw
    while raw[max_bytes] & 0xC0 == 0x80:  # a continuation byte cannot be the first one left out
        max_bytes -= 1
    return raw[:max_bytes]


def _pack_text(text):
    return "".join([char if " " <= char <= "~" else "?" for char in text]).encode()[:_TEXT_BYTES]


def _parse_text(raw):
    """ASCII before the NULs that pad it."""
    end = raw.find(b"\0")
    if end < 0:
        end = len(raw)
    for byte in raw[:end]:
        if not 32 <= byte < 127:
            raise PeerError("bad_text", ERR_ILLEGAL)
    for byte in raw[end:]:
        if byte:
            raise PeerError("bad_text", ERR_ILLEGAL)
    return raw[:end].decode()
