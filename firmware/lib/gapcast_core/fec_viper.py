"""The hot loops of fec.py in native code (MicroPython's viper); fec_plain.py has the same without.

A *quad* holds four symbols side by side: 32-bit word i is byte i of each, lane 0 the lowest. So one
table look-up multiplies a byte by four coefficients at once. Measured per KiB and accumulator on
i386: 0.77 us, table included; 1.8 us with a 256-byte row per coefficient, 5.2 us with shifts.

No bounds are checked here: the caller has checked every length. Row lengths are multiples of 8 bytes.
Quads and tables are ptr32, which some chips need aligned: they are arrays of their own, so they are.
The other side may be a view into a frame at any offset, so it is read by bytes.
Pointers move, and the loops are unrolled, because an index that is a constant costs viper nothing.
"""

import micropython


@micropython.viper
def coefficients(four: ptr8, symbols: ptr8, j: int, cauchy: ptr8):
    """four[lane] = coefficient of data symbol j in repair symbol symbols[lane]."""
    four[0] = cauchy[symbols[0] ^ j]
    four[1] = cauchy[symbols[1] ^ j]
    four[2] = cauchy[symbols[2] ^ j]
    four[3] = cauchy[symbols[3] ^ j]


@micropython.viper
def table(t: ptr32, four: ptr8):
    """t[b] = b times each of the four coefficients, for all bytes b (256 words)."""
    word = four[0] | four[1] << 8 | four[2] << 16 | four[3] << 24
    low7 = 0x7F7F  # the wider literal would be an object on 32 bits
    low7 |= low7 << 16
    t[0] = 0
    t[1] = word
    word = ((word & low7) << 1) ^ ((word >> 7) & 0x01010101) * 0x1D
    t[2] = word
    t[3] = t[1] ^ word
    end = int(t) + 1024
    half = int(t) + 16
    to = ptr32(half)
    while int(to) < end:
        # The products of twice as many bytes are those so far, plus that of the next power of two.
        word = ((word & low7) << 1) ^ ((word >> 7) & 0x01010101) * 0x1D
        of = t
        while int(of) < half:
            to[0] = of[0] ^ word
            to[1] = of[1] ^ word
            to[2] = of[2] ^ word
            to[3] = of[3] ^ word
            of = ptr32(int(of) + 16)
            to = ptr32(int(to) + 16)
        half = int(to)


@micropython.viper
def spread(quad: ptr32, source: ptr8, t: ptr32, length: int):
    """quad[i] ^= t[source[i]]: add `source` times four coefficients to four symbols."""
    end = int(source) + length
    while int(source) < end:
        quad[0] ^= t[source[0]]
        quad[1] ^= t[source[1]]
        quad[2] ^= t[source[2]]
        quad[3] ^= t[source[3]]
        quad[4] ^= t[source[4]]
        quad[5] ^= t[source[5]]
        quad[6] ^= t[source[6]]
        quad[7] ^= t[source[7]]
        source = ptr8(int(source) + 8)
        quad = ptr32(int(quad) + 32)


@micropython.viper
def spread_two(quad: ptr32, a: ptr8, t: ptr32, b: ptr8, length: int):
    """spread() of two sources, whose tables stand one behind the other: each word is touched once."""
    u = ptr32(int(t) + 1024)
    end = int(a) + length
    while int(a) < end:
        quad[0] ^= t[a[0]] ^ u[b[0]]
        quad[1] ^= t[a[1]] ^ u[b[1]]
        quad[2] ^= t[a[2]] ^ u[b[2]]
        quad[3] ^= t[a[3]] ^ u[b[3]]
        quad[4] ^= t[a[4]] ^ u[b[4]]
        quad[5] ^= t[a[5]] ^ u[b[5]]
        quad[6] ^= t[a[6]] ^ u[b[6]]
        quad[7] ^= t[a[7]] ^ u[b[7]]
        a = ptr8(int(a) + 8)
        b = ptr8(int(b) + 8)
        quad = ptr32(int(quad) + 32)


@micropython.viper
def put(quad: ptr8, lane: int, source: ptr8, length: int):
    """Make `source` the symbol in one lane."""
    to = ptr8(int(quad) + lane)
    end = int(source) + length
    while int(source) < end:
        to[0] = source[0]
        to[4] = source[1]
        to[8] = source[2]
        to[12] = source[3]
        source = ptr8(int(source) + 4)
        to = ptr8(int(to) + 16)


@micropython.viper
def get(quad: ptr8, lane: int, to: ptr8, length: int):
    """Copy the symbol in one lane to `to`."""
    of = ptr8(int(quad) + lane)
    end = int(to) + length
    while int(to) < end:
        to[0] = of[0]
        to[1] = of[4]
        to[2] = of[8]
        to[3] = of[12]
        of = ptr8(int(of) + 16)
        to = ptr8(int(to) + 4)
