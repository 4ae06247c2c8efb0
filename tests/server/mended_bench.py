"""A server, boards that are mended, and the air between them, in virtual time."""

from __future__ import annotations

import random

from gapcast.protocol.settings import Settings
from gapcast.protocol.types import HEADERS_BYTES
from gapcast_core import wire

from .clients import Client
from .mended_board import MendedBoard
from .virtual import GROUP, MAIN, Link, Net, VirtualServer

REPAIR = ("239.194.7.7", GROUP[1])
RATE = 6e6


def content(blocks: int) -> bytes:
    return random.Random(blocks).randbytes(blocks * 1024)


def radio(loss: float, seed: object, delay: tuple[float, float] = (0.0005, 0.0015)) -> Link:
    """Loses DATA to groups; what is unicast is repeated by Wi-Fi, and repairs come from other ports."""
    rng = random.Random(f"{seed}")
    return Link(delay=delay, drop=lambda data: data[1] == wire.OP_DATA and rng.random() < loss)


class Bench:
    """A server and its clients."""

    def __init__(self, blocks: int, seed: int = 1, rate: float = RATE) -> None:
        self.net = Net(seed)
        self.seed = seed
        self.data = content(blocks)
        self.server = VirtualServer(self.net, self.data, rate, Settings(rate_bps=rate))
        self.clients: list[Client] = []
        self.finished = 0.0

    def boards(
        self, count: int, loss: float, capacity: int = 20, decode: bool = False, **link: tuple[float, float]
    ) -> list[MendedBoard]:
        truth = None if decode else self.data
        first = len(self.clients) + 1
        made = [
            MendedBoard(
                self.net, number, len(self.data), radio(loss, (self.seed, number), **link), capacity, truth
            )
            for number in range(first, first + count)
        ]
        self.clients += made
        return made

    def play(self, seconds: float = 60.0) -> None:
        for index, client in enumerate(self.clients):
            self.net.at(self.net.now + index * 0.001, client.start)
        start = self.net.now
        self.net.run(seconds, until=lambda: all(client.done or client.dead for client in self.clients))
        self.finished = self.net.now - start
        for client in self.clients:
            assert client.dead or client.bytes() == self.data, client.address

    def over(self) -> None:
        assert self.server.session is not None
        machine = self.server.session.machine
        self.net.run(60, until=lambda: machine.closed)
        assert machine.closed
        assert machine.deadline() is None

    def sent_bytes(self, to: tuple[str, int] | None = None) -> int:
        return sum(
            len(data) + HEADERS_BYTES
            for _when, source, target, data in self.net.sent
            if source[0] == MAIN[0] and (to is None or target == to)
        )

    @property
    def air(self) -> float:
        return self.sent_bytes() / len(self.data)

    @property
    def symbols(self) -> int:
        return sum(target == REPAIR for _when, _source, target, _data in self.net.sent)


def outcomes(bench: Bench) -> set[str]:
    return {event.outcome for event in bench.server.events("member_done")}
