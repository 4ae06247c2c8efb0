"""The boot loader's side of A/B: otadata as ESP-IDF keeps it, and the check of an image.

Two 32-byte entries, one a sector: u32 sequence, 20 bytes label, u32 state, u32 CRC of the
sequence (esp_ota_select_entry_t). The valid entry with the higher sequence names the slot:
(sequence - 1) % 2.
"""

import binascii
import hashlib
import struct

ENTRY_BYTES = 32
NEW = 0
PENDING_VERIFY = 1
VALID = 2
INVALID = 3
ABORTED = 4
UNDEFINED = 0xFFFFFFFF

chip_id = 0  # what images have to be for, esp_chip_id_t: an ESP32
IMAGE_MAGIC = 0xE9
CHECKSUM_SEED = 0xEF
_SECTOR_BYTES = 4096
_STEP_BYTES = 256  # these buffers lie in the heap that the client has to live in


def read_entry(nor, index):
    """(sequence, state) of entry 0 or 1, or None when it is blank, torn or forged."""
    raw = bytearray(ENTRY_BYTES)
    nor.read(index * _SECTOR_BYTES, raw)
    sequence = struct.unpack("<I", raw[:4])[0]
    state, crc = struct.unpack("<II", raw[24:32])
    if sequence in (0, UNDEFINED) or crc != _entry_crc(raw[:4]):
        return None
    return sequence, state


def write_entry(nor, index, sequence, state):
    raw = struct.pack("<I", sequence)
    entry = raw + b"\xff" * 20 + struct.pack("<II", state, _entry_crc(raw))
    nor.erase(index)
    nor.program(index * _SECTOR_BYTES, entry)


def active(nor):
    """(index, sequence, state) of the entry that decides, or None."""
    best = None
    for index in (0, 1):
        entry = read_entry(nor, index)
        if entry and entry[1] not in (INVALID, ABORTED) and (best is None or entry[0] > best[1]):
            best = (index, entry[0], entry[1])
    return best


def select_slot(nor, slots):
    """What the boot loader does at power-on; the slot (0 or 1) to start.

    As bootloader_utility.c of ESP-IDF with rollback enabled and a table without factory app: NEW
    becomes PENDING_VERIFY at its first boot; whatever is still PENDING_VERIFY at the next was
    confirmed by nobody, so it is ABORTED and the other slot starts. A slot whose image does not
    verify is passed over. Two blank entries become one that says slot 0 (or the one that could be
    started) is VALID; two that are there but rolled back are left.
    slots: the NOR files of ota_0 and ota_1. When neither verifies, the slot that otadata names: a
    board would reset for ever.
    """
    for index in (0, 1):
        entry = read_entry(nor, index)
        if entry and entry[1] == PENDING_VERIFY:
            write_entry(nor, index, entry[0], ABORTED)
    initial = read_entry(nor, 0) is None and read_entry(nor, 1) is None
    entry = active(nor)
    slot = 0
    if entry is not None:
        index, sequence, state = entry
        slot = (sequence - 1) % 2
        if state == NEW:
            write_entry(nor, index, sequence, PENDING_VERIFY)
    for candidate in (slot, 1 - slot):
        if image_fault(slots[candidate]) is None:
            if initial:
                write_entry(nor, 0, candidate + 1, VALID)
            return candidate
    return slot


def set_boot(nor, slot, state=NEW):
    """Make `slot` the one to boot, in the entry that is not active now."""
    entry = active(nor)
    sequence = 0 if entry is None else entry[1]
    index = 0 if entry is None else 1 - entry[0]
    sequence += 1
    while (sequence - 1) % 2 != slot:
        sequence += 1
    write_entry(nor, index, sequence, state)


def mark_valid(nor):
    """Confirm the running image; False when there is no entry to confirm."""
    entry = active(nor)
    if entry is None:
        return False
    index, sequence, state = entry
    if state != VALID:
        write_entry(nor, index, sequence, VALID)
    return True


def image_fault(nor):
    """What esp_image_verify finds wrong with the application image, or None.

    Header magic, chip id, segments, checksum, appended SHA-256: the same checks, the same
    order. Like ESP-IDF it does not ask whether the image is an application.
    """
    head = bytearray(24)
    nor.read(0, head)
    if head[0] != IMAGE_MAGIC:
        return "no image header"
    if head[12] | head[13] << 8 != chip_id:
        return "image for another chip"
    if not 1 <= head[1] <= 16:
        return "bad segment count"
    offset = 24
    checksum = 0
    segment = bytearray(8)
    for _i in range(head[1]):
        nor.read(offset, segment)
        length = struct.unpack("<I", segment[4:8])[0]
        offset += 8
        if length > nor.size_bytes - offset:
            return "segment beyond the slot"
        if length % 4:
            return "unaligned segment length"
        checksum ^= _xor(nor, offset, length)
        offset += length
    end = (offset + 16) // 16 * 16
    last = bytearray(1)
    nor.read(end - 1, last)
    if last[0] != _fold(checksum) ^ CHECKSUM_SEED:
        return "checksum"
    if head[23] == 1 and not _hash_matches(nor, end):
        return "SHA-256"
    return None


def _xor(nor, offset, length):
    """XOR of the bytes, still spread over a wide integer (quick in C, slow byte by byte)."""
    buf = bytearray(_STEP_BYTES)
    value = 0
    while length > 0:
        if length < _STEP_BYTES:
            buf = bytearray(length)
        nor.read(offset, buf)
        value ^= int.from_bytes(buf, "little")
        offset += len(buf)
        length -= len(buf)
    return value


def _fold(value):
    result = 0
    for byte in value.to_bytes(_STEP_BYTES, "little"):
        result ^= byte
    return result


def _hash_matches(nor, end):
    hasher = hashlib.sha256()
    view = memoryview(bytearray(_STEP_BYTES))
    offset = 0
    while offset < end:
        part = view[: min(_STEP_BYTES, end - offset)]
        nor.read(offset, part)
        hasher.update(part)
        offset += len(part)
    digest = bytearray(32)
    nor.read(end, digest)
    return hasher.digest() == digest


def _entry_crc(raw_sequence):
    return binascii.crc32(raw_sequence, UNDEFINED) & UNDEFINED
