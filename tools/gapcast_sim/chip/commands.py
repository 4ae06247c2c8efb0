"""The commands of the serial loaders, as packets.

Request: 00, command, length of the data (2 bytes), checksum (4), data. Answer: 01, command, length,
value (4), data, status. All little-endian, in SLIP frames. Source: Espressif's documentation of the protocol.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

_HEADER = struct.Struct("<BBHI")
_CHECKSUM_SEED = 0xEF
SYNC_DATA = b"\x07\x07\x12\x20" + 32 * b"\x55"


class Op(IntEnum):
    """Command codes."""

    FLASH_BEGIN = 0x02
    FLASH_DATA = 0x03
    FLASH_END = 0x04
    MEM_BEGIN = 0x05
    MEM_END = 0x06
    MEM_DATA = 0x07
    SYNC = 0x08
    WRITE_REG = 0x09
    READ_REG = 0x0A
    SPI_SET_PARAMS = 0x0B
    SPI_ATTACH = 0x0D
    READ_FLASH_SLOW = 0x0E
    CHANGE_BAUDRATE = 0x0F
    FLASH_DEFL_BEGIN = 0x10
    FLASH_DEFL_DATA = 0x11
    FLASH_DEFL_END = 0x12
    SPI_FLASH_MD5 = 0x13
    GET_SECURITY_INFO = 0x14
    ERASE_FLASH = 0xD0
    ERASE_REGION = 0xD1
    READ_FLASH = 0xD2


class Status(IntEnum):
    """Errors: the two bytes that the status begins with."""

    OK = 0x0000
    ROM_INVALID = 0x0105  # command not known, or its format
    ROM_FAILED = 0x0106
    ROM_CHECKSUM = 0x0107
    ROM_INFLATE = 0x010B
    STUB_LENGTH = 0xC000
    STUB_CHECKSUM = 0xC100
    STUB_INVALID = 0xC300
    STUB_NOT_WRITING = 0xC600
    STUB_INFLATE = 0xC700
    STUB_TOO_LITTLE = 0xC800
    STUB_TOO_MUCH = 0xC900
    STUB_UNKNOWN = 0xFF00


def _checksum(data: bytes) -> int:
    """All bytes and EF, exclusive or. By halves, since a loop over 16 KiB costs a millisecond."""
    value, size = int.from_bytes(data, "big"), len(data)
    while size > 1:
        size = (size + 1) // 2
        value = value >> 8 * size ^ value & (1 << 8 * size) - 1
    return value ^ _CHECKSUM_SEED


@dataclass(frozen=True)
class Command:
    """A request from the host."""

    op: int
    data: bytes
    checksum: int

    def words(self, count: int) -> tuple[int, ...]:
        """The first `count` 32-bit words of the data. Raises struct.error if there are fewer."""
        return struct.unpack_from(f"<{count}I", self.data)

    @property
    def block(self) -> bytes:
        """The payload of a ..._DATA command: it follows four words."""
        return self.data[16:]

    @property
    def block_intact(self) -> bool:
        """Whether the payload is as long as its first word says, and its checksum is right."""
        (size,) = self.words(1)
        return size == len(self.block) and _checksum(self.block) == self.checksum & 0xFF


def parse(frame: bytes) -> Command | None:
    """The request in a frame; None if it is none."""
    if len(frame) < _HEADER.size:
        return None
    direction, op, size, checksum = _HEADER.unpack_from(frame)
    data = frame[_HEADER.size :]
    return Command(op, data, checksum) if direction == 0 and size == len(data) else None


def answer(
    op: int, *, value: int = 0, data: bytes = b"", status: int = Status.OK, status_bytes: int
) -> bytes:
    """The frame of an answer. status_bytes: 4 from a ROM, whose last two mean nothing; 2 from a stub."""
    tail = data + struct.pack(">H", status) + bytes(status_bytes - 2)
    return _HEADER.pack(1, op, len(tail), value) + tail
