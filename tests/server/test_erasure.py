"""The server's repair symbols against the definition of the code, and against the decoder that boards run."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapcast.protocol.erasure import repair_symbols
from gapcast_core.errors import UsageError
from gapcast_core.fec import Pool


def product(a: int, b: int) -> int:
    """In GF(256) by shifting and reducing, bit by bit."""
    total = 0
    while b:
        if b & 1:
            total ^= a
        a <<= 1
        if a & 0x100:
            a ^= 0x11D
        b >>= 1
    return total


def inverse(a: int) -> int:
    """a^254, as a^255 = 1."""
    power = 1
    for _again in range(254):
        power = product(power, a)
    return power


INVERSE = {a: inverse(a) for a in range(128, 256)}


def by_definition(data: bytes, blksize: int, symbol: int) -> bytes:
    out = bytearray(blksize)
    for at, byte in enumerate(data):
        j, i = divmod(at, blksize)
        out[i] ^= product(INVERSE[symbol ^ j], byte)
    return bytes(out)


@pytest.mark.parametrize(("k", "short"), [(64, 0), (128, 0), (1, 0), (17, 3), (64, 7)])
def test_equals_the_definition(k: int, short: int) -> None:
    data = random.Random(k).randbytes(k * 8 - short)
    found = repair_symbols(data, k, 8, range(128, 256))
    assert found == [by_definition(data, 8, symbol) for symbol in range(128, 256)]


def test_blocks_of_a_board() -> None:
    data = random.Random(1).randbytes(6 * 1024)
    assert repair_symbols(data, 6, 1024, [128, 255, 130]) == [
        by_definition(data, 1024, symbol) for symbol in (128, 255, 130)
    ]


def test_same_bytes_cut_in_other_ways_are_other_generations() -> None:
    data = random.Random(2).randbytes(64)
    assert repair_symbols(data, 8, 8, [200]) == [by_definition(data, 8, 200)]
    assert repair_symbols(data, 4, 16, [200]) == [by_definition(data, 16, 200)]
    assert repair_symbols(data[:57], 8, 8, [200]) == [by_definition(data[:57], 8, 200)]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), k=st.integers(1, 128), losses=st.integers(1, 20))
def test_what_the_server_sends_mends_what_a_board_lost(seed: int, k: int, losses: int) -> None:
    rng = random.Random(seed)
    data = rng.randbytes(k * 16)
    blocks = [data[16 * j : 16 * j + 16] for j in range(k)]
    missing = rng.sample(range(k), min(losses, k))
    symbols = rng.sample(range(128, 256), len(missing))
    pool = Pool(16)
    for symbol, view in zip(symbols, repair_symbols(data, k, 16, symbols), strict=True):
        assert pool.add(1, symbol, view, len(missing))
    pool.begin(1, missing, k)
    while (j := pool.next_known()) >= 0:
        pool.feed(j, blocks[j])
    pool.solve()
    assert [bytes(pool.block(i)) for i in range(len(missing))] == [blocks[j] for j in missing]


@pytest.mark.parametrize(
    ("length", "k", "blksize", "symbol"),
    [
        (0, 0, 8, 128),
        (129 * 8, 129, 8, 128),
        (16, 1, 8, 128),
        (8, 2, 8, 128),
        (12, 1, 12, 128),
        (0, 1, 0, 128),
        (8, 1, 8, 127),
        (8, 1, 8, 256),
        (8, 1, 8, -1),
    ],
)
def test_misuse(length: int, k: int, blksize: int, symbol: int) -> None:
    with pytest.raises(UsageError):
        repair_symbols(bytes(length), k, blksize, [symbol])
