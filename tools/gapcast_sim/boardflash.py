"""What a board's flash holds, as the launcher finds it: what a board says is one thing, this is another."""

from __future__ import annotations

import binascii
import struct
from pathlib import Path

SECTOR_BYTES = 4096
VALID = 2  # esp_ota_img_states_t
_ENDED = (3, 4)  # INVALID, ABORTED
_ENTRY = struct.Struct("<I20xII")  # esp_ota_select_entry_t: sequence, label, state, CRC of the sequence


def read_slot(folder: Path, slot: int) -> bytes:
    """What is in slot 0 or 1; what lies beyond it is blank."""
    try:
        return (folder / f"ota_{slot}.bin").read_bytes()
    except OSError:
        return b""


def boot_choice(folder: Path) -> tuple[int, bool] | None:
    """(slot that boots, its image is confirmed), from otadata; None when otadata names none."""
    try:
        data = (folder / "otadata.bin").read_bytes()
    except OSError:
        return None
    best: tuple[int, int] | None = None
    for at in (0, SECTOR_BYTES):
        raw = data[at : at + _ENTRY.size]
        if len(raw) < _ENTRY.size:
            continue
        sequence, state, crc = _ENTRY.unpack(raw)
        good = 0 < sequence < 0xFFFFFFFF and crc == binascii.crc32(raw[:4], 0xFFFFFFFF)
        if good and state not in _ENDED and (best is None or sequence > best[0]):
            best = (sequence, state)
    return ((best[0] - 1) % 2, best[1] == VALID) if best else None
