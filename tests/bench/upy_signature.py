"""Runs under MicroPython for signature.py: `upy_signature.py LIB VECTORS ROUNDS` prints a line of JSON.

Each round times one pow(), one verify_pss(), one check_header() and one parse_header(), so that whatever else
the machine does hits all of them alike. The heap is collected before each, as no collection is part of them.
"""

import binascii
import gc
import hashlib
import json
import sys
import time

sys.path.insert(0, sys.argv[1])

from gapcast_core.container import SIGNED_BYTES, parse_header, signature_place
from gapcast_core.signature import EXPONENT, PublicKey, check_header, verify_pss

with open(sys.argv[2]) as file:
    vectors = json.load(file)
raw = binascii.unhexlify(vectors["header"]["bytes"])
modulus = binascii.unhexlify(vectors["keys"][vectors["header"]["key"]])
del vectors
key = PublicKey(modulus)
signature = signature_place(raw)[1]
digest = hashlib.sha256(raw[:SIGNED_BYTES]).digest()
number = int.from_bytes(signature, "big")


def one_pow():
    return pow(number, EXPONENT, key.modulus)


def one_verification():
    return verify_pss(key, digest, signature)


def one_check():
    return check_header(raw, [key])


def one_header():
    parse_header(raw)
    return check_header(raw, [key])


def timed(function):
    """Microseconds of one call."""
    gc.collect()
    before = time.ticks_us()
    good = function()
    spent = time.ticks_diff(time.ticks_us(), before)
    assert good
    return spent


def allocated(function):
    """Bytes of heap that one call takes, garbage included."""
    function()
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    function()
    taken = gc.mem_alloc() - before
    gc.enable()
    return taken


def median(values):
    return sorted(values)[len(values) // 2]


FUNCTIONS = {
    "pow": one_pow,
    "verify_pss": one_verification,
    "check_header": one_check,
    "parse_and_check": one_header,
}
times = {}
for name in FUNCTIONS:
    times[name] = []
for _round in range(int(sys.argv[3])):
    for name, function in FUNCTIONS.items():
        times[name].append(timed(function))
result = {}
for name, function in FUNCTIONS.items():
    ratios = [times[name][i] / times["pow"][i] for i in range(len(times[name]))]
    result[name] = {
        "us": median(times[name]),
        "ratio": median(ratios),
        "allocated_bytes": allocated(function),
    }
print(json.dumps(result))
