"""Whole containers as a forger would make them: wrong chunks, or every digest made to fit them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

from gapcast.image.boards import CHIPS
from gapcast.image.build import ContainerDamaged, build_container, parse_container
from gapcast.image.sample import build_sample
from gapcast_core.container import CHUNK_BYTES, HEADER_BYTES, chunk_digest
from gapcast_core.errors import PeerError
from gapcast_core.signature import check_header

from . import headers

CHIP = CHIPS["esp32"]
SIGNED = [
    build_container(
        build_sample(size, version, CHIP), "bench", "SIM", CHIP, counter=size, key=headers.OURS
    ).data
    for size, version in ((2000, "1"), (5000, "2"), (9001, "3"))
]
VALID = frozenset(SIGNED)


def broken(dice: random.Random, good: bytes) -> bytes:
    """Something behind the header changed, and nothing made to fit."""
    raw = bytearray(good)
    start = dice.randrange(HEADER_BYTES, len(raw))
    how = dice.randrange(5)
    if how == 0:
        raw[start] ^= 1 << dice.randrange(8)
    elif how == 1:
        new = dice.randbytes(dice.randint(1, 600))
        raw[start : start + len(new)] = new[: len(raw) - start]
    elif how == 2:
        del raw[start:]
    elif how == 3:
        raw += dice.randbytes(dice.randint(1, 2000))
    else:
        other = dice.choice(SIGNED)
        raw[start:] = other[start:]
    return bytes(raw)


def refitted(dice: random.Random, good: bytes) -> bytes:
    """The image changed, and table, digests and header made to fit: all that needs no key."""
    raw = bytearray(good)
    header = parse_container(good).header
    start = dice.randrange(HEADER_BYTES, HEADER_BYTES + header.image_bytes)
    raw[start] ^= dice.randint(1, 255)
    end = HEADER_BYTES + header.payload_bytes
    for chunk in range(header.chunks):
        first = HEADER_BYTES + chunk * CHUNK_BYTES
        raw[end + chunk * 16 : end + chunk * 16 + 16] = chunk_digest(bytes(raw[first : first + CHUNK_BYTES]))
    raw[32:64] = hashlib.sha256(raw[end:]).digest()
    raw[64:96] = hashlib.sha256(raw[HEADER_BYTES : HEADER_BYTES + header.image_bytes]).digest()
    raw[208:496] = raw[HEADER_BYTES : HEADER_BYTES + 288]
    return headers.resealed(raw) + bytes(raw[HEADER_BYTES:])


def cases(seed: int) -> Iterator[bytes]:
    """Forged containers without end; never one that is valid."""
    dice = random.Random(seed)
    while True:
        good = dice.choice(SIGNED)
        chance = dice.random()
        if chance < 0.5:
            case = broken(dice, good)
        elif chance < 0.75:
            case = refitted(dice, good)
        elif chance < 0.95:
            case = headers.mutated(dice, good[:HEADER_BYTES]) + good[HEADER_BYTES:]
        else:
            case = dice.choice(SIGNED)[:HEADER_BYTES] + good[HEADER_BYTES:]
        if case not in VALID:
            yield case


def judge(case: bytes) -> str | None:
    """Why a container is refused by its header, its signature or its digests; None: it would be taken."""
    try:
        container = parse_container(case)
        check_header(container.header_bytes, headers.KEYS)
    except (ContainerDamaged, PeerError) as error:
        return error.reason
    return "damaged" if container.problems() else None
