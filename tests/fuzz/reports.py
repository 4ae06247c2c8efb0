"""Reports as a forger would send them, and a server's whole judgement of them.

The forger knows the format and every report that went over the air, and has keys, but not the boards'. A
case is the name of a WRQ, a NUL, and the DATA. Nothing of it may be stored.
"""

from __future__ import annotations

import random
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gapcast.fleet.store import Fleet
from gapcast.protocol.negotiate import read_report_name
from gapcast_core import report, wire
from gapcast_core.errors import PeerError

NUMBERS = (0, 1, 2, 5, 6, 0x7F, 0x80, 0xFF, 200, 201, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
# Where something begins or ends: mistakes live at edges.
EDGES = (0, 4, 8, 9, 10, 11, 12, 16, 32, 63, 64, 95, 96)
IDS = ("board-1", "board-2", "stranger")
FORGERS = (bytes(32), b"\xff" * 32, bytes(range(32)))

_dice = random.Random(20261122)
KEYS = {board_id: _dice.randbytes(32) for board_id in IDS[:2]}


def told(key: bytes, board_id: str, sequence: int, reason: str = "hang") -> bytes:
    data: bytes = report.pack_report(
        key, board_id, sequence, 1 + sequence % 5, bytes(range(16)), f"1.{sequence}", "SIM", sequence, reason
    )
    return data


ON_AIR = {board_id: [told(key, board_id, number) for number in range(1, 9)] for board_id, key in KEYS.items()}


def _open_fleet(folder: str) -> Fleet:
    fleet = Fleet(Path(folder) / "fleet.db")
    for board_id, key in KEYS.items():
        fleet.add(board_id, key)
        for data in ON_AIR[board_id]:
            fleet.accept(board_id, data, "10.0.0.1")
    return fleet


_FOLDER = tempfile.TemporaryDirectory(prefix="gapcast-fuzz-")
FLEET = _open_fleet(_FOLDER.name)


def mutated(dice: random.Random, good: bytes) -> bytes:
    raw = bytearray(good)
    for _ in range(dice.choice((1, 1, 1, 2, 5))):
        how = dice.randrange(6)
        at = dice.choice(EDGES) if dice.random() < 0.3 else dice.randrange(len(raw) or 1)
        if how == 0 and raw:
            raw[at % len(raw)] ^= 1 << dice.randrange(8)
        elif how == 1:
            raw[at : at + 4] = struct.pack(">I", dice.choice(NUMBERS))
        elif how == 2:
            del raw[at:]
        elif how == 3:
            raw[at:at] = dice.randbytes(dice.randint(1, 40))
        elif how == 4:
            raw += dice.randbytes(dice.randint(1, 600))
        elif raw:
            raw[at % len(raw)] = dice.randrange(256)
    return bytes(raw)


def forged(dice: random.Random) -> tuple[str, bytes]:
    """Well formed, in the name of a board, signed with the wrong key, or the right one of another board."""
    board_id = dice.choice(IDS)
    others = [key for name, key in KEYS.items() if name != board_id]
    text = dice.choice(("", "x" * 300, "ü€💥" * 30, "a\nb\x1b[0m\0"))
    sequence = dice.choice([number for number in NUMBERS if number])
    return board_id, told(dice.choice([*FORGERS, *others]), board_id, sequence, text)


def resigned(dice: random.Random) -> tuple[str, bytes]:
    """A true report with another field, and a MAC that would be right with the forger's key."""
    board_id = dice.choice(IDS)
    body = bytearray(dice.choice(ON_AIR[dice.choice(IDS[:2])])[: -report.MAC_BYTES])
    body[4:8] = struct.pack(">I", dice.choice(NUMBERS))
    return board_id, bytes(body) + report.report_mac(dice.choice(FORGERS), board_id, bytes(body))


def cases(seed: int) -> Iterator[bytes]:
    dice = random.Random(seed)
    while True:
        chance = dice.random()
        board_id = dice.choice(IDS)
        source = dice.choice(IDS[:2])
        name = f"report/{board_id}"
        if chance < 0.5:
            data = mutated(dice, dice.choice(ON_AIR[source]))
        elif chance < 0.65:
            board_id, data = forged(dice)
            name = f"report/{board_id}"
        elif chance < 0.8:
            board_id, data = resigned(dice)
            name = f"report/{board_id}"
        elif chance < 0.9:
            data = dice.choice(ON_AIR[source])  # a replay, or one board's report in another's name
        elif chance < 0.95:
            data = dice.randbytes(dice.randrange(600))
        else:
            name = mutated(dice, name.encode()).decode("latin-1").replace("\0", "")
            data = dice.choice(ON_AIR[source])
        if name == f"report/{source}" and data == ON_AIR[source][-1]:
            continue  # the last one again is acknowledged, rightly
        yield name.encode() + b"\0" + data


def judge(case: bytes) -> str | None:
    """Why the server refuses it; None: it would store or acknowledge it."""
    name, _, data = case.partition(b"\0")
    try:
        board_id = read_report_name(b"\0\2" + name + b"\0octet\0")
        if len(data) >= 512:
            return "two_blocks"
        FLEET.accept(board_id, data, "10.6.6.6")
    except PeerError as error:
        # A failing disk is no refusal: it would hide what the judge thinks.
        return None if error.code == wire.ERR_DISK_FULL else str(error.reason)
    return None
