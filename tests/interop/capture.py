"""What was on the air: a tcpdump on one host, and its file read back."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from . import needs
from .lab import NETWORK, Lab
from .peers import wait_until

_MAGIC = 0xA1B2C3D4  # microseconds, this machine's byte order
_IP_AT = 14  # behind the Ethernet header
_UDP_AT = _IP_AT + 20
_LAST = b"the last datagram of this capture"
_DISCARD_PORT = 9
DATA = 3
OACK = 6


@dataclass(frozen=True)
class Frame:
    """One UDP datagram."""

    time_s: float
    source: tuple[str, int]
    target: tuple[str, int]
    payload: bytes

    @property
    def opcode(self) -> int:
        return int.from_bytes(self.payload[:2], "big")

    @property
    def number(self) -> int:
        """The block number of a DATA or an ACK."""
        return int.from_bytes(self.payload[2:4], "big")

    @property
    def to_group(self) -> bool:
        return 224 <= int(self.target[0].split(".")[0]) < 240


class Capture:
    """All UDP of host `index`, both ways."""

    def __init__(self, lab: Lab, index: int, path: Path) -> None:
        self.path = path
        self._lab = lab
        self._index = index
        self._log = path.with_suffix(".log")
        argv = (needs.program("tcpdump"), "-i", "eth0", "-n", "-s", "0", "-B", "16384", "-Z", "root")
        options = ("--immediate-mode", "-U", "-w", str(path), "udp")
        self._process = lab.start(index, *argv, *options, log=self._log)
        wait_until(lambda: "listening on" in self._log.read_text(), "tcpdump listens")

    def stop(self) -> list[Frame]:
        """End it; what it saw."""
        with self._lab.socket(self._index) as last:
            last.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            last.sendto(_LAST, (f"{NETWORK}.255", _DISCARD_PORT))
        wait_until(lambda: _LAST in self._tail(), "tcpdump has written all")
        self._process.terminate()
        self._process.wait(20)
        assert "\n0 packets dropped by kernel" in self._log.read_text()
        return [frame for frame in read(self.path) if frame.target[1] != _DISCARD_PORT]

    def _tail(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - 4096))
            return file.read()


def read(path: Path) -> list[Frame]:
    """The UDP datagrams of a pcap file of Ethernet frames."""
    raw = path.read_bytes()
    assert struct.unpack_from("=I", raw)[0] == _MAGIC
    frames = []
    at = 24
    while at < len(raw):
        seconds, micros, size, _ = struct.unpack_from("=IIII", raw, at)
        packet = raw[at + 16 : at + 16 + size]
        at += 16 + size
        source, target = (socket.inet_ntoa(packet[_IP_AT + n : _IP_AT + n + 4]) for n in (12, 16))
        ports = struct.unpack_from("!HH", packet, _UDP_AT)
        payload = packet[_UDP_AT + 8 : _UDP_AT + struct.unpack_from("!H", packet, _UDP_AT + 4)[0]]
        frames.append(Frame(seconds + micros / 1e6, (source, ports[0]), (target, ports[1]), payload))
    return frames


def longest_stall(frames: list[Frame]) -> float:
    """The longest time in seconds without a new block to a group: the server's probes do not count.

    The stream's group is the one with the most blocks: headers have others.
    """
    groups: dict[tuple[str, int], dict[int, float]] = {}
    for frame in frames:
        if frame.to_group and frame.opcode == DATA:
            groups.setdefault(frame.target, {}).setdefault(frame.number, frame.time_s)
    stream = max(groups.values(), key=len)
    return max(later - earlier for earlier, later in pairwise(sorted(stream.values())))
