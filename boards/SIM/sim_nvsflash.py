"""Where a chip with one flash keeps what is in `esp32.NVS`: in its nvs partition, in a form of our own.

Two halves of the partition take turns, so a change is whole or not at all: "GAPN", u32 number of the
change, u32 bytes, u32 CRC of these and of the bytes, JSON. A blank one, or one in ESP-IDF's form, is empty.
"""

import binascii
import json
import struct

import sim_nvs

_MAGIC = b"GAPN"
_HEAD_BYTES = 16
_SECTOR_BYTES = 4096


class Store:
    """nor: the partition (sim_flashfile.FlashPart)."""

    def __init__(self, nor):
        self._nor = nor
        self._half_bytes = nor.size_bytes // _SECTOR_BYTES // 2 * _SECTOR_BYTES
        self._number = 0

    def load(self):
        """The values of the later half."""
        found = {}
        for half in (0, 1):
            number, text = self._read(half)
            if number > self._number:
                self._number = number
                found = json.loads(text)
        return found

    def _read(self, half):
        """(number, JSON) of a half; 0 is none."""
        head = bytearray(_HEAD_BYTES)
        self._nor.read(half * self._half_bytes, head)
        number, size_bytes, crc = struct.unpack("<III", head[4:])
        if head[:4] != _MAGIC or size_bytes > self._half_bytes - _HEAD_BYTES:
            return 0, ""
        text = bytearray(size_bytes)
        self._nor.read(half * self._half_bytes + _HEAD_BYTES, text)
        return (number, text.decode()) if crc == _crc(number, text) else (0, "")

    def save(self, values):
        """Raises OSError when they are too many: then those before are valid."""
        text = json.dumps(values).encode()
        if len(text) > self._half_bytes - _HEAD_BYTES:
            sim_nvs.forget()
            raise OSError(*sim_nvs._NOT_ENOUGH_SPACE)
        self._number += 1
        at = self._number % 2 * self._half_bytes
        head = _MAGIC + struct.pack("<III", self._number, len(text), _crc(self._number, text))
        self._nor.put(at, b"\xff" * _HEAD_BYTES)  # the old head first: it never stands before new values
        self._nor.put(at + _HEAD_BYTES, text)
        self._nor.put(at, head)


def _crc(number, text):
    return binascii.crc32(text, binascii.crc32(struct.pack("<II", number, len(text)))) & 0xFFFFFFFF
