"""Every difference between the runtimes a board may have, in this one file.

Facts about the ESP32 port that shape it (shared by all ESP32-class chips):
readinto is the only receive that allocates nothing, and it returns only when the buffer is
full or the timeout has passed; timeouts come in steps of 100 ms; a timeout below one step is
None, a longer one an exception; an empty datagram deafens a socket for good; there is no leaving of a group.
"""

import errno
import gc
import os
import random
import select
import socket
import sys
import time

# Below the ESP32's step of 100 ms: it then waits one step and readinto gives None, or what it has
# so far. From 0.1 on it would raise ETIMEDOUT, and lose the count of a short datagram.
READ_TIMEOUT_S = 0.05
NO_WAIT = 0  # a timeout: what is not there at once is EAGAIN
DEAF = -1  # frames(): this socket will never hear again, open a new one
_CONTROL_BYTES = 512
_SMALL_HEAP_BYTES = 256 * 1024
_COLLECT_BYTES = 6144

_QUIET_ERRNOS = (errno.ETIMEDOUT, errno.EAGAIN, errno.ECONNREFUSED)
_IP_ADD_MEMBERSHIP = getattr(socket, "IP_ADD_MEMBERSHIP", 35)

# Functions of their own would only cost calls. CPython has none of these, unless it plays a board.
ticks_us = getattr(time, "ticks_us", None)  # a moment; wraps
ticks_diff = getattr(time, "ticks_diff", None)  # (later, earlier): the time between two of them
_ticks_ms = getattr(time, "ticks_ms", None)


class Clock:
    """Milliseconds since power-on as a plain growing int (ticks_ms wraps)."""

    def __init__(self):
        self._last = time.ticks_ms()
        self._now_ms = 0

    def now_ms(self):
        ticks = _ticks_ms()
        self._now_ms = now_ms = self._now_ms + ticks_diff(ticks, self._last)
        self._last = ticks
        return now_ms


def sleep_ms(duration_ms):
    time.sleep_ms(duration_ms)


def random_16():
    """A random number 0..65535, different on each board."""
    raw = os.urandom(2)
    return raw[0] << 8 | raw[1]


def random_below(limit):
    return random.getrandbits(16) % limit


def has_free(size_bytes):
    """Whether so much of the heap is free, after a collection if need be."""
    if not hasattr(gc, "mem_free") or gc.mem_free() >= size_bytes:
        return True
    gc.collect()
    return gc.mem_free() >= size_bytes


def collect():
    """Tidy the heap between phases, so the collector stays out of the receive loop."""
    gc.collect()


def collect_often(often):
    """Whether the collector comes after so few bytes that what lives long stays together.

    Otherwise it comes when the heap is full, and what was allocated last before that, at its end, splits what
    is free then. Only in a small heap: in PSRAM one collection takes a tenth of a second and more.
    """
    if hasattr(gc, "threshold") and (not often or gc.mem_alloc() + gc.mem_free() < _SMALL_HEAP_BYTES):
        gc.threshold(_COLLECT_BYTES if often else -1)


def drop(*names):
    """Give the memory of modules back that are done with; an import loads them again.

    On CPython a module stays: its heap is not 100 KB, and tests look at it.
    """
    if sys.implementation.name != "micropython":
        return
    loaded = False
    for name in names:
        loaded = sys.modules.pop(name, None) is not None or loaded
        package, _dot, module = name.partition(".")
        if hasattr(sys.modules.get(package), module):
            delattr(sys.modules[package], module)
    if loaded:
        gc.collect()


def resolve(host, port):
    """("ip", port) of a host name or address. Raises OSError."""
    return socket.getaddrinfo(host, port)[0][-1]


def open_udp(local_ip, timeout_s=READ_TIMEOUT_S):
    """A UDP socket on an ephemeral port, with the read timeout set; NO_WAIT for one that never waits."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((local_ip, 0))
    sock.settimeout(timeout_s)
    return sock


def open_group(groups, port, interface_ip, source):
    """A socket that hears these groups at `port`, from the address `source` only.

    Connecting it makes the network stack itself discard foreign senders, so the receive loop
    can use readinto, which does not tell the sender.
    """
    sock = _joined(groups, port, interface_ip)
    sock.connect(source)
    sock.settimeout(READ_TIMEOUT_S)
    return sock


def open_public(group, port, interface_ip):
    """A socket that hears this group at `port`, from anybody, and never waits."""
    sock = _joined((group,), port, interface_ip)
    sock.settimeout(NO_WAIT)
    return sock


def _joined(groups, port, interface_ip):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", port))
        for group in groups:
            sock.setsockopt(0, _IP_ADD_MEMBERSHIP, _ip_bytes(group) + _ip_bytes(interface_ip))
    except OSError:
        sock.close()
        raise
    return sock


def frames(sock, buf):
    """At each next() reads one frame into `buf`: its bytes, 0 after a timeout, or DEAF.

    A generator because it keeps its state: a function with this `try` would allocate its own at every call.
    """
    while True:
        try:
            length = sock.readinto(buf)
        except OSError as exc:
            if exc.errno not in _QUIET_ERRNOS:
                raise
            length = None
        yield 0 if length is None else length or DEAF


def datagrams(sock, buf):
    """As frames(), but exactly one datagram each, which costs allocations.

    For a file whose size is not known: only here a short frame shows where it ends.
    """
    while True:
        data, _address = read_from(sock, len(buf))
        if data is None:
            yield 0
        else:
            buf[: len(data)] = data
            yield len(data) or DEAF


def read_from(sock, size_bytes):
    """(datagram, address), or (None, None) after a timeout. For handshakes only: allocates."""
    try:
        data, address = sock.recvfrom(size_bytes)
    except OSError as exc:
        if exc.errno in _QUIET_ERRNOS:
            return None, None
        raise
    return data, address


def send(sock, data):
    """Send on a connected socket; what the network refuses now is repeated by a timer later."""
    try:
        sock.send(data)
    except OSError:
        pass


class Waiting:
    """Whether a datagram waits in a socket."""

    def __init__(self, sock):
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def now(self):
        """Looks, and waits for nothing."""
        for _ready in self._poll.ipoll(0):
            return True
        return False


class ControlPort:
    """A socket that is looked at now and then, without waiting."""

    def __init__(self, sock):
        self.sock = sock
        self.deaf = False  # for ever: an empty datagram came
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def read(self):
        """The next waiting datagram, or None. An empty one deafens it: then None for ever."""
        for _ready in self._poll.ipoll(0):
            return self._receive()
        return None

    def _receive(self):
        try:
            data = self.sock.recv(_CONTROL_BYTES)
        except OSError:
            return None
        if not data:
            self.deaf = True
            return None
        return data

    def close(self):
        self._poll.unregister(self.sock)
        self.sock.close()


def _ip_bytes(text):
    return bytes([int(octet) for octet in text.split(".")])
