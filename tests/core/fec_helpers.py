"""Erasure repair by its definition: products of polynomials bit by bit, which know nothing of gf.py."""

BLKSIZE = 16


def slow_mul(a, b):
    """Carry-less product, then reduced by long division."""
    product = 0
    for bit in range(8):
        if b >> bit & 1:
            product ^= a << bit
    for bit in range(14, 7, -1):
        if product >> bit & 1:
            product ^= 0x11D << (bit - 8)
    return product


def slow_inverse(a):
    for b in range(1, 256):
        if slow_mul(a, b) == 1:
            return b
    raise AssertionError("no inverse of %d" % a)


INVERSES = [slow_inverse(x) for x in range(128, 256)]


def slow_repair(data, symbol):
    """By the definition: byte i is the sum over j of 1/(symbol XOR j) * data[j][i]."""
    out = bytearray(len(data[0]))
    for j in range(len(data)):
        c = INVERSES[(symbol ^ j) - 128]
        for i in range(len(out)):
            out[i] ^= slow_mul(c, data[j][i])
    return bytes(out)


def random_data(dice, k, blksize=BLKSIZE):
    return [bytes([dice.below(256) for _i in range(blksize)]) for _j in range(k)]


def decode(pool, data, missing, generation=0, order=None):
    """Feed what is known and solve; the blocks that come out."""
    pool.begin(generation, missing, len(data))
    if order is None:
        while True:
            j = pool.next_known()
            if j < 0:
                break
            pool.feed(j, data[j])
    else:
        for j in order:
            pool.feed(j, data[j])
    pool.solve()
    return [bytes(pool.block(i)) for i in range(len(missing))]


def decode_by_two(pool, data, missing, order, generation=0, dice=None, chance=50):
    """As decode(), two symbols at a time in `order`; with `dice` only at so many percent of the times."""
    pool.begin(generation, missing, len(data))
    left = list(order)
    while left:
        j = left.pop(0)
        if left and (dice is None or dice.percent(chance)):
            other = left.pop(0)
            pool.spare[:] = data[other]
            pool.feed_two(j, data[j], other)
        else:
            pool.feed(j, data[j])
    pool.solve()
    return [bytes(pool.block(i)) for i in range(len(missing))]
