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

import struct
from dataclasses import dataclass

from gapcast.errors import OperatorError
from gapcast.image.boards import Chip, chip_name
from gapcast.image.espimage import (
    HASH_BYTES,
    HEADER_BYTES,
    LINE_BYTES,
    REVISION_ANY,
    SEGMENT_HEADER_BYTES,
    Segment,
    build_image,
    check_image,
    refuse,
)
from gapcast.image.merged import find_merged_app

DESCRIPTOR_OFFSET = HEADER_BYTES + SEGMENT_HEADER_BYTES
DESCRIPTOR_BYTES = 256
DESCRIPTOR_MAGIC = 0xABCD5432
TEXT_MAX_BYTES = 31  # version and project name: 32 bytes with their NUL

# magic, secure version, reserved, version, project, time, date, IDF version, SHA-256 of the ELF file,
# min and max eFuse block revision, log2 of the MMU page, reserved
_DESCRIPTOR = struct.Struct("<II8s32s32s16s16s32s32sHHB75s")

_MMU_PAGE_64K = 16


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
            REVISION_ANY,
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
    # Mapped data must stand at the same place in its 64 KiB page as in the file's: offset 0x20.
    return build_image(chip, chip.drom_address + DESCRIPTOR_OFFSET, descriptor.pack() + rest)


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
    _refuse_merged(data)
    image = check_image(data)
    descriptor = _descriptor(data, image.segments)
    found = chip_name(image.chip_id)
    if chip is not None and image.chip_id != chip.chip_id:
        refuse(
            "wrong_chip",
            f"the image is for {found}, the board has {chip.name}",
            "take the board's own firmware",
        )
    return AppImage(
        found,
        image.chip_id,
        image.entry,
        image.segments,
        image.checksum,
        image.digest,
        descriptor,
        image.image_bytes,
        len(data) - image.image_bytes,
    )


def read_descriptor(head: bytes) -> Descriptor | None:
    """The descriptor in the first 288 bytes of an application that need not be whole; None: there is none."""
    if len(head) < DESCRIPTOR_OFFSET + DESCRIPTOR_BYTES:
        return None
    fields = _DESCRIPTOR.unpack_from(head, DESCRIPTOR_OFFSET)
    if fields[0] != DESCRIPTOR_MAGIC:
        return None
    version, project, time, date, idf = [_printable(field) for field in fields[3:8]]
    return Descriptor(version, project, date, time, idf, fields[1], fields[8])


def _refuse_merged(data: bytes) -> None:
    offset = find_merged_app(data)
    if offset is not None:
        hint = "take the application alone: MicroPython offers it as .app-bin"
        if offset:
            hint += f"; or cut it out: tail -c +{offset + 1} FILE > APP.bin"
        refuse("merged_image", "this is a merged image: boot loader and partition table come first", hint)


def _descriptor(data: bytes, segments: tuple[Segment, ...]) -> Descriptor:
    found = read_descriptor(data) if segments[0].size >= DESCRIPTOR_BYTES else None
    if found is None:
        hint = "a boot loader or a test program, perhaps; an application has one at byte 32"
        refuse("no_descriptor", "the image has no application descriptor", hint)
    return found


def _printable(field: bytes) -> str:
    """The text in a NUL-padded field. It is shown on terminals, which must not obey it."""
    text = field.split(b"\0")[0].decode("ascii", "replace")
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
