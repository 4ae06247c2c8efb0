"""The loops of fec_viper.py in plain Python, for CPython and for boards without native code.

Quads and tables are array("H"), two entries a word: on 32 bits a whole word would often be an
allocated integer. Lane 0 is the low byte of the first entry, as in a little-endian 32-bit word.
"""


def coefficients(four, symbols, j, cauchy):
    for lane in range(4):
        four[lane] = cauchy[symbols[lane] ^ j]


def table(t, four):
    low = four[0] | four[1] << 8
    high = four[2] | four[3] << 8
    t[0] = t[1] = 0
    size = 2
    while size < 512:
        for i in range(0, size, 2):
            t[size + i] = t[i] ^ low
            t[size + i + 1] = t[i + 1] ^ high
        size += size
        low = ((low & 0x7F7F) << 1) ^ ((low >> 7) & 0x0101) * 0x1D
        high = ((high & 0x7F7F) << 1) ^ ((high >> 7) & 0x0101) * 0x1D


def spread(quad, source, t, length):
    at = 0
    for i in range(length):
        entry = source[i] << 1
        quad[at] ^= t[entry]
        quad[at + 1] ^= t[entry + 1]
        at += 2


def spread_two(quad, a, t, b, length):
    at = 0
    for i in range(length):
        entry = a[i] << 1
        other = 512 + (b[i] << 1)
        quad[at] ^= t[entry] ^ t[other]
        quad[at + 1] ^= t[entry + 1] ^ t[other + 1]
        at += 2


def put(quad, lane, source, length):
    at = lane >> 1
    keep = 0x00FF if lane & 1 else 0xFF00
    shift = 8 * (lane & 1)
    for i in range(length):
        quad[at] = quad[at] & keep | source[i] << shift
        at += 2


def get(quad, lane, to, length):
    at = lane >> 1
    shift = 8 * (lane & 1)
    for i in range(length):
        to[i] = quad[at] >> shift & 0xFF
        at += 2
