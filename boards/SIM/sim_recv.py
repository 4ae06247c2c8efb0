"""recv(2) of the host: one system call for a datagram and for the wait before it. MicroPython only.

Its own sockets take three: to find that there is nothing, to wait, and to read. Fifty boards share the cores
of a PC.
"""

import os
import struct

import ffi
from micropython import const

_MSG_DONTWAIT = const(0x40)
_SOL_SOCKET = const(1)
_SO_RCVTIMEO = const(20)
_EINTR = const(4)
_EAGAIN = const(11)

recv = ffi.open(None).func("l", "recv", "ipli")  # descriptor, buffer, its bytes, flags: bytes read, or -1


def flags(sock, timeout_ms):
    """So long recv() waits at this socket, None is for ever; the flags that it wants for that."""
    if timeout_ms is None:
        wait_us = 0
    else:
        wait_us = 1000 * timeout_ms or 1  # MicroPython's own recv has no flags: what was ready may be damaged
    timeval = struct.pack("@ll", wait_us // 1000000, wait_us % 1000000)
    sock.setsockopt(_SOL_SOCKET, _SO_RCVTIMEO, timeval)
    return _MSG_DONTWAIT if timeout_ms == 0 else 0


def is_timeout():
    """Why recv() gave -1: its time was up (True), or a signal came (False). Raises OSError for all else."""
    number = os.errno()
    if number not in (_EAGAIN, _EINTR):
        raise OSError(number)
    return number == _EAGAIN
