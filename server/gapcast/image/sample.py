"""Sample firmware: a valid application image of any size, with a program for simulated boards inside.

Right after the application descriptor stands the SIM application block (little-endian, as the image is):

    0   8   "GAPSIMAP"        8   4   form, 1        12  4   source bytes
    16  32  SHA-256 of the source                   48  ...  the source of main.py, UTF-8

The boot loader of boards/SIM takes the source out of the flash slot, runs it and calls its main(board).
"""

from __future__ import annotations

import ast
import hashlib
import random
import struct

from gapcast.errors import OperatorError
from gapcast.image.boards import Chip
from gapcast.image.espapp import (
    DESCRIPTOR_BYTES,
    DESCRIPTOR_OFFSET,
    Descriptor,
    build_app,
    segment_room,
)
from gapcast.image.espimage import LINE_BYTES
from gapcast.image.sample_apps import sample_source

BLOCK_MAGIC = b"GAPSIMAP"
BLOCK_FORM = 1
BLOCK_OFFSET = DESCRIPTOR_OFFSET + DESCRIPTOR_BYTES  # in the file: 288
_BLOCK = struct.Struct("<8sII32s")
MAX_SAMPLE_BYTES = 16 << 20  # ESP-IDF refuses a segment of 16 MiB and more (esp_image_format.c, SIXTEEN_MB)


def build_sample(
    size: int, version: str, chip: Chip, seed: int = 0, source: str | None = None, app: str = "ok"
) -> bytes:
    """Sample firmware, the same bytes for the same arguments.

    Args:
        size: Bytes of the whole file. When it is no multiple of 16, up to 15 bytes of FF follow the image.
        version: What the descriptor and the application say; 1 to 31 printable ASCII characters.
        chip: The chip that the header names.
        seed: Of the payload, which does not compress.
        source: Another main.py than the built-in ones.
        app: Which built-in one: see gapcast.image.sample_apps.

    Raises:
        OperatorError: The size is too small or too large (the message says what would do), the version is
            too long, or the source has no main().
    """
    block = application_block(source if source is not None else main_source(version, app))
    smallest = _smallest(len(block))
    if not smallest <= size < MAX_SAMPLE_BYTES:
        raise OperatorError(
            f"{size} bytes is no size for this firmware", f"from {smallest} to {MAX_SAMPLE_BYTES - 1} bytes"
        )
    filler = random.Random(seed).randbytes(segment_room(size) - len(block))
    descriptor = Descriptor(
        version=version,
        project="gapcast-sample",
        date="Jan  1 2026",  # fixed, so that the same arguments give the same bytes
        time="00:00:00",
        idf="none",
        elf_sha256=hashlib.sha256(
            block
        ).digest(),  # there is no ELF file; esptool shows it as the build's name
    )
    image = build_app(chip, descriptor, block + filler)
    return image + b"\xff" * (size - len(image))


def main_source(version: str, app: str = "ok") -> str:
    """The built-in main.py called `app`, which reports `version`.

    Raises:
        OperatorError: A container could not carry that version.
    """
    if not version.isascii() or not all(32 < ord(char) < 127 for char in version):
        raise OperatorError(f"{version!r} is no version", "printable ASCII without blanks, such as 1.2.0")
    return sample_source(app, version)


def application_block(source: str) -> bytes:
    """The SIM application block around `source`.

    Raises:
        OperatorError: `source` is not Python, or has no function main().
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise OperatorError(f"the application is not Python: {error}") from error
    if not any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
        raise OperatorError("the application has no main()", "the board calls main(board): define it")
    raw = source.encode()
    return _BLOCK.pack(BLOCK_MAGIC, BLOCK_FORM, len(raw), hashlib.sha256(raw).digest()) + raw


def is_sample(image: bytes) -> bool:
    """Whether an image has a SIM application block, whole or not."""
    return image[BLOCK_OFFSET : BLOCK_OFFSET + len(BLOCK_MAGIC)] == BLOCK_MAGIC


def read_application(image: bytes) -> str | None:
    """The source in an image's SIM application block; None when it has none, or a damaged one."""
    if len(image) < BLOCK_OFFSET + _BLOCK.size:
        return None
    magic, form, size, digest = _BLOCK.unpack_from(image, BLOCK_OFFSET)
    start = BLOCK_OFFSET + _BLOCK.size
    raw = image[start : start + size]
    if magic != BLOCK_MAGIC or form != BLOCK_FORM or hashlib.sha256(raw).digest() != digest:
        return None
    return raw.decode()


def _smallest(block_bytes: int) -> int:
    size = LINE_BYTES
    while segment_room(size) < block_bytes:
        size += LINE_BYTES
    return size
