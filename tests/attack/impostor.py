"""Somebody who overhears boards and server, and speaks in the name of either."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gapcast.image.build import Container
from interop.lab import Lab
from interop.peers import OurServer

from .fleet import Fleet
from .forger import ACK, DATA, ERROR, OACK, RRQ, Address, Ear, Forger, Heard, numbered, worded

BOARDS = 6
VICTIMS = 3  # hosts 1 to 3; the others are bystanders
ATTACKER = BOARDS + 1
STALL_MS = 8000  # how long an update may stand still; the default is a minute


@dataclass
class Bench:
    """Hosts of boards and an attacker, a server, a signed image, and a header that nobody trusts."""

    lab: Lab
    server: OurServer
    container: Container
    evil_header: bytes
    key: str
    folder: Path
    runs: int = 0

    def fleet(self, stall_ms: int = STALL_MS) -> Fleet:
        """New boards, that have their factory image."""
        self.runs += 1
        return Fleet(
            self.lab, range(1, BOARDS + 1), self.folder / f"run{self.runs}", "fw", self.key, stall_ms=stall_ms
        )

    @property
    def blocks(self) -> int:
        return len(self.container.data) // 1024

    def is_victim(self, host: str) -> bool:
        return host in [self.lab.address(index) for index in range(1, VICTIMS + 1)]


Reply = Callable[["Impostor", Heard], Iterator[tuple[Address, Address, bytes]]]


class Impostor:
    """Overhears what boards say to the server, as anybody on the air may, and speaks in another's name."""

    def __init__(self, bench: Bench, reply: Reply, everybody: bool = False) -> None:
        self.bench = bench
        self.own = (bench.lab.address(ATTACKER), 4444)
        self.chance = random.Random(9)
        self.master = ""  # the host that asked for the stream first
        self.hit: set[str] = set()  # hosts, for those who strike but once
        self._everybody = everybody
        self._reply = reply
        self._forger = Forger(bench.lab, ATTACKER)
        self._ear = Ear(bench.lab, 0)

    @property
    def forged(self) -> int:
        return self._forger.datagrams

    def step(self) -> None:
        """Hear one datagram to the server; answer it if its sender is to suffer."""
        heard = self._ear.hear()
        if heard is None or heard.target[0] != self.bench.lab.address(0):
            return
        if heard.opcode == RRQ and b"\0multicast\0" in heard.payload and not self.master:
            self.master = heard.source[0]
        if self._everybody or self.bench.is_victim(heard.source[0]):
            for source, target, payload in self._reply(self, heard):
                self._forger.send(source, target, payload)

    def close(self) -> None:
        self._ear.close()
        self._forger.close()

    def tid(self, heard: Heard) -> Address:
        """Where the server's answer comes from: its TID, or one that nobody has seen yet."""
        if heard.opcode == RRQ:
            return heard.target[0], self.chance.randrange(32768, 61000)
        return heard.target

    def nonsense(self) -> list[bytes]:
        """Everything that a server might say, none of it true."""
        group = ["multicast", f"239.192.66.6,{self.chance.randrange(1024, 65536)},1", "ranges", ""]
        sizes = ["blksize", "1024", "tsize", str(self.bench.container.header.container_bytes)]
        code = self.chance.choice((0, 4, 5, 8))
        return [
            numbered(ERROR, code, b"go away\0"),
            worded(OACK, *sizes, *group),
            worded(OACK, "multicast", ",,0"),
            worded(OACK, "multicast", ",,1"),
            worded(OACK, "multicast", ",,1", "ranges", f"1-{self.bench.blocks}"),
            worded(OACK, "blksize", "8", "tsize", "4294967295"),
            worded(OACK, "blksize", "65464", "tsize", "1"),
            numbered(ACK, self.chance.randrange(65536)),
            numbered(DATA, self.chance.randint(0, self.bench.blocks), bytes(1024)),
            numbered(DATA, self.bench.blocks, b""),
            numbered(OACK, 0),
        ]
