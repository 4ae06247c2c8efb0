"""The first 288 bytes of an ESP32 application image: what a board can judge before it erases anything.

Sources: ESP-IDF `esp_app_format.h` (image and segment header), `esp_app_desc.h` (descriptor).

    0    1  E9      1  1  segments      12  2  chip id      24  4  segment's address      28  4  its length
    32   4  ABCD5432, the descriptor's magic; a boot loader has something else here

Numbers are little-endian here.
"""

import struct

from .container import IMAGE_HEAD_BYTES

IMAGE_MAGIC = 0xE9
DESCRIPTOR_MAGIC = 0xABCD5432
DESCRIPTOR_OFFSET = 32
_DESCRIPTOR_BYTES = 256
_MAX_SEGMENTS = 16  # ESP_IMAGE_MAX_SEGMENTS


def chip_id_of(head):
    """esp_chip_id_t in the first 16 bytes or more of an image: 0 is the ESP32, 9 the ESP32-S3."""
    return struct.unpack_from("<H", head, 12)[0]


def head_fault(head, chip_id):
    """Why an image that begins with these 288 bytes must not go into an application slot; or None.

    chip_id: the board's own.

    `merged_image`: a boot loader comes first, or the padding before one. `not_an_app`. `wrong_chip`.
    """
    head = bytes(head[:IMAGE_HEAD_BYTES])
    if len(head) < IMAGE_HEAD_BYTES:
        return "not_an_app"
    if head == head[:1] * IMAGE_HEAD_BYTES and head[0] in (0, 0xFF):
        return "merged_image"
    if head[0] != IMAGE_MAGIC or not 1 <= head[1] <= _MAX_SEGMENTS:
        return "not_an_app"
    length, magic = struct.unpack_from("<II", head, DESCRIPTOR_OFFSET - 4)
    if magic != DESCRIPTOR_MAGIC:
        return "merged_image"
    if length < _DESCRIPTOR_BYTES:
        return "not_an_app"
    if chip_id_of(head) != chip_id:
        return "wrong_chip"
    return None
