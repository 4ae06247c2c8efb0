"""Known blocks fed two at a time: the same blocks come out as of feeding them one by one."""

from core_helpers import Dice, misused
from fec_helpers import BLKSIZE, decode, decode_by_two, random_data, slow_repair

from gapcast_core import fec


def shuffled(dice, items):
    left = list(items)
    return [left.pop(dice.below(len(left))) for _i in range(len(left))]


def filled(data, missing, symbols, capacity, generation=0):
    """A pool with these repair symbols."""
    pool = fec.Pool(len(data[0]), capacity)
    for symbol in symbols:
        assert pool.add(generation, symbol, slow_repair(data, symbol), len(missing))
    return pool


def test_two_at_a_time_as_the_board_does():
    """Odd and even numbers of known blocks: the last one may be left alone."""
    dice = Dice(20)
    for k in (2, 3, 9, 10):
        data = random_data(dice, k)
        pool = filled(data, [1], [140], 4)
        pool.begin(0, [1], k)
        fed = []
        alone = 0
        while True:
            known = pool.next_known()
            if known < 0:
                break
            other = pool.next_known(known + 1)
            assert other != known
            if other < 0:
                pool.feed(known, data[known])
                fed.append(known)
                alone += 1
            else:
                pool.spare[:] = data[other]
                pool.feed_two(known, data[known], other)
                fed += [known, other]
        assert fed == [j for j in range(k) if j != 1]
        assert alone == len(fed) % 2
        pool.solve()
        assert bytes(pool.block(0)) == data[1]


def test_any_mixture_in_any_order_gives_the_same_blocks():
    dice = Dice(21)
    data = random_data(dice, 24, 8)
    for again in range(30):
        count = 1 + dice.below(9)
        numbers = shuffled(dice, range(24))
        missing = numbers[:count]
        symbols = shuffled(dice, range(128, 256))[:count]
        want = decode(filled(data, missing, symbols, 12), data, missing)
        assert want == [data[j] for j in missing]
        pool = filled(data, missing, symbols, 12)
        chance = (100, 50, 20)[again % 3]
        found = decode_by_two(pool, data, missing, numbers[count:], 0, dice, chance)
        assert found == want


def test_symbols_of_others_are_left_alone():
    """They share quads with what is decoded, before it and behind it, or have quads of their own."""
    dice = Dice(22)
    images = [random_data(dice, 8) for _generation in range(3)]
    lost = [[0, 3, 4, 5, 6], [1, 2], [7, 0, 2]]
    order = [0, 2, 1, 0, 2, 0, 0, 2, 1, 0]
    for first in range(3):
        pool = fec.Pool(BLKSIZE, 12)
        for i in range(len(order)):
            generation = order[i]
            symbol = slow_repair(images[generation], 128 + i)
            assert pool.add(generation, 128 + i, symbol, len(lost[generation]))
        for step in range(3):
            generation = (first + step) % 3
            data = images[generation]
            known = [j for j in range(8) if j not in lost[generation]]
            found = decode_by_two(pool, data, lost[generation], known, generation)
            assert found == [data[j] for j in lost[generation]]
            pool.release(generation)


def test_a_quad_is_used_only_as_long_as_it_is_decoded():
    """The second generation decoded uses fewer quads than the first, and others wait in those."""
    dice = Dice(23)
    data = random_data(dice, 10)
    other = random_data(dice, 10)
    pool = fec.Pool(BLKSIZE, 8)
    for symbol in range(130, 138):
        pool.add(0, symbol, slow_repair(data, symbol), 8)
    found = decode_by_two(pool, data, list(range(8)), [9, 8])
    assert found == data[:8]
    assert list(pool._used) == [1, 1]
    pool.release(0)
    for generation in range(1, 9):
        pool.add(generation, 200, slow_repair(other, 200), 1)
    for generation in (6, 2, 8, 1, 7, 3, 5, 4):
        lost = generation % 10
        known = [j for j in range(10) if j != lost]
        found = decode_by_two(pool, other, [lost], known, generation)
        assert found == [other[lost]]
        assert sum(pool._used) == 1
        pool.release(generation)


def test_a_symbol_that_comes_while_two_are_fed():
    """It may lie in a quad that is used, or not used, by the one that is decoded."""
    dice = Dice(24)
    first = random_data(dice, 8)
    second = random_data(dice, 8)
    for capacity in (3, 8):
        pool = filled(first, [3, 6], [128, 129], capacity)
        pool.begin(0, [3, 6], 8)
        for pair in ((0, 7), (1, 5), (2, 4)):
            pool.spare[:] = first[pair[1]]
            pool.feed_two(pair[0], first[pair[0]], pair[1])
            pool.add(1, 130 + pair[0], slow_repair(second, 130 + pair[0]), 3)
        pool.solve()
        assert [bytes(pool.block(0)), bytes(pool.block(1))] == [first[3], first[6]]
        pool.release(0)
        missing = list(range(pool.held(1)))
        assert missing
        found = decode_by_two(pool, second, missing, range(len(missing), 8), 1)
        assert found == second[: len(missing)]


def test_blocks_of_a_board_from_a_frame():
    """The view is that of a frame behind its header, so the two differ in how they are aligned."""
    dice = Dice(25)
    data = [bytes([j, 255 - j, dice.below(256), j ^ 85] * 256) for j in range(5)]
    pool = filled(data, [4, 0], [128, 255], fec.CAPACITY_BLOCKS)
    frame = bytearray(1028)
    view = memoryview(frame)[4:]
    pool.begin(0, [4, 0], 5)
    view[:] = data[1]
    pool.spare[:] = data[3]
    pool.feed_two(1, view, 3)
    view[:] = data[2]
    pool.feed(2, view)
    pool.solve()
    assert bytes(pool.block(0)) == data[4]
    assert bytes(pool.block(1)) == data[0]


def test_what_comes_next_from_a_number_on():
    pool = fec.Pool(8, 2)
    pool.add(0, 128, bytes(8), 2)
    pool.add(0, 129, bytes(8), 2)
    pool.begin(0, [1, 4], 6)
    assert [pool.next_known(after) for after in range(8)] == [0, 2, 2, 3, 5, 5, -1, -1]
    assert pool.next_known() == 0, "asking further on changes nothing"
    pool.feed(2, bytes(8))
    assert [pool.next_known(after) for after in range(7)] == [0, 3, 3, 3, 5, 5, -1]
    pool.feed_two(0, bytes(8), 5)
    assert [pool.next_known(after) for after in range(7)] == [3, 3, 3, 3, -1, -1, -1]
    pool.feed(3, bytes(8))
    assert [pool.next_known(after) for after in (0, 1, 5)] == [-1, -1, -1]


def test_nothing_to_feed_when_all_is_lost():
    dice = Dice(26)
    data = random_data(dice, 2)
    pool = filled(data, [0, 1], [128, 129], 2)
    pool.begin(0, [0, 1], 2)
    assert pool.next_known() == pool.next_known(1) == -1
    misused(pool.feed_two, 0, data[0], 1)
    pool.solve()
    assert [bytes(pool.block(0)), bytes(pool.block(1))] == data


def test_the_spare_is_one_block_whatever_the_capacity():
    for capacity in (1, 4, 9, 20):
        assert len(fec.Pool(BLKSIZE, capacity).spare) == BLKSIZE


def test_misuse_changes_nothing():
    dice = Dice(27)
    data = random_data(dice, 6)
    view = data[0]
    pool = filled(data, [1, 2], [128, 129], 4)
    misused(pool.feed_two, 0, view, 3)
    pool.begin(0, [1, 2], 6)
    bad = [(0, 0), (0, 1), (2, 0), (0, 6), (6, 0), (0, -1), (-1, 0), (0, 128), (128, 0), (1, 2)]
    for j, other in bad:
        misused(pool.feed_two, j, view, other)
    for wrong in (view[1:], view + b"\0", b""):
        misused(pool.feed_two, 0, wrong, 3)
    assert [pool.next_known(after) for after in range(6)] == [0, 3, 3, 3, 4, 5]
    pool.spare[:] = data[3]
    pool.feed_two(0, view, 3)
    for j, other in ((0, 4), (4, 0), (3, 5), (5, 3)):
        misused(pool.feed_two, j, view, other)
    misused(pool.feed, 0, view)
    misused(pool.feed, 3, view)
    misused(pool.solve)
    pool.spare[:] = data[5]
    pool.feed_two(4, data[4], 5)
    pool.solve()
    assert [bytes(pool.block(0)), bytes(pool.block(1))] == data[1:3]
    pool.release(0)
    misused(pool.feed_two, 4, view, 5)
