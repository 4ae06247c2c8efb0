"""Erasure repair: the field, the loops, and the code against its definition."""

from array import array

from core_helpers import Dice, unhex
from fec_helpers import BLKSIZE, INVERSES, decode, random_data, slow_mul, slow_repair

from gapcast_core import fec, fec_plain, gf

# Repair symbols of a generation of 64, byte i of data symbol j being (37 j + 11 i + 5) & 255. Computed by a
# third program: polynomials as sets of exponents, 1/x by the extended Euclidean algorithm.
GOLDEN = {
    128: "26 54 3d 27 e4 3c 71 cf",
    129: "f7 99 a9 11 c2 13 a3 8c",
    163: "b0 b7 40 38 d2 3d ca ab",
    200: "26 0f db b5 01 17 96 a6",
    255: "8d ec 0f e4 71 70 8b c8",
}
KERNELS = [fec_plain] if fec.kernel is fec_plain else [fec_plain, fec.kernel]


def mend(data, missing, symbols, capacity=None):
    """Decode `missing` from those repair symbols, and check every block."""
    pool = fec.Pool(len(data[0]), capacity or len(missing))
    for symbol in symbols:
        assert pool.add(0, symbol, slow_repair(data, symbol), len(missing))
    assert decode(pool, data, missing) == [data[j] for j in missing]


def pick(dice, count, first, end):
    """`count` different numbers of first..end-1, in random order."""
    rest = list(range(first, end))
    return [rest.pop(dice.below(len(rest))) for _i in range(count)]


# -- the field ----------------------------------------------------------------------------


def test_product_is_that_of_polynomials():
    for a in range(256):
        for b in (0, 1, 2, 3, 0x1D, 0x53, 0x80, 0xCA, 0xFF, a):
            assert gf.mul(a, b) == gf.mul(b, a) == slow_mul(a, b)


def test_field_axioms():
    dice = Dice(1)
    for _again in range(500):
        a = dice.below(256)
        b = dice.below(256)
        c = dice.below(256)
        assert gf.mul(a, gf.mul(b, c)) == gf.mul(gf.mul(a, b), c)
        assert gf.mul(a, b ^ c) == gf.mul(a, b) ^ gf.mul(a, c)


def test_every_element_but_zero_has_its_inverse():
    for a in range(1, 256):
        assert slow_mul(a, gf.inverse(a)) == 1
    assert sorted(gf.inverse(a) for a in range(1, 256)) == list(range(1, 256))
    try:
        gf.inverse(0)
    except ZeroDivisionError:
        return
    raise AssertionError("1/0")


def test_coefficients_are_inverses_and_zero_without_a_repair_symbol():
    assert list(gf.CAUCHY) == [0] * 128 + INVERSES


# -- the loops ----------------------------------------------------------------------------


def quad_of(lanes):
    quad = array("H", [0] * (2 * len(lanes[0])))
    for lane in range(4):
        fec_plain.put(quad, lane, lanes[lane], len(lanes[lane]))
    return quad


def test_table_and_spread_multiply_by_four_coefficients():
    dice = Dice(2)
    for kernel in KERNELS:
        for four in ([0, 0, 0, 0], [1, 2, 4, 8], [0, 255, 128, 29], [142, 0, 1, 77]):
            table = array("H", [9] * 512)
            kernel.table(table, bytearray(four))
            lanes = random_data(dice, 4, 256)
            source = bytes(range(256))
            quad = quad_of(lanes)
            kernel.spread(quad, source, table, 256)
            for lane in range(4):
                out = bytearray(256)
                kernel.get(quad, lane, out, 256)
                assert list(out) == [lanes[lane][b] ^ slow_mul(b, four[lane]) for b in range(256)]


def test_put_changes_one_lane_within_its_length():
    for kernel in KERNELS:
        for lane in range(4):
            quad = quad_of([bytes([10 + n] * 24) for n in range(4)])
            kernel.put(quad, lane, bytes([99] * 16), 16)
            for other in range(4):
                out = bytearray(24)
                kernel.get(quad, other, out, 24)
                assert out == bytes(([99] * 16 if other == lane else [10 + other] * 16) + [10 + other] * 8)


def test_both_kernels_give_the_same_bytes_from_any_offset():
    dice = Dice(3)
    frame = bytes([dice.below(256) for _i in range(1032)])
    found = []
    for kernel in KERNELS:
        quad = array("H", [0] * 2048)
        table = array("H", [0] * 512)
        four = bytearray(4)
        for offset in range(8):
            view = memoryview(frame)[offset : offset + 1024]
            kernel.coefficients(four, b"\x80\xff\x00\x91", offset, gf.CAUCHY)
            kernel.table(table, four)
            kernel.spread(quad, view, table, 1024)
            kernel.put(quad, offset & 3, view, 8 * offset)
        found.append(bytes(quad))
    assert found[0] == found[-1]
    assert found[0] != bytes(4096)


def tables_of(kernel, fours):
    """Two tables, one behind the other, as Pool has them."""
    both = array("H", [9] * 1024)
    kernel.table(both, bytearray(fours[0]))
    kernel.table(memoryview(both)[512:], bytearray(fours[1]))
    return both


def test_spread_two_is_spread_of_each():
    dice = Dice(17)
    for kernel in KERNELS:
        for fours in (([1, 2, 4, 8], [0, 255, 128, 29]), ([0, 0, 0, 0], [142, 0, 1, 77]), ([7] * 4, [7] * 4)):
            lanes = random_data(dice, 4, 256)
            first = bytes(range(256))
            second = random_data(dice, 1, 256)[0]
            quad = quad_of(lanes)
            kernel.spread_two(quad, first, tables_of(kernel, fours), second, 256)
            for lane in range(4):
                out = bytearray(256)
                kernel.get(quad, lane, out, 256)
                a = fours[0][lane]
                b = fours[1][lane]
                want = [lanes[lane][i] ^ slow_mul(i, a) ^ slow_mul(second[i], b) for i in range(256)]
                assert list(out) == want


def test_spread_two_is_the_same_in_both_kernels_from_any_offset():
    """And changes nothing behind its length."""
    dice = Dice(18)
    frame = bytes([dice.below(256) for _i in range(1032)])
    found = []
    for kernel in KERNELS:
        quad = array("H", [0] * 2064)
        tables = tables_of(kernel, ([3, 0, 200, 91], [17, 255, 0, 128]))
        for a in range(8):
            for b in (a, 7 - a, 0):
                length = 1024 - 8 * (a + b)
                kernel.spread_two(quad, memoryview(frame)[a:], tables, memoryview(frame)[b:], length)
        assert bytes(quad)[4096:] == bytes(32)
        found.append(bytes(quad))
    assert found[0] == found[-1]
    assert found[0] != bytes(4128)


# -- the code -----------------------------------------------------------------------------


def test_golden():
    data = [bytes([(37 * j + 11 * i + 5) & 255 for i in range(8)]) for j in range(64)]
    for symbol in GOLDEN:
        want = unhex(GOLDEN[symbol])
        assert slow_repair(data, symbol) == want
        pool = fec.Pool(8, 1)
        missing = symbol & 63
        assert pool.add(7, symbol, want, 1)
        assert decode(pool, data, [missing], 7) == [data[missing]]


def test_every_pattern_of_one_and_two_losses():
    dice = Dice(4)
    data = random_data(dice, 8, 8)
    repair = {s: slow_repair(data, s) for s in (128, 129, 137, 200, 255)}
    for pair in ((128, 129), (255, 137), (200, 128)):
        for a in range(8):
            mend(data, [a], pair[:1])
            for b in range(8):
                if a != b:
                    pool = fec.Pool(8, 2)
                    for symbol in pair:
                        assert pool.add(0, symbol, repair[symbol], 2)
                    assert decode(pool, data, [a, b]) == [data[a], data[b]]


def test_any_repair_symbols_mend_any_losses():
    dice = Dice(5)
    data = random_data(dice, 24, 8)
    for _again in range(40):
        count = 1 + dice.below(12)
        missing = pick(dice, count, 0, 24)
        mend(data, missing, pick(dice, count, 128, 256))


def test_every_repair_symbol_of_two_mends():
    dice = Dice(6)
    data = random_data(dice, 5, 8)
    for symbol in range(128, 256, 2):
        mend(data, [4, 1], [symbol + 1, symbol])


def test_as_many_losses_as_there_is_room():
    dice = Dice(7)
    for k in (64, 128):
        data = random_data(dice, k, 8)
        missing = pick(dice, 20, 0, k)
        mend(data, missing, pick(dice, 20, 128, 256), fec.CAPACITY_BLOCKS)


def test_all_data_lost():
    dice = Dice(8)
    data = random_data(dice, 10, 8)
    mend(data, list(range(10)), range(246, 256))


def test_short_generation_has_the_code_of_a_long_one_with_zeros():
    dice = Dice(9)
    data = random_data(dice, 9)
    padded = data + [bytes(BLKSIZE)] * 55
    for symbol in (128, 180, 255):
        assert slow_repair(data, symbol) == slow_repair(padded, symbol)
    mend(data, [0, 8, 3], [255, 130, 190])
    mend(data[:1], [0], [128])


def test_blocks_of_a_board():
    dice = Dice(10)
    data = [bytes([j, 255 - j, dice.below(256), j ^ 85] * 256) for j in range(6)]
    mend(data, [5, 0], [128, 255])


def test_known_symbols_in_any_order():
    dice = Dice(11)
    data = random_data(dice, 12)
    pool = fec.Pool(BLKSIZE, 4)
    for symbol in (140, 150):
        pool.add(3, symbol, slow_repair(data, symbol), 2)
    order = [11, 0, 5, 6, 2, 9, 10, 1, 3, 8]
    assert decode(pool, data, [4, 7], 3, order) == [data[4], data[7]]
