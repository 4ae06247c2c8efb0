"""Headers as a forger would send them, and a board's whole judgement of them.

The forger knows the format, has signed images of the operator's and their public key, and makes every digest
fit that needs no key. Whatever comes out has to be refused with a PeerError, and with nothing else.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives.asymmetric import rsa

from gapcast.image.keys import board_key, sign
from gapcast_core.appimage import head_fault
from gapcast_core.container import HEADER_BYTES, Header, chunk_digest, parse_header
from gapcast_core.errors import PeerError
from gapcast_core.signature import check_header

CHECK_OFFSET = HEADER_BYTES - 16
# Where something begins or ends (PROTOCOL.md section 6): mistakes live at edges.
EDGES = (0, 4, 6, 8, 12, 16, 20, 24, 28, 32, 64, 96, 128, 160, 192, 208, 496, 512, 514, 516, 524, 908, 1008)
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x188, 0x400, 4095, 4096, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

OURS = rsa.generate_private_key(65537, 3072)
THEIRS = rsa.generate_private_key(65537, 3072)
KEYS = [board_key(OURS.public_key())]
Mutation = Callable[[random.Random, bytearray], None]


def signed_header(key: rsa.RSAPrivateKey, counter: int, **named: object) -> bytes:
    values = {"image_head": bytes(range(256)), **named}
    plain = Header("bench", f"1.{counter}", "SIM", 5000 + counter, b"t" * 32, b"i" * 32, counter, **values)
    return bytes(plain.pack(board_key(key.public_key()).key_id, sign(key, plain.signed_part())))


SIGNED = [signed_header(OURS, counter) for counter in range(4)] + [signed_header(OURS, 9, flags=1)]
VALID = frozenset(SIGNED)
FOREIGN = signed_header(THEIRS, 99)


def resealed(raw: bytes | bytearray) -> bytes:
    """With a check digest that fits."""
    head = bytes(raw[:CHECK_OFFSET])
    return head + bytes(chunk_digest(head)) if len(head) == CHECK_OFFSET else bytes(raw)


def flip_bits(dice: random.Random, raw: bytearray) -> None:
    for _ in range(dice.randint(1, 8)):
        raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)


def set_bytes(dice: random.Random, raw: bytearray) -> None:
    start = dice.choice(EDGES) if dice.random() < 0.5 else dice.randrange(CHECK_OFFSET)
    new = dice.choice((dice.randbytes(dice.randint(1, 40)), bytes(dice.randint(1, 400)), b"\xff" * 32))
    raw[start : start + len(new)] = new[: len(raw) - start]


def set_number(dice: random.Random, raw: bytearray) -> None:
    number = dice.choice(NUMBERS)
    if dice.random() < 0.5:
        raw_number = struct.pack(">I", number)
    else:
        raw_number = struct.pack(">H", number & 0xFFFF)
    start = dice.choice(EDGES[:-1])
    raw[start : start + len(raw_number)] = raw_number


def swap_parts(dice: random.Random, raw: bytearray) -> None:
    """A part of another header, signed by the same key or by one's own."""
    first, end = sorted(dice.sample(EDGES, 2))
    raw[first:end] = dice.choice([*SIGNED, FOREIGN])[first:end]


def take_the_key_id(_dice: random.Random, raw: bytearray) -> None:
    raw[:] = FOREIGN
    raw[516:524] = KEYS[0].key_id


def change_the_signature(dice: random.Random, raw: bytearray) -> None:
    """RSA multiplies: products of signatures are signatures, but of something without padding."""
    modulus = int(KEYS[0].modulus)
    number = int.from_bytes(raw[524:908], "big")
    product = number * int.from_bytes(dice.choice(SIGNED)[524:908], "big") % modulus
    changed = dice.choice(
        (modulus - number, number + modulus, product, number * 2 % modulus, 0, 1, modulus - 1)
    )
    raw[524:908] = (changed % (1 << 3072)).to_bytes(384, "big")


def strip(_dice: random.Random, raw: bytearray) -> None:
    """The signature taken off."""
    raw[512:CHECK_OFFSET] = bytes(CHECK_OFFSET - 512)


def shift(dice: random.Random, raw: bytearray) -> None:
    start = dice.choice(EDGES[:-1])
    raw[start:start] = dice.randbytes(dice.randint(1, 4))
    del raw[HEADER_BYTES:]


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    flip_bits,
    set_bytes,
    set_bytes,
    set_number,
    set_number,
    swap_parts,
    take_the_key_id,
    change_the_signature,
    strip,
    shift,
)


def mutated(dice: random.Random, good: bytes) -> bytes:
    raw = bytearray(good)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        dice.choice(MUTATIONS)(dice, raw)
    return resealed(raw) if dice.random() < 0.9 else bytes(raw)


def fresh(dice: random.Random) -> bytes:
    """Random bytes, from nonsense to what has the outer marks of a header."""
    if dice.random() < 0.3:
        return dice.randbytes(dice.randrange(2100))
    raw = bytearray(dice.randbytes(HEADER_BYTES))
    raw[:8] = b"GAP1\0\1\4\0"
    if dice.random() < 0.8:
        raw[8:208] = SIGNED[0][8:208]
    if dice.random() < 0.8:
        raw[512:524] = SIGNED[0][512:524]
        raw[908:CHECK_OFFSET] = bytes(CHECK_OFFSET - 908)
    if dice.random() < 0.8:
        raw[496:512] = bytes(16)
        raw[28:32] = bytes(4)
    return resealed(raw)


def resized(dice: random.Random, good: bytes) -> bytes:
    if dice.random() < 0.5:
        return good[: dice.randrange(len(good))]
    return mutated(dice, good) + dice.randbytes(dice.randint(1, 1500))


def cases(seed: int) -> Iterator[bytes]:
    """Forged headers without end; never one that is valid."""
    dice = random.Random(seed)
    while True:
        chance = dice.random()
        if chance < 0.85:
            case = mutated(dice, dice.choice(SIGNED))
        elif chance < 0.95:
            case = fresh(dice)
        else:
            case = resized(dice, dice.choice(SIGNED))
        if case[:HEADER_BYTES] not in VALID:
            yield case


def judge(case: bytes) -> str | None:
    """Why a board refuses the header; None: it would take it.

    Raises:
        AssertionError: A signature was believed that our key never gave.
    """
    reason = None
    try:
        head_fault(parse_header(case).image_head, 0)
    except PeerError as error:
        reason = error.reason
    try:
        check_header(case, KEYS)
    except PeerError as error:
        if error.reason in ("unsigned", "unknown_key"):
            # A board that takes such images must not believe that a key signed it.
            assert check_header(case, KEYS, allow_unsigned=True) is None
        return reason or error.reason
    assert bytes(case[:CHECK_OFFSET]) in {good[:CHECK_OFFSET] for good in VALID}
    return reason
