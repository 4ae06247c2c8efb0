"""A hostile host: UDP datagrams with any source address and port, and ears for what it may overhear.

Raw sockets inside a lab's namespaces only. What it sends is counted, what it hears is bounded, and
everything it does runs in a thread that ends with the attack.
"""

from __future__ import annotations

import contextlib
import ctypes
import queue
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from interop.lab import Lab

Address = tuple[str, int]
_CLONE_NEWNET = 0x40000000  # linux/sched.h; os.setns came with Python 3.12
_IP_BYTES = 20
_HEADERS_BYTES = 28
_DONT_FRAGMENT = 0x4000
_TTL = 8  # nobody else's in a lab: by it an ear knows what was forged
_EAR_BUFFER_BYTES = 4 << 20
_EAR_POLL_S = 0.05
RRQ, WRQ, DATA, ACK, ERROR, OACK = range(1, 7)


def in_namespace(lab: Lab, index: int, kind: int, protocol: int) -> socket.socket:
    """A socket of host `index`: it belongs for ever to the namespace its thread was in when it was made."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as own, open(f"/run/netns/{lab.hosts[index]}") as other:
        try:
            if libc.setns(other.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns {lab.hosts[index]}")
            return socket.socket(socket.AF_INET, kind, protocol)
        finally:
            libc.setns(own.fileno(), _CLONE_NEWNET)


def packet(source: Address, target: Address, payload: bytes) -> bytes:
    """One IPv4 packet. The kernel fills in its identification and checksum (raw(7)); UDP goes without."""
    size = _HEADERS_BYTES + len(payload)
    hosts = socket.inet_aton(source[0]) + socket.inet_aton(target[0])
    ip = struct.pack("!BBHHHBBH", 0x45, 0, size, 0, _DONT_FRAGMENT, _TTL, socket.IPPROTO_UDP, 0)
    udp = struct.pack("!HHHH", source[1], target[1], size - _IP_BYTES, 0)
    return ip + hosts + udp + payload


class Forger:
    """Sends in anybody's name from host `index`."""

    def __init__(self, lab: Lab, index: int) -> None:
        self.address = lab.address(index)
        self.datagrams = 0
        self.payload_bytes = 0
        self._sock = in_namespace(lab, index, socket.SOCK_RAW, socket.IPPROTO_RAW)
        own = socket.inet_aton(self.address)
        self._sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)

    def send(self, source: Address, target: Address, payload: bytes) -> None:
        """One datagram; one that the full queue of the interface refuses is lost, as on any network."""
        try:
            self._sock.sendto(packet(source, target, payload), target)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != 105:  # ENOBUFS
                raise
            return
        self.datagrams += 1
        self.payload_bytes += len(payload)

    def close(self) -> None:
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Heard:
    """One UDP datagram that arrived."""

    source: Address
    target: Address
    payload: bytes

    @property
    def opcode(self) -> int:
        return int.from_bytes(self.payload[:2], "big")

    @property
    def number(self) -> int:
        return int.from_bytes(self.payload[2:4], "big")


class Ear:
    """What arrives at host `index` by UDP, whatever the port: on the air anybody may listen to it.

    With `join` the host is a member of that multicast group too.
    """

    def __init__(self, lab: Lab, index: int) -> None:
        self._sock = in_namespace(lab, index, socket.SOCK_RAW, socket.IPPROTO_UDP)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _EAR_BUFFER_BYTES)
        self._sock.settimeout(_EAR_POLL_S)
        self._interface = socket.inet_aton(lab.address(index))

    def join(self, group: str) -> None:
        """Become a member of the multicast group, as anybody may."""
        membership = socket.inet_aton(group) + self._interface
        with contextlib.suppress(OSError):  # already
            self._sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)

    def hear(self) -> Heard | None:
        """The next datagram that is not a forger's own; None after a moment of silence."""
        try:
            raw = self._sock.recv(65536)
        except TimeoutError:
            return None
        if raw[8] == _TTL:
            return None
        at = (raw[0] & 15) * 4
        source_port, target_port = struct.unpack_from("!HH", raw, at)
        hosts = socket.inet_ntoa(raw[12:16]), socket.inet_ntoa(raw[16:20])
        return Heard((hosts[0], source_port), (hosts[1], target_port), raw[at + 8 :])

    def close(self) -> None:
        self._sock.close()


class Attack:
    """Runs `step` again and again in a thread while the block lasts; its exception is the block's."""

    def __init__(self, step: Callable[[], None]) -> None:
        self._step = step
        self._ended = threading.Event()
        self._error: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                self._step()
        except BaseException as error:
            self._error.put(error)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        """No more of it."""
        self._ended.set()
        self._thread.join(20)
        assert not self._thread.is_alive(), "the attack does not end"

    def __exit__(self, *_exc: object) -> None:
        self.stop()
        if not self._error.empty():
            raise self._error.get()


class Metronome:
    """So many times a second, however long each takes; what was missed is made up for, up to a burst."""

    def __init__(self, per_s: float, burst: int = 50) -> None:
        self._every_s = 1 / per_s
        self._slack_s = burst * self._every_s
        self._next = time.monotonic()

    def wait(self) -> None:
        """Until the next beat."""
        now = time.monotonic()
        self._next = max(self._next + self._every_s, now - self._slack_s)
        if self._next > now:
            time.sleep(self._next - now)


def numbered(opcode: int, number: int, payload: bytes = b"") -> bytes:
    """DATA, ACK or ERROR."""
    return struct.pack("!HH", opcode, number & 0xFFFF) + payload


def worded(opcode: int, *words: str | bytes) -> bytes:
    """RRQ, WRQ or OACK."""
    encoded = [word.encode() if isinstance(word, str) else word for word in words]
    return struct.pack("!H", opcode) + b"".join(word + b"\0" for word in encoded)


def strangers(prefix: str, seed: int) -> Iterator[Address]:
    """Addresses out of a /16 such as "10.99", each with a random port, without end."""
    chance = random.Random(seed)
    while True:
        yield f"{prefix}.{chance.randrange(256)}.{chance.randrange(1, 255)}", chance.randrange(1024, 65536)
