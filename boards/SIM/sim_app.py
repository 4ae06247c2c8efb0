"""Start the application that an image contains.

Behind the 256-byte app descriptor of the first segment stands the SIM application block:
"GAPSIMAP", u32 form (1), u32 source length, SHA-256 of the source, then the source of main.py
(server/gapcast/image/sample.py writes it). It is read from the slot's flash, so what runs is
what was flashed.
"""

import hashlib
import struct

BLOCK_OFFSET = 24 + 8 + 256  # image header, segment header, esp_app_desc_t
BLOCK_MAGIC = b"GAPSIMAP"
HEAD_BYTES = 48
MAX_SOURCE_BYTES = 16384


class NoApplicationError(Exception):
    """The slot holds no application for the simulated board."""


def read_source(partition):
    """The main.py in `partition`. Raises NoApplicationError."""
    head = bytearray(HEAD_BYTES)
    _read(partition, BLOCK_OFFSET, head)
    form, length = struct.unpack("<II", head[8:16])
    if head[:8] != BLOCK_MAGIC or form != 1 or length > MAX_SOURCE_BYTES:
        raise NoApplicationError("no application in this slot")
    source = bytearray(length)
    _read(partition, BLOCK_OFFSET + HEAD_BYTES, source)
    if hashlib.sha256(source).digest() != bytes(head[16:48]):
        raise NoApplicationError("the application is damaged")
    return bytes(source).decode()


def _read(partition, offset, buf):
    partition.readblocks(offset // 4096, buf, offset % 4096)


class Board:
    """What the application sees of its board."""

    def __init__(self, reporter, slot):
        self._reporter = reporter
        self.slot = slot

    def report(self, **fields):
        """The application says who it is; the launcher listens."""
        fields["slot"] = self.slot
        fields["heap_peak_bytes"] = self._reporter.heap_peak_bytes
        self._reporter.emit("app", **fields)


def start(partition, board):
    namespace = {"__name__": "app"}
    exec(read_source(partition), namespace)  # noqa: S102 - running what was flashed is the point
    namespace["main"](board)
