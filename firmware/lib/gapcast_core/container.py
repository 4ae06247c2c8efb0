"""The image container: header, payload, digest table (PROTOCOL.md section 6).

    header    1024 bytes: names, sizes, digests; room for a signature
    payload   the firmware, padded with 0xFF to whole 4 KiB chunks
    table     16 bytes a chunk: SHA-256 of the chunk, cut; padded with 0xFF to 1 KiB

All numbers are big-endian, like TFTP's. A header from the network goes through parse_header,
which raises PeerError and nothing else.
"""

import hashlib
import struct

from .errors import PeerError, UsageError

HEADER_BYTES = 1024
CHUNK_BYTES = 4096  # one flash sector
DIGEST_BYTES = 16  # SHA-256 cut to 128 bits: second preimages stay out of reach
TABLE_ALIGN_BYTES = 1024  # the container stays a whole number of board blocks
MAX_PAYLOAD_BYTES = 65535 * 1024  # block numbers are 16 bits (RFC 1350)
MAX_COUNTER = 0xFFFFFFFF  # a u32; MicroPython's struct would cut a larger one without a word

MAGIC = b"GAP1"
FORMAT_VERSION = 1
# magic, format, header bytes, payload bytes, image bytes, table bytes, counter, chunk bytes,
# flags, table digest, image digest, name, version, board, target
_FIELDS = ">4sHHIIIIII32s32s32s32s32s16s"
_FIELDS_BYTES = 208
SIGNED_BYTES = 512  # what a signature will cover: bytes 0..511
SIGNATURE_OFFSET = 512  # u16 algorithm (0: none), u16 length, then the signature
_CHECK_OFFSET = HEADER_BYTES - DIGEST_BYTES

NAME_MAX_BYTES = 32
TARGET_MAX_BYTES = 16
TARGET_APP = "app"


class Header:
    """One container header. All sizes in bytes; digests are 32 raw bytes."""

    def __init__(
        self, name, version, board, image_bytes, table_digest, image_digest, counter=0, target=TARGET_APP
    ):
        if not 0 < image_bytes <= MAX_PAYLOAD_BYTES - CHUNK_BYTES:
            raise UsageError("image of %d bytes" % image_bytes)
        if not 0 <= counter <= MAX_COUNTER:
            raise UsageError("counter %d" % counter)
        self.name = name
        self.version = version
        self.board = board
        self.target = target
        self.counter = counter
        self.image_bytes = image_bytes
        self.table_digest = table_digest
        self.image_digest = image_digest
        self.payload_bytes = _round_up(image_bytes, CHUNK_BYTES)
        self.chunks = self.payload_bytes // CHUNK_BYTES
        self.table_bytes = _round_up(self.chunks * DIGEST_BYTES, TABLE_ALIGN_BYTES)
        self.container_bytes = HEADER_BYTES + self.payload_bytes + self.table_bytes

    def pack(self):
        """The 1024 header bytes, unsigned.

        Raises UsageError when a name is empty, too long, or not what parse_header accepts.
        """
        fields = struct.pack(
            _FIELDS,
            MAGIC,
            FORMAT_VERSION,
            HEADER_BYTES,
            self.payload_bytes,
            self.image_bytes,
            self.table_bytes,
            self.counter,
            CHUNK_BYTES,
            0,
            self.table_digest,
            self.image_digest,
            _pack_name(self.name, NAME_MAX_BYTES),
            _pack_name(self.version, NAME_MAX_BYTES),
            _pack_name(self.board, NAME_MAX_BYTES),
            _pack_name(self.target, TARGET_MAX_BYTES),
        )
        head = fields + bytes(_CHECK_OFFSET - _FIELDS_BYTES)
        return head + chunk_digest(head)


def parse_header(data):
    """The Header in the first 1024 bytes of `data`.

    Raises PeerError: `short_header`, `bad_magic`, `bad_format`, `header_damaged`,
    `bad_sizes`, `bad_name`.
    """
    if len(data) < HEADER_BYTES:
        raise PeerError("short_header")
    raw = bytes(data[:HEADER_BYTES])
    if raw[:4] != MAGIC:
        raise PeerError("bad_magic")
    if chunk_digest(raw[:_CHECK_OFFSET]) != raw[_CHECK_OFFSET:]:
        raise PeerError("header_damaged")
    fields = struct.unpack(_FIELDS, raw[:_FIELDS_BYTES])
    if fields[1] != FORMAT_VERSION or fields[2] != HEADER_BYTES or fields[7] != CHUNK_BYTES:
        raise PeerError("bad_format")
    if not 0 < fields[4] <= MAX_PAYLOAD_BYTES - CHUNK_BYTES:
        raise PeerError("bad_sizes")
    names = [_parse_name(field) for field in fields[11:15]]
    header = Header(names[0], names[1], names[2], fields[4], fields[9], fields[10], fields[6], names[3])
    if header.payload_bytes != fields[3] or header.table_bytes != fields[5]:
        raise PeerError("bad_sizes")
    return header


def content_id(header_bytes):
    """32 hex digits that name a container: the header's digest covers all the rest.

    On the air an image is asked for as `gap/<content id>` (PROTOCOL.md section 5).
    """
    digest = chunk_digest(bytes(header_bytes[:HEADER_BYTES]))
    return "".join(["%02x" % b for b in digest])


def chunk_digest(chunk):
    """SHA-256 cut to 16 bytes."""
    return hashlib.sha256(chunk).digest()[:DIGEST_BYTES]


def _round_up(number, step):
    return (number + step - 1) // step * step


def _pack_name(text, size):
    raw = text.encode()
    if not 0 < len(raw) <= size or not _is_printable(raw):
        raise UsageError("name %r: 1 to %d printable ASCII characters, no blanks" % (text, size))
    return raw


def _parse_name(field):
    raw = bytes(field)
    end = raw.find(b"\0")
    if end >= 0:
        if raw[end:] != bytes(len(raw) - end):
            raise PeerError("bad_name")
        raw = raw[:end]
    if not raw or not _is_printable(raw):
        raise PeerError("bad_name")
    return raw.decode()


def _is_printable(raw):
    return all(32 < byte < 127 for byte in raw)
