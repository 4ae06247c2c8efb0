"""Runs under MicroPython for test_forged.py: `upy_judge.py LIB FILE` prints each case's reasons in a line.

FILE: a public key's modulus, then the cases, each after its length (u16, big-endian).
"""

import struct
import sys

sys.path.insert(0, sys.argv[1])

from gapcast_core.appimage import head_fault
from gapcast_core.container import parse_header
from gapcast_core.errors import PeerError
from gapcast_core.signature import PublicKey, check_header


def reason_of(function, *arguments):
    try:
        function(*arguments)
    except PeerError as error:
        return error.reason
    return "taken"


with open(sys.argv[2], "rb") as file:
    keys = [PublicKey(file.read(384))]
    while True:
        length = file.read(2)
        if not length:
            break
        case = file.read(struct.unpack(">H", length)[0])
        parsed = reason_of(parse_header, case)
        fault = head_fault(parse_header(case).image_head, 0) if parsed == "taken" else "-"
        print(parsed, fault, reason_of(check_header, case, keys), reason_of(check_header, case, keys, True))
