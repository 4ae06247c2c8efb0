"""A socket that hears one sender only, and goes on hearing its groups.

Linux gives a socket that is connected after it was bound to any address the one of the route, and from then
on groups are not for it. So this is not connect but a filter in the kernel (BPF, see socket(7)).
"""

import struct
import sys

_SOL_SOCKET = 1
_SO_ATTACH_FILTER = 26
_SOURCE_IP = 0xFFF0000C  # relative to the IP header
_LOAD_WORD = 0x20
_LOAD_HALF = 0x28
_IF_EQUAL = 0x15
_RETURN = 0x06


def _instruction(code, operand, if_false=0):
    return struct.pack("@HBBI", code, 0, if_false, operand)


def hear_only(sock, address):
    """Drop what does not come from ("ip", port)."""
    source = 0
    for octet in address[0].split("."):
        source = source << 8 | int(octet)
    program = _instruction(_LOAD_WORD, _SOURCE_IP)
    program += _instruction(_IF_EQUAL, source, 3)
    program += _instruction(_LOAD_HALF, 0)  # of the UDP header: the source port
    program += _instruction(_IF_EQUAL, address[1], 1)
    program += _instruction(_RETURN, 0xFFFF)
    program += _instruction(_RETURN, 0)
    if sys.implementation.name == "cpython":
        import ctypes

        keep = ctypes.create_string_buffer(program)
        place = ctypes.addressof(keep)
    else:
        import uctypes

        keep = program
        place = uctypes.addressof(keep)
    sock.setsockopt(_SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HL", len(program) // 8, place))
    assert keep
