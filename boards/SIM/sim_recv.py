"""recv(2) of the host: one system call for a datagram and for the wait before it. MicroPython only.

Its own sockets take three: to find that there is nothing, to wait, and to read. Fifty boards share the cores
of a PC.
"""

import errno
import os
import struct

import ffi

_MSG_DONTWAIT = 0x40
_SOL_SOCKET = 1
_SO_RCVTIMEO = 20
_EINTR = 4

recv = ffi.open(None).func("l", "recv", "ipli")  # descriptor, buffer, its bytes, flags: bytes read, or -1
_errno = os.errno


def set_timeout(sock, timeout_ms):
    """So long recv() waits at this socket, None is for ever; the flags that it wants for that."""
    if timeout_ms == 0:
        return _MSG_DONTWAIT
    seconds, left_ms = divmod(timeout_ms or 0, 1000)
    sock.setsockopt(_SOL_SOCKET, _SO_RCVTIMEO, struct.pack("@ll", seconds, left_ms * 1000))
    return 0


def is_timeout():
    """Why recv() gave -1: its time was up (True), or a signal came (False). Raises OSError for all else."""
    number = _errno()
    if number not in (errno.EAGAIN, _EINTR):
        raise OSError(number)
    return number == errno.EAGAIN
