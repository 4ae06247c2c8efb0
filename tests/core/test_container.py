"""The container header: a golden one byte for byte, the trip there and back, and damage of every kind."""

import hashlib
import struct

from core_helpers import Dice, misused, refused, survives, unhex

from gapcast_core.container import (
    CHUNK_BYTES,
    FLAG_RETRY,
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    SIGNED_BYTES,
    Header,
    chunk_digest,
    content_id,
    parse_header,
    signature_place,
)

TABLE_DIGEST = bytes(range(32))
IMAGE_DIGEST = bytes(range(100, 132))

# Laid out by hand from PROTOCOL.md section 6: an image of 5000 bytes, so two chunks and 1 KiB of table.
GOLDEN_FIELDS = unhex(
    "47415031 0001 0400 00002000 00001388 00000400 00000007 00001000 00000000"
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    "6465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f80818283"
    "62656e6368000000000000000000000000000000000000000000000000000000"
    "312e322e30000000000000000000000000000000000000000000000000000000"
    "53494d0000000000000000000000000000000000000000000000000000000000"
    "61707000000000000000000000000000"
)
# sha256sum of those 208 bytes and 800 zeros, cut to 16; then of all 1024 bytes, cut to 16
GOLDEN_CHECK = "cdb5a8099c7a62e735ce932c67ecf19e"
GOLDEN_ID = "f3fe9d087f7635d7348e052ef64e7c20"


def header(**changes):
    values = {
        "name": "bench",
        "version": "1.2.0",
        "board": "SIM",
        "image_bytes": 5000,
        "table_digest": TABLE_DIGEST,
        "image_digest": IMAGE_DIGEST,
        "counter": 7,
    }
    values.update(changes)
    return Header(**values)


def sealed(head):
    """A header whose own digest fits although something in it was changed."""
    head = bytes(head[: HEADER_BYTES - 16])
    return head + hashlib.sha256(head).digest()[:16]


def changed(offset, new):
    raw = bytearray(header().pack())
    raw[offset : offset + len(new)] = new
    return sealed(raw)


def test_the_golden_header():
    raw = header().pack()
    assert raw[:208] == GOLDEN_FIELDS
    assert raw[208:1008] == bytes(800)
    assert raw[1008:] == unhex(GOLDEN_CHECK)
    assert content_id(raw) == GOLDEN_ID
    assert content_id(raw + b"payload") == GOLDEN_ID


def test_there_and_back():
    parsed = parse_header(header().pack())
    assert (parsed.name, parsed.version, parsed.board, parsed.target) == ("bench", "1.2.0", "SIM", "app")
    assert (parsed.image_bytes, parsed.counter) == (5000, 7)
    assert (parsed.table_digest, parsed.image_digest) == (TABLE_DIGEST, IMAGE_DIGEST)
    assert (parsed.payload_bytes, parsed.chunks, parsed.table_bytes) == (8192, 2, 1024)
    assert parsed.container_bytes == 1024 + 8192 + 1024
    assert parsed.pack() == header().pack()


def test_the_image_head_and_the_flags():
    head = bytes(range(255, -1, -1)) + b"0123456789abcdef0123456789abcdef"
    raw = header(image_head=head, flags=FLAG_RETRY).pack()
    assert raw[:31] == GOLDEN_FIELDS[:31]
    assert raw[31] == 1
    assert raw[32:208] == GOLDEN_FIELDS[32:]
    assert raw[208:496] == head
    assert not any(raw[496:1008])
    parsed = parse_header(raw)
    assert (parsed.image_head, parsed.flags) == (head, FLAG_RETRY)
    assert parsed.pack() == raw
    short = parse_header(header(image_head=b"\xe9\1").pack())
    assert short.image_head == b"\xe9\1" + bytes(286)
    assert (parse_header(header().pack()).image_head, short.flags) == (bytes(288), 0)
    misused(header, image_head=bytes(289))
    for flags in (2, 3, -1, 1 << 31):
        misused(header, flags=flags)


def test_a_signature_of_another_length():
    for key_id, signature in (
        (b"", b"s" * 384),
        (b"k" * 8, b""),
        (b"k" * 8, b"s" * 256),
        (b"k" * 7, b"s" * 384),
    ):
        misused(header().pack, key_id, signature)


def test_extremes_there_and_back():
    longest = "x" * 32
    for changes in (
        {"image_bytes": 1},
        {"image_bytes": CHUNK_BYTES},
        {"image_bytes": CHUNK_BYTES + 1},
        {"image_bytes": MAX_PAYLOAD_BYTES - CHUNK_BYTES},
        {"counter": 0},
        {"counter": 0xFFFFFFFF},
        {"name": longest, "version": longest, "board": longest, "target": "x" * 16},
        {"name": "!", "version": "~"},
    ):
        original = header(**changes)
        parsed = parse_header(original.pack() + b"more")
        assert parsed.pack() == original.pack()
        assert parsed.container_bytes % 1024 == 0
        assert parsed.table_bytes >= parsed.chunks * 16


def test_names_that_cannot_stand_in_a_header():
    for key, size in (("name", 32), ("version", 32), ("board", 32), ("target", 16)):
        for text in ("", "x" * (size + 1), "a\0b", "a b", "\xe4", "a\n", "\x7f"):
            misused(header(**{key: text}).pack)


def test_numbers_that_cannot_stand_in_a_header():
    for size in (0, -1, MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES - CHUNK_BYTES + 1):
        misused(header, image_bytes=size)
    for counter in (-1, 1 << 32):
        misused(header, counter=counter)


def test_every_refusal():
    raw = header().pack()
    refused("short_header", parse_header, raw[:1023])
    refused("short_header", parse_header, b"")
    refused("bad_magic", parse_header, b"GAP2" + raw[4:])
    refused("bad_magic", parse_header, bytes(1024))
    refused("header_damaged", parse_header, raw[:1023] + bytes([raw[1023] ^ 1]))
    refused("bad_format", parse_header, changed(4, b"\0\2"))
    refused("bad_format", parse_header, changed(6, b"\x08\0"))
    refused("bad_format", parse_header, changed(24, struct.pack(">I", 8192)))
    for flags in (2, 3, 0x80000000, 0xFFFFFFFE):
        refused("bad_format", parse_header, changed(28, struct.pack(">I", flags)))
    for offset in range(496, 512):
        refused("bad_format", parse_header, changed(offset, b"\1"))
    refused("bad_sizes", parse_header, changed(8, struct.pack(">I", 4096)))
    refused("bad_sizes", parse_header, changed(8, struct.pack(">I", 12288)))
    refused("bad_sizes", parse_header, changed(12, bytes(4)))
    refused("bad_sizes", parse_header, changed(12, b"\xff" * 4))
    refused("bad_sizes", parse_header, changed(16, bytes(4)))
    refused("bad_sizes", parse_header, changed(16, struct.pack(">I", 2048)))
    for offset, size in ((96, 32), (128, 32), (160, 32), (192, 16)):
        for text in (b"\0", b"\0x", b"a\0b", b" ", b"\x7f", b"\xff"):
            refused("bad_name", parse_header, changed(offset, text + bytes(size - len(text))))


def test_every_damaged_byte_is_noticed():
    raw = bytearray(header().pack())
    for offset in range(HEADER_BYTES):
        raw[offset] ^= 0x40
        refused("bad_magic" if offset < 4 else "header_damaged", parse_header, raw)
        raw[offset] ^= 0x40


def test_every_prefix_is_refused():
    raw = header().pack()
    for size in range(0, HEADER_BYTES, 7):
        refused("short_header", parse_header, raw[:size])


def test_random_headers_that_fit_their_digest_parse_or_are_refused():
    dice = Dice(1024)
    for _ in range(500):
        raw = bytearray(header().pack())
        for _ in range(1 + dice.below(4)):
            raw[4 + dice.below(1004)] = dice.below(256)
        parsed = survives(parse_header, sealed(raw))
        if parsed is not None:
            assert parsed.container_bytes == 1024 + parsed.payload_bytes + parsed.table_bytes


def test_a_signature_changes_the_content_id_and_nothing_else():
    signed = header().pack(b"k" * 8, b"s" * 384)
    assert signed[:SIGNED_BYTES] == header().pack()[:SIGNED_BYTES]
    assert parse_header(signed).name == "bench"
    assert signature_place(signed) == (b"k" * 8, b"s" * 384)
    assert content_id(signed) != GOLDEN_ID


def test_a_chunk_digest_is_half_a_sha256():
    # FIPS 180-4, example "abc"
    assert chunk_digest(b"abc") == unhex("ba7816bf8f01cfea414140de5dae2223")


def test_memoryviews_parse_too():
    assert parse_header(memoryview(header().pack())).name == "bench"
