"""The pool of repair symbols: what it keeps, what gives way, and decoding in between."""

from core_helpers import Dice, misused
from fec_helpers import BLKSIZE, decode, random_data, slow_repair

from gapcast_core import fec


def test_no_use_is_refused():
    pool = fec.Pool(BLKSIZE, 4)
    good = bytes(BLKSIZE)
    assert not pool.add(0, 127, good, 2)
    assert not pool.add(0, 0, good, 2)
    assert not pool.add(0, 256, good, 2)
    assert not pool.add(0, 128, good[1:], 2)
    assert not pool.add(0, 128, good + b"\0", 2)
    assert not pool.add(0, 128, good, 5), "more losses than room"
    assert not pool.add(0, 128, good, 0), "nothing is missing"
    assert pool.held(0) == 0
    assert pool.add(0, 128, good, 2)
    assert not pool.add(0, 128, good, 2), "again"
    assert pool.add(1, 128, good, 2), "of another generation"
    assert pool.add(0, 129, good, 2)
    assert not pool.add(0, 130, good, 2), "enough"
    assert pool.held(0) == 2
    assert pool.held(1) == 1


def test_generations_wait_side_by_side_and_survive_the_decoding_of_others():
    dice = Dice(12)
    images = [random_data(dice, 10) for _generation in range(3)]
    lost = [[1, 2], [9], [0, 5, 6]]
    pool = fec.Pool(BLKSIZE, 6)
    turn = [(2, 200), (0, 128), (1, 255), (2, 201), (0, 190), (2, 130)]
    for generation, symbol in turn:
        assert pool.add(generation, symbol, slow_repair(images[generation], symbol), len(lost[generation]))
    for generation in (1, 2, 0):
        found = decode(pool, images[generation], lost[generation], generation)
        assert found == [images[generation][j] for j in lost[generation]]
        pool.release(generation)
        assert pool.held(generation) == 0
    assert pool.evicted == 0


def test_each_slot_alone_and_used_again():
    dice = Dice(16)
    images = [random_data(dice, 7) for _generation in range(8)]
    for count in range(1, 8):
        pool = fec.Pool(BLKSIZE, 8)
        for generation in range(8):
            assert pool.add(
                generation, 128 + generation, slow_repair(images[generation], 128 + generation), 1
            )
        for generation in range(count):
            assert decode(pool, images[generation], [3], generation) == [images[generation][3]]
            pool.release(generation)
            # Waits in the slot that was free, while the next ones are decoded.
            assert pool.add(20 + generation, 128, slow_repair(images[0], 128), 1)
        for generation in range(count):
            assert decode(pool, images[0], [generation % 7], 20 + generation) == [images[0][generation % 7]]
            pool.release(20 + generation)


def test_symbols_that_come_while_another_generation_is_decoded():
    dice = Dice(13)
    first = random_data(dice, 8)
    second = random_data(dice, 8)
    pool = fec.Pool(BLKSIZE, 3)
    pool.add(0, 128, slow_repair(first, 128), 2)
    pool.add(0, 129, slow_repair(first, 129), 2)
    pool.begin(0, [3, 6], 8)
    assert not pool.add(0, 130, slow_repair(first, 130), 3), "it is being decoded"
    for j in range(8):
        if j == 4:
            assert pool.add(1, 128, slow_repair(second, 128), 2)
        if j not in (3, 6):
            pool.feed(j, first[j])
    assert pool.eliminate()
    assert not pool.add(1, 131, slow_repair(second, 131), 2), "the other two are in use"
    pool.solve()
    assert [bytes(pool.block(0)), bytes(pool.block(1))] == [first[3], first[6]]
    pool.release(0)
    assert pool.add(1, 131, slow_repair(second, 131), 2)
    assert decode(pool, second, [0, 7], 1) == [second[0], second[7]]


def test_the_latest_generation_gives_way():
    pool = fec.Pool(8, 5)
    for symbol in (128, 129, 130):
        pool.add(2, symbol, bytes(8), 5)
    for symbol in (128, 129):
        pool.add(1, symbol, bytes(8), 5)
    assert not pool.add(2, 131, bytes(8), 5), "it is the latest itself"
    assert not pool.add(3, 128, bytes(8), 5)
    assert pool.add(0, 128, bytes(8), 3)
    assert (pool.held(0), pool.held(1), pool.held(2)) == (1, 2, 2)
    for symbol in (131, 132, 133):
        pool.add(1, symbol, bytes(8), 5)
    assert (pool.held(0), pool.held(1), pool.held(2)) == (1, 4, 0)
    assert pool.add(0, 130, bytes(8), 3)
    assert (pool.held(0), pool.held(1)) == (2, 3)
    assert pool.evicted == 4


def test_decoding_is_never_robbed():
    pool = fec.Pool(8, 2)
    pool.add(0, 128, bytes(8), 2)
    pool.add(0, 129, bytes(8), 2)
    pool.begin(0, [0, 1], 2)
    assert not pool.add(1, 128, bytes(8), 1)
    pool.release(0)
    assert pool.add(1, 128, bytes(8), 1)


def test_losses_filled_meanwhile_leave_symbols_over():
    dice = Dice(14)
    data = random_data(dice, 6)
    pool = fec.Pool(BLKSIZE, 6)
    for symbol in (128, 140, 150, 160):
        pool.add(0, symbol, slow_repair(data, symbol), 4)
    assert decode(pool, data, [5]) == [data[5]]
    assert pool.held(0) == 1, "the others' room is free"


def test_a_wrong_symbol_spoils_only_its_generation():
    dice = Dice(15)
    data = random_data(dice, 6)
    pool = fec.Pool(BLKSIZE, 4)
    pool.add(0, 128, slow_repair(data, 128), 2)
    pool.add(0, 129, b"forged, 16 bytes", 2)
    assert decode(pool, data, [1, 4]) != [data[1], data[4]]
    pool.release(0)
    for symbol in (130, 131):
        pool.add(0, symbol, slow_repair(data, symbol), 2)
    assert decode(pool, data, [1, 4]) == [data[1], data[4]]


def test_misuse():
    for blksize, capacity in ((0, 4), (12, 4), (-8, 4), (8, 0), (8, 129)):
        misused(fec.Pool, blksize, capacity)
    pool = fec.Pool(8, 4)
    misused(pool.begin, 0, [], 4)
    misused(pool.begin, 0, [1], 4)
    misused(pool.feed, 0, bytes(8))
    misused(pool.eliminate)
    misused(pool.block, 0)
    pool.add(0, 128, bytes(8), 2)
    pool.add(0, 129, bytes(8), 2)
    misused(pool.begin, 0, [1, 2, 3], 4)
    misused(pool.begin, 0, [1, 1], 4)
    misused(pool.begin, 0, [4], 4)
    misused(pool.begin, 0, [1], 129)
    pool.begin(0, [1, 2], 4)
    misused(pool.begin, 0, [1, 2], 4)
    misused(pool.feed, 1, bytes(8))
    misused(pool.feed, 4, bytes(8))
    misused(pool.feed, 0, bytes(7))
    pool.feed(0, bytes(8))
    misused(pool.feed, 0, bytes(8))
    misused(pool.solve)
    pool.feed(3, bytes(8))
    misused(pool.block, 0)
    pool.solve()
    misused(pool.block, 2)
    misused(pool.block, -1)
    assert bytes(pool.block(1)) == bytes(8)
