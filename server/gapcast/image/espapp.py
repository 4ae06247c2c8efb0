"""ESP32 application images: what the boot loader reads, built and parsed.

Sources: ESP-IDF `esp_app_format.h` (headers), `esp_app_desc.h` (descriptor), `esp_image_format.c` (what the
boot loader and `Partition.set_boot` verify); esptool's `bin_image.py` agrees.

    0     24  image header: magic E9, segments, flash settings, entry, chip id, "a hash is appended"
    24    8   header of segment 0: load address, length
    32    256 application descriptor, the first bytes of segment 0
    288   ...  the rest of segment 0, more segments
    ...   zero padding, then the XOR of all segment bytes with EF, the last byte of a 16-byte line
    ...   32  SHA-256 of everything before it
    ...       whatever follows (a secure-boot signature, padding): not part of the image

Numbers are little-endian here.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import NoReturn

from gapcast.errors import OperatorError
from gapcast.image.boards import Chip, chip_name
from gapcast.image.merged import find_merged_app

MAGIC = 0xE9
HEADER_BYTES = 24
SEGMENT_HEADER_BYTES = 8
DESCRIPTOR_OFFSET = HEADER_BYTES + SEGMENT_HEADER_BYTES
DESCRIPTOR_BYTES = 256
DESCRIPTOR_MAGIC = 0xABCD5432
HASH_BYTES = 32
MAX_SEGMENTS = 16  # ESP_IMAGE_MAX_SEGMENTS
CHECKSUM_SEED = 0xEF  # ESP_ROM_CHECKSUM_INITIAL
LINE_BYTES = 16  # the checksum ends a line of this many bytes
TEXT_MAX_BYTES = 31  # version and project name: 32 bytes with their NUL

# magic, segments, flash mode, flash frequency and size, entry, wp pin, pin drive, chip id,
# min revision (old), min and max revision (major * 100 + minor), reserved, hash appended
_HEADER = struct.Struct("<BBBBIB3sHBHH4sB")
_SEGMENT = struct.Struct("<II")
# magic, secure version, reserved, version, project, time, date, IDF version, SHA-256 of the ELF file,
# min and max eFuse block revision, log2 of the MMU page, reserved
_DESCRIPTOR = struct.Struct("<II8s32s32s16s16s32s32sHHB75s")

_FLASH_MODE_DIO = 2
_FLASH_4MB_SLOWEST = 0x20  # size code 2 in the high half; frequency code 0 is valid on every chip
_WP_PIN_OFF = 0xEE
_REVISION_ANY = 0xFFFF
_MMU_PAGE_64K = 16


class ImageRefused(OperatorError):
    """These bytes are no application image that a board would boot.

    reason: `not_an_app`, `merged_image`, `truncated`, `bad_segments`, `no_hash`, `bad_checksum`, `bad_hash`,
        `no_descriptor` or `wrong_chip`.
    """

    def __init__(self, reason: str, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Segment:
    """One piece of an image: `size` bytes at file offset `offset` that go to `address`."""

    address: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Descriptor:
    """esp_app_desc_t: how an application names itself."""

    version: str
    project: str
    date: str
    time: str
    idf: str
    secure_version: int = 0
    elf_sha256: bytes = bytes(32)

    def pack(self) -> bytes:
        """The 256 bytes.

        Raises:
            OperatorError: The version or the project name is longer than 31 bytes or not ASCII.
        """
        for label, text in (("version", self.version), ("project name", self.project)):
            if not text.isascii() or not 0 < len(text) <= TEXT_MAX_BYTES:
                raise OperatorError(
                    f"{label} {text!r} does not fit an application descriptor", "1 to 31 ASCII characters"
                )
        texts = [text.encode() for text in (self.version, self.project, self.time, self.date, self.idf)]
        return _DESCRIPTOR.pack(
            DESCRIPTOR_MAGIC,
            self.secure_version,
            b"",
            *texts,
            self.elf_sha256,
            0,
            _REVISION_ANY,
            _MMU_PAGE_64K,
            b"",
        )


@dataclass(frozen=True, slots=True)
class AppImage:
    """A valid application image. Sizes in bytes; `trailer_bytes` follow the image in the file."""

    chip: str
    chip_id: int
    entry: int
    segments: tuple[Segment, ...]
    checksum: int
    digest: bytes
    descriptor: Descriptor
    image_bytes: int
    trailer_bytes: int


def build_app(chip: Chip, descriptor: Descriptor, rest: bytes) -> bytes:
    """An application image of one segment: the descriptor, then `rest`.

    The entry address stays 0: there is no machine code inside. On a real board the boot loader accepts such
    an image, its first instruction faults, and the rollback brings the previous application back.

    Raises:
        OperatorError: A name in the descriptor is too long.
    """
    data = descriptor.pack() + rest
    data += bytes(-len(data) % 4)  # IDF refuses a segment that is not whole words
    header = _HEADER.pack(
        MAGIC,
        1,
        _FLASH_MODE_DIO,
        _FLASH_4MB_SLOWEST,
        0,
        _WP_PIN_OFF,
        b"",
        chip.chip_id,
        0,
        0,
        _REVISION_ANY,
        b"",
        1,
    )
    # Mapped data must stand at the same place in its 64 KiB page as in the file's: offset 0x20.
    image = header + _SEGMENT.pack(chip.drom_address + DESCRIPTOR_OFFSET, len(data)) + data
    image += bytes(LINE_BYTES - 1 - len(image) % LINE_BYTES) + bytes([_checksum([data])])
    return image + hashlib.sha256(image).digest()


def segment_room(image_bytes: int) -> int:
    """How many bytes fit behind the descriptor of a one-segment image of at most `image_bytes` bytes."""
    lines = image_bytes // LINE_BYTES * LINE_BYTES
    return (lines - HASH_BYTES - 1) // 4 * 4 - DESCRIPTOR_OFFSET - DESCRIPTOR_BYTES


def parse_app(data: bytes, chip: Chip | None = None) -> AppImage:
    """The application image at the start of `data`, everything in it checked.

    Args:
        data: A file's bytes.
        chip: The chip that it must be for; None takes any.

    Raises:
        ImageRefused: See its reasons.
    """
    _refuse_other_files(data)
    fields = _HEADER.unpack_from(data)
    segments, end = _segments(data, fields[1])
    body = end // LINE_BYTES * LINE_BYTES + LINE_BYTES
    checksum, digest = _verify(data, segments, body, fields[12])
    descriptor = _descriptor(data, segments)
    if chip is not None and fields[7] != chip.chip_id:
        found = chip_name(fields[7])
        _refuse(
            "wrong_chip",
            f"the image is for {found}, the board has {chip.name}",
            "take the board's own firmware",
        )
    size = body + HASH_BYTES
    return AppImage(
        chip_name(fields[7]),
        fields[7],
        fields[4],
        segments,
        checksum,
        digest,
        descriptor,
        size,
        len(data) - size,
    )


_DAMAGED = "the file is damaged: build or download it again"


def _refuse(reason: str, message: str, hint: str) -> NoReturn:
    raise ImageRefused(reason, message, hint)


def _refuse_truncated(have: int, want: int) -> NoReturn:
    _refuse(
        "truncated",
        f"{have} bytes, but the image needs at least {want}",
        "the copy is incomplete: fetch it again",
    )


def _refuse_other_files(data: bytes) -> None:
    """Refuse what does not even begin as an application image does."""
    offset = find_merged_app(data)
    if offset is not None:
        hint = "take the application alone: MicroPython offers it as .app-bin"
        if offset:
            hint += f"; or cut it out: tail -c +{offset + 1} FILE > APP.bin"
        _refuse("merged_image", "this is a merged image: boot loader and partition table come first", hint)
    if not data or data[0] != MAGIC:
        hint = "an ESP32 application begins with the byte e9: take the .app-bin of a build"
        _refuse("not_an_app", "this is not an ESP32 application image", hint)
    if len(data) < DESCRIPTOR_OFFSET:
        _refuse_truncated(len(data), DESCRIPTOR_OFFSET + DESCRIPTOR_BYTES)


def _segments(data: bytes, count: int) -> tuple[tuple[Segment, ...], int]:
    """The segments, and the offset at which the last one ends."""
    if not 1 <= count <= MAX_SEGMENTS:
        _refuse("bad_segments", f"{count} segments, but an image has 1 to {MAX_SEGMENTS}", _DAMAGED)
    segments = []
    offset = HEADER_BYTES
    for number in range(count):
        if offset + SEGMENT_HEADER_BYTES > len(data):
            _refuse_truncated(len(data), offset + SEGMENT_HEADER_BYTES)
        address, size = _SEGMENT.unpack_from(data, offset)
        offset += SEGMENT_HEADER_BYTES
        if size % 4:
            _refuse("bad_segments", f"segment {number} has {size} bytes, not whole words", _DAMAGED)
        segments.append(Segment(address, offset, size))
        offset += size
        if offset > len(data):
            _refuse_truncated(len(data), offset)
    return tuple(segments), offset


def _verify(data: bytes, segments: tuple[Segment, ...], body: int, hash_appended: int) -> tuple[int, bytes]:
    """The checksum and the SHA-256 of an image whose first `body` bytes end with the checksum."""
    if len(data) < body + (HASH_BYTES if hash_appended else 0):
        _refuse_truncated(len(data), body + HASH_BYTES)
    view = memoryview(data)
    checksum = _checksum([view[part.offset : part.offset + part.size] for part in segments])
    if checksum != data[body - 1]:
        _refuse("bad_checksum", f"checksum is {data[body - 1]:02x}, its bytes give {checksum:02x}", _DAMAGED)
    if hash_appended != 1:
        _refuse("no_hash", "no SHA-256 is appended", "build it without esptool's --dont-append-digest")
    digest = hashlib.sha256(view[:body]).digest()
    if digest != data[body : body + HASH_BYTES]:
        _refuse("bad_hash", "the appended SHA-256 does not fit its bytes", _DAMAGED)
    return checksum, digest


def _descriptor(data: bytes, segments: tuple[Segment, ...]) -> Descriptor:
    fields = (
        _DESCRIPTOR.unpack_from(data, DESCRIPTOR_OFFSET) if segments[0].size >= DESCRIPTOR_BYTES else (0,)
    )
    if fields[0] != DESCRIPTOR_MAGIC:
        hint = "a boot loader or a test program, perhaps; an application has one at byte 32"
        _refuse("no_descriptor", "the image has no application descriptor", hint)
    version, project, time, date, idf = [_printable(field) for field in fields[3:8]]
    return Descriptor(version, project, date, time, idf, fields[1], fields[8])


def _printable(field: bytes) -> str:
    """The text in a NUL-padded field. It is shown on terminals, which must not obey it."""
    text = field.split(b"\0")[0].decode("ascii", "replace")
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _checksum(parts: list[bytes] | list[memoryview]) -> int:
    """The XOR of all bytes with EF, by folding one big integer: a hundred times faster than a loop."""
    total = CHECKSUM_SEED
    for part in parts:
        number = int.from_bytes(part, "little")
        size = len(part)
        while size > 1:
            half = (size + 1) // 2
            number = number >> (8 * half) ^ number & ((1 << (8 * half)) - 1)
            size = half
        total ^= number
    return total
