"""UDP sockets of a PC that behave like an ESP32's (facts: esp32-micropython sections 1 and 6).

Bridged: ("ip", port) addresses; timeouts in 100 ms steps, one more than asked for; below one step
a timeout is EAGAIN (None, or the bytes so far, from readinto), from one step on ETIMEDOUT (what
came is lost); readinto fills its buffer before it returns; an empty datagram deafens the socket;
the queue is short; joining takes 8 bytes and there is no leaving. On top:
the radio's loss of multicast.
"""

import errno
import os
import random
import select
import socket as _host
import sys

import sim_filter
import sim_world

if sys.implementation.name == "cpython":
    import sim_cpython as sim_recv
else:
    import sim_recv

AF_INET = _host.AF_INET
SOCK_DGRAM = _host.SOCK_DGRAM
SOL_SOCKET = 1
SO_REUSEADDR = 2
IPPROTO_IP = 0
IP_ADD_MEMBERSHIP = 35

_ON_CPYTHON = sys.implementation.name == "cpython"
_recv = sim_recv.recv
_SO_RCVBUF = 8
_IP_MULTICAST_ALL = 49
_STEP_MS = 100
_len = len  # found at once: a builtin is looked for here first, where it is not
_FOREVER_MS = 1 << 29
# What Linux charges a queue for one datagram of some 1 KiB; setsockopt doubles its argument.
_SKB_BYTES = 2304
_HOST_QUEUE = 1024  # Linux gives what net.core.rmem_max allows, some 180 datagrams by default


def getaddrinfo(host, port):
    if _ON_CPYTHON:
        return [(AF_INET, SOCK_DGRAM, 0, "", (_host.gethostbyname(host), port))]
    raw = bytes(_host.getaddrinfo(host, port)[0][-1])
    return [(AF_INET, SOCK_DGRAM, 0, "", _unpack(raw))]


def _pack(address):
    """The host's form of ("ip", port): a packed sockaddr_in under MicroPython."""
    if _ON_CPYTHON:
        return address
    ip, port = address
    octets = [int(octet) for octet in (ip or "0.0.0.0").split(".")]
    return bytes([2, 0, port >> 8, port & 255] + octets) + bytes(8)


def _unpack(raw):
    if _ON_CPYTHON:
        return raw
    return "%d.%d.%d.%d" % tuple(raw[4:8]), raw[2] << 8 | raw[3]


counts = [0, 0]  # datagrams of this boot: read from sockets; come while the queue was full


def _overflowed(descriptor):
    """How many datagrams the host's kernel dropped because the queue of this socket was full."""
    try:
        inode = str(os.stat("/proc/self/fd/%d" % descriptor)[1])
        with open("/proc/net/udp") as file:
            for line in file:
                columns = line.split()
                if columns[9] == inode:
                    return int(columns[12])  # the socket's drops
    except (OSError, ValueError, IndexError):
        pass  # a host without them counts nothing
    return 0


class socket:
    """One UDP socket."""

    def __init__(self, family=AF_INET, kind=SOCK_DGRAM, proto=0):
        if kind != SOCK_DGRAM:
            raise OSError(errno.EINVAL, "only UDP")
        self._sock = _host.socket(AF_INET, SOCK_DGRAM)
        self._handle = self._sock if _ON_CPYTHON else self._sock.fileno()
        self._flags = sim_recv.flags(self._sock, None)
        queue = sim_world.settings["rx_queue"] or _HOST_QUEUE
        self._sock.setsockopt(SOL_SOCKET, _SO_RCVBUF, queue * _SKB_BYTES // 2)
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)
        self._wait = self._poll.poll if _ON_CPYTHON else self._poll.ipoll
        self._timeout_ms = _FOREVER_MS
        self._retries = 1
        self._new = True
        self._deaf = False
        self._joined = False
        self._lost_next = 0  # of 65536: how likely the radio loses the next datagram after one that came,
        self._lost_again = 0  # and after one that it lost
        self._is_bad = False
        self.lost = 0

    def fileno(self):
        return self._sock.fileno()

    def setsockopt(self, level, option, value):
        if option == IP_ADD_MEMBERSHIP:
            if len(value) != 8:
                raise ValueError("invalid arguments")
            self._join(value)
        elif option == SO_REUSEADDR:
            self._sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, value)

    def _join(self, membership):
        """A PC has many boards, each of which must hear only its own groups."""
        self._sock.setsockopt(IPPROTO_IP, IP_ADD_MEMBERSHIP, membership)
        self._sock.setsockopt(IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        self._joined = True
        loss = sim_world.settings["loss_1000"]
        burst = sim_world.settings["loss_burst"]
        self._lost_next = self._lost_again = (loss * 65536 + 999) // 1000
        if (
            burst > 1
        ):  # Gilbert's model: each lost datagram is the last of its burst with the chance 1 / burst
            self._lost_again = 65536 - 65536 // burst
            self._lost_next = loss * 65536 // ((1000 - loss) * burst)

    def bind(self, address):
        self._new = False
        if address[0] == "":
            self._sock.bind(_pack(("0.0.0.0", address[1])))
        else:
            self._sock.bind(_pack(address))

    def connect(self, address):
        self._new = False
        if self._joined:
            sim_filter.hear_only(self._sock, address)
        else:
            self._sock.connect(_pack(address))

    def settimeout(self, seconds):
        """As _socket_settimeout in ports/esp32/modsocket.c: whole steps, and one more."""
        self._retries = 1 if seconds is None else int(seconds * 1000) // _STEP_MS
        if seconds is None:
            self._timeout_ms = _FOREVER_MS
        elif seconds == 0:
            self._timeout_ms = 0
        else:
            self._timeout_ms = (self._retries + 1) * _STEP_MS
        self._flags = sim_recv.flags(self._sock, None if seconds is None else self._timeout_ms)

    def setblocking(self, blocking):
        self.settimeout(None if blocking else 0)

    def sendto(self, data, address):
        return self._sock.sendto(data, _pack(address))

    def send(self, data):
        return self._sock.send(data)

    def close(self):
        counts[1] += _overflowed(self._sock.fileno())
        self._sock.close()

    def _ready(self):
        """Wait for a datagram; False after the timeout. A socket neither bound nor connected cannot."""
        if self._new:
            raise OSError(errno.ENOTCONN, "ENOTCONN")
        for _event in self._wait(self._timeout_ms):
            return True
        return False

    def recvfrom(self, size):
        if self._deaf:
            return b"", ("0.0.0.0", 0)
        while self._ready():
            data, address = self._sock.recvfrom(size)
            counts[0] += 1
            if self._survives():
                self._deaf = len(data) == 0
                return data, _unpack(address)
        raise OSError(errno.ETIMEDOUT if self._retries else errno.EAGAIN, "timeout")

    def recv(self, size):
        return self.recvfrom(size)[0]

    def readinto(self, buf):
        """Bytes read, None after a short timeout, 0 for ever once an empty datagram came."""
        if self._deaf:
            return 0
        if self._new:
            raise OSError(errno.ENOTCONN, "ENOTCONN")
        full = _len(buf)
        length = _recv(self._handle, buf, full, self._flags)
        if length == full and not self._lost_next:
            counts[0] += 1
            return length
        return self._fill(buf, full, length)

    def _fill(self, buf, full, length):
        """Go on, from what the first recv() gave, until the buffer is full."""
        filled = 0
        rest = buf
        while length >= 0 or not sim_recv.is_timeout():
            if length == 0:
                self._deaf = True
                return filled
            if length > 0:
                counts[0] += 1
                if self._survives():
                    filled += length
                    if filled == full:
                        return filled
                    rest = memoryview(buf)[filled:]
            length = _recv(self._handle, rest, full - filled, self._flags)
        if self._retries:
            raise OSError(errno.ETIMEDOUT, "timeout")
        return filled or None

    def _survives(self):
        """False when the radio lost this datagram (multicast only: unicast is repeated by Wi-Fi)."""
        if self._lost_next:
            self._is_bad = random.getrandbits(16) < (self._lost_again if self._is_bad else self._lost_next)
            self.lost += self._is_bad
        return not self._is_bad
