"""The image container: header, payload, digest table (PROTOCOL.md section 6).

    header    1024 bytes: names, sizes, digests, the image's own head; then the signature
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
# flags, table digest, image digest, name, version, board, target, image head
_FIELDS = ">4sHHIIIIII32s32s32s32s32s16s288s"
_FIELDS_BYTES = 496
IMAGE_HEAD_BYTES = 288  # ESP image header 24, segment header 8, esp_app_desc_t 256
FLAG_RETRY = 1  # take it although the same content was rolled back before
SIGNED_BYTES = 512  # what a signature covers: bytes 0..511

SIGNATURE_OFFSET = 512  # u16 algorithm, u16 bytes used, key id, signature, zeros
ALGORITHM_NONE = 0
ALGORITHM_RSA3072_PSS = 1  # SHA-256, MGF1 with SHA-256, 32 bytes of salt, e = 65537
KEY_ID_BYTES = 8
SIGNATURE_BYTES = 384
_PLACE = ">HH8s384s"
_PLACE_END = 908
_CHECK_OFFSET = HEADER_BYTES - DIGEST_BYTES

NAME_MAX_BYTES = 32
TARGET_MAX_BYTES = 16
TARGET_APP = "app"


class Header:
    """One container header. All sizes in bytes; digests are 32 raw bytes.

    image_head: the first 288 bytes of the image; a shorter one is filled with zeros.
    flags: 0 or FLAG_RETRY.

    Raises UsageError for a number out of range, or a head that is too long.
    """

    def __init__(
        self,
        name,
        version,
        board,
        image_bytes,
        table_digest,
        image_digest,
        counter=0,
        target=TARGET_APP,
        image_head=b"",
        flags=0,
    ):
        if not 0 < image_bytes <= MAX_PAYLOAD_BYTES - CHUNK_BYTES:
            raise UsageError("image of %d bytes" % image_bytes)
        if not 0 <= counter <= MAX_COUNTER:
            raise UsageError("counter %d: 0 to %d" % (counter, MAX_COUNTER))
        if len(image_head) > IMAGE_HEAD_BYTES:
            raise UsageError("image head of %d bytes" % len(image_head))
        if flags & ~FLAG_RETRY:
            raise UsageError("flags %d" % flags)
        self.name = name
        self.version = version
        self.board = board
        self.target = target
        self.counter = counter
        self.flags = flags
        self.image_head = bytes(image_head) + bytes(IMAGE_HEAD_BYTES - len(image_head))
        self.image_bytes = image_bytes
        self.table_digest = table_digest
        self.image_digest = image_digest
        self.payload_bytes = _round_up(image_bytes, CHUNK_BYTES)
        self.chunks = self.payload_bytes // CHUNK_BYTES
        self.table_bytes = _round_up(self.chunks * DIGEST_BYTES, TABLE_ALIGN_BYTES)
        self.container_bytes = HEADER_BYTES + self.payload_bytes + self.table_bytes

    def signed_part(self):
        """Bytes 0..511, what a signature covers.

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
            self.flags,
            self.table_digest,
            self.image_digest,
            _pack_name(self.name, NAME_MAX_BYTES),
            _pack_name(self.version, NAME_MAX_BYTES),
            _pack_name(self.board, NAME_MAX_BYTES),
            _pack_name(self.target, TARGET_MAX_BYTES),
            self.image_head,
        )
        return fields + bytes(SIGNED_BYTES - _FIELDS_BYTES)

    def pack(self, key_id=b"", signature=b""):
        """The 1024 header bytes; without a signature (8 and 384 bytes) an unsigned header.

        Raises UsageError for names (see signed_part), and a signature of another length.
        """
        place = b""
        if signature or key_id:
            if len(key_id) != KEY_ID_BYTES or len(signature) != SIGNATURE_BYTES:
                raise UsageError("a signature has 8 and 384 bytes")
            used = KEY_ID_BYTES + SIGNATURE_BYTES
            place = struct.pack(_PLACE, ALGORITHM_RSA3072_PSS, used, key_id, signature)
        head = self.signed_part() + place + bytes(_CHECK_OFFSET - SIGNED_BYTES - len(place))
        return head + chunk_digest(head)


def parse_header(data):
    """The Header in the first 1024 bytes of `data`; whether to trust it says signature.check_header.

    Raises PeerError: `short_header`, `bad_magic`, `bad_format`, `header_damaged`,
    `bad_sizes`, `bad_name`, `bad_signature_place`.
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
    if fields[8] & ~FLAG_RETRY or any(raw[_FIELDS_BYTES:SIGNED_BYTES]):
        raise PeerError("bad_format")
    if not 0 < fields[4] <= MAX_PAYLOAD_BYTES - CHUNK_BYTES:
        raise PeerError("bad_sizes")
    names = [_parse_name(field) for field in fields[11:15]]
    signature_place(raw)
    header = Header(
        names[0],
        names[1],
        names[2],
        fields[4],
        fields[9],
        fields[10],
        fields[6],
        names[3],
        fields[15],
        fields[8],
    )
    if header.payload_bytes != fields[3] or header.table_bytes != fields[5]:
        raise PeerError("bad_sizes")
    return header


def signature_place(header_bytes):
    """(key id of 8 bytes, signature of 384) in a header's bytes, or None when it is unsigned.

    One form only, every unused byte zero: nobody can make a second header out of a signed one.
    Raises PeerError `bad_signature_place`.
    """
    place = bytes(header_bytes[SIGNATURE_OFFSET:_CHECK_OFFSET])
    if len(place) != _CHECK_OFFSET - SIGNATURE_OFFSET:
        raise PeerError("bad_signature_place")
    if not any(place):
        return None
    end = _PLACE_END - SIGNATURE_OFFSET
    algorithm, used, key_id, signature = struct.unpack(_PLACE, place[:end])
    if algorithm != ALGORITHM_RSA3072_PSS or used != KEY_ID_BYTES + SIGNATURE_BYTES or any(place[end:]):
        raise PeerError("bad_signature_place")
    return key_id, signature


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
