"""The field GF(256): bytes under the polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11d), generator x.

Addition is XOR. 0x11d is the polynomial of most Reed-Solomon codes (RFC 5510 section 8.1).
"""

POLYNOMIAL = 0x11D
REPAIR_FIRST = 128  # symbol numbers below are data, from here on repair


def _powers():
    """EXP[i] = x^i, twice over so that a sum of two logarithms needs no modulo; LOG its inverse."""
    exp = bytearray(510)
    log = bytearray(256)
    value = 1
    for i in range(255):
        exp[i] = exp[i + 255] = value
        log[value] = i
        value <<= 1
        if value & 0x100:
            value ^= POLYNOMIAL
    return exp, log


EXP, LOG = _powers()


def mul(a: int, b: int) -> int:
    """The product of two elements 0..255."""
    if a == 0 or b == 0:
        return 0
    return EXP[LOG[a] + LOG[b]]


def inverse(a: int) -> int:
    """1/a for 1..255; 0 has none (ZeroDivisionError)."""
    if a == 0:
        raise ZeroDivisionError("1/0 in GF(256)")
    return EXP[255 - LOG[a]]


def _cauchy():
    """Filled in place: on a board a list of so many numbers would be as long as a block."""
    table = bytearray(256)
    for x in range(REPAIR_FIRST, 256):
        table[x] = inverse(x)
    return table


# The coefficient of data symbol j in repair symbol s is CAUCHY[s ^ j]. As s has bit 7 and j has not, the
# index is never below 128 for a pair of them; the zeros there make the coefficient of "no symbol" (s = 0) 0.
CAUCHY = _cauchy()
