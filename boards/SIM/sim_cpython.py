"""What a board's MicroPython has and CPython lacks, for the fall-back without MicroPython."""

import asyncio
import gc
import select
import socket
import time


def install():
    time.ticks_ms = lambda: time.monotonic_ns() // 1000000
    time.ticks_us = lambda: time.monotonic_ns() // 1000
    time.ticks_diff = lambda new, old: new - old
    time.sleep_ms = lambda duration_ms: time.sleep(duration_ms / 1000)
    time.sleep_us = lambda duration_us: time.sleep(duration_us / 1000000)
    gc.mem_alloc = lambda: 0
    asyncio.sleep_ms = lambda duration_ms: asyncio.sleep(duration_ms / 1000)


def recv(sock, buf, _size, timeout_ms):
    """As sim_recv.recv, with the socket for its descriptor and milliseconds (None: for ever) as flags."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    while poll.poll(timeout_ms):
        try:
            return sock.recv_into(buf, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:  # what was there was damaged
            pass
    return -1


def flags(_sock, timeout_ms):
    """What recv() wants for such a wait."""
    return timeout_ms


def is_timeout():
    """Why recv() gave -1."""
    return True
