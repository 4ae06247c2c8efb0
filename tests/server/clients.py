"""Scripted clients for virtual.py: RFC 1350/7440 readers, three kinds of RFC 2090 clients, a board."""

from __future__ import annotations

from abc import ABC, abstractmethod

from gapcast.protocol.types import Address
from gapcast_core import options, wire

from .virtual import MAIN, Link, Net

SHORT_S = 0.7
OACK = wire.OP_OACK


class Client(ABC):
    """Sends an RRQ; subclasses answer. Everything it sends passes its own lossy link too."""

    def __init__(
        self, net: Net, number: int, pairs: list[tuple[str, str]], link: Link | None = None, port: int = 5000
    ) -> None:
        self.net = net
        self.address: Address = (f"10.0.1.{number}", port)
        self.link = link or Link()
        self.pairs = pairs
        self.server: Address | None = None
        self.blocks: dict[int, bytes] = {}
        self.done = False
        self.dead = False
        self.errors: list[str] = []
        self._timer = 0
        net.attach(self.address, self._receive, self.link)

    def start(self) -> None:
        self.request(self.pairs)
        self.rearm()

    def request(self, pairs: list[tuple[str, str]]) -> None:
        self._transmit(wire.pack_request(wire.OP_RRQ, "f", pairs), MAIN)

    def ack(self, number: int) -> None:
        assert self.server is not None
        self._transmit(wire.pack_ack(number), self.server)

    def _transmit(self, data: bytes, to: Address) -> None:
        if not self.dead and self.net.random.random() >= self.link.loss:
            self.net.send(data, self.address, to)

    def die(self) -> None:
        """Power cut: the address stays silent, without ICMP."""
        self.dead = True

    def leave(self) -> None:
        """The socket is closed: ICMP port unreachable from now on."""
        self.dead = True
        self.net.detach(self.address)

    def rearm(self, seconds: float = SHORT_S) -> None:
        self._timer += 1
        timer = self._timer
        self.net.at(self.net.now + seconds, lambda: self._expire(timer))

    def _expire(self, timer: int) -> None:
        if timer == self._timer and not self.dead and not self.done:
            self.timeout()
            self.rearm()

    def timeout(self) -> None:
        """Nothing was heard."""
        if self.server is None:
            self.request(self.pairs)

    def _receive(self, data: bytes, source: Address) -> None:
        if self.dead:
            return
        if data[1] == wire.OP_ERROR:
            self.errors.append(wire.parse_error(data)[1])
            return
        self.receive(data, source)

    @abstractmethod
    def receive(self, data: bytes, source: Address) -> None:
        """A datagram that is no ERROR."""

    def bytes(self) -> bytes:
        return b"".join(self.blocks[number] for number in sorted(self.blocks))


class Reader(Client):
    """A unicast client: lock-step, or RFC 7440 with a window."""

    def __init__(
        self,
        net: Net,
        number: int,
        blksize: int = 512,
        window: int = 1,
        link: Link | None = None,
        pairs: list[tuple[str, str]] | None = None,
        port: int = 5000,
    ) -> None:
        asked = pairs
        if asked is None:
            asked = [] if blksize == 512 else [("blksize", str(blksize))]
            if window > 1:
                asked.append(("windowsize", str(window)))
        super().__init__(net, number, asked, link, port)
        self.blksize = blksize
        self.window = window
        self.last = 0
        self.acks = 0
        self.say_goodbye = True  # send the last ACK

    def timeout(self) -> None:
        super().timeout()
        if self.server is not None:
            self.ack(self.last)

    def receive(self, data: bytes, source: Address) -> None:
        if self.server is None:
            self.server = source
        if source != self.server:
            return
        self.rearm()
        if data[1] == OACK:
            self.oack = wire.parse_oack(data)
            self.window = int(wire.option(self.oack, "windowsize") or 1)
            self.ack(0)
            return
        number = self.last + 1
        if (data[2] << 8 | data[3]) != number & 0xFFFF:
            if self.window > 1 or self.done:
                self.ack(self.last)
            return
        self.last = number
        self.blocks[number] = bytes(data[4:])
        self.done = self.done or len(data) - 4 < self.blksize
        if self.done and not self.say_goodbye:
            return
        if self.done or number % self.window == 0:
            self.ack(number)


class Stock(Client):
    """An RFC 2090 client.

    kind: "atftp" is a silent listener, "edk2" ACKs each OACK, "ipxe" leaves without a word.
    """

    def __init__(
        self, net: Net, number: int, size: int, kind: str = "atftp", link: Link | None = None
    ) -> None:
        super().__init__(net, number, [("multicast", ""), ("blksize", "1024")], link)
        self.kind = kind
        self.total = size // 1024 + 1
        self.master = False

    def first_hole(self) -> int:
        number = 1
        while number in self.blocks:
            number += 1
        return number

    def timeout(self) -> None:
        super().timeout()
        if self.master and self.server is not None:
            self.ack(self.first_hole() - 1)

    def receive(self, data: bytes, source: Address) -> None:
        if self.server is None:
            self.server = source
        if source != self.server:
            return
        if data[1] == OACK:
            group, port, self.master = options.parse_multicast(
                wire.option(wire.parse_oack(data), "multicast")
            )
            self.net.join((group, port), self.address)
            if self.master:
                self.ack(self.first_hole() - 1)
                self._check_done()
            elif self.kind == "edk2":
                self.ack(0)
            return
        if self.done:
            return
        self.rearm()
        number = data[2] << 8 | data[3]
        expected = self.first_hole()
        if self.master and self.kind != "ipxe" and number != expected:
            self.ack(expected - 1)
            return
        self.blocks[number] = bytes(data[4:])
        if self.master:
            self.ack(self.first_hole() - 1)
        self._check_done()

    def _check_done(self) -> None:
        if len(self.blocks) < self.total:
            return
        self.done = True
        if self.kind == "edk2" and not self.master:
            self.ack(self.total)
        if self.kind == "ipxe":
            self.leave()


class Board(Client):
    """A gap-aware client, straight from PROTOCOL.md section 7; window W is the server's default of 8."""

    W = 8
    pace_us = 100

    def __init__(self, net: Net, number: int, size: int, link: Link | None = None) -> None:
        super().__init__(
            net, number, [("blksize", "1024"), ("tsize", "0"), ("multicast", ""), ("ranges", "")], link
        )
        self.total = -(-size // 1024)
        self.master = False
        self.turn = False
        self.position = 0
        self.acked = 0
        self.repairer: Repair | None = None
        self.repairs = 0
        self.own_turns = 0
        self.greeted = False

    def missing(self) -> list[tuple[int, int]]:
        gaps: list[tuple[int, int]] = []
        for number in range(1, self.total + 1):
            if number in self.blocks:
                continue
            if gaps and sum(gaps[-1]) == number:
                gaps[-1] = (gaps[-1][0], gaps[-1][1] + 1)
            else:
                gaps.append((number, 1))
        return gaps

    def receive(self, data: bytes, source: Address) -> None:
        if self.server is None:
            self.server = source
        if source != self.server:
            return
        self.rearm(1.5)
        if data[1] == OACK:
            self._on_oack(data)
            return
        number = data[2] << 8 | data[3]
        moved = number > self.position
        self.position = max(self.position, number)
        self.blocks[number] = bytes(data[4:])
        if len(self.blocks) == 4:
            word = wire.pack_request(wire.OP_RRQ, "pace", [("pace", str(self.pace_us))])
            self.net.send(word, self.address, source)
        at_end = self.position == self.total
        if self.master and (not moved or self.position - self.acked >= self.W // 2 or at_end):
            self._request()

    def _request(self) -> None:
        self.acked = self.position
        self.ack(self.position)

    def _on_oack(self, data: bytes) -> None:
        pairs = wire.parse_oack(data)
        group, port, master = options.parse_multicast(wire.option(pairs, "multicast"))
        self.net.join((group, port), self.address)
        ranges = wire.option(pairs, "ranges")
        if ranges:
            assert ranges == f"1-{self.total}"
            self.turn = True
            self.master = False
            self.repair()
        else:
            self.master = master
            if master:
                self._request()
            elif not self.greeted:
                self.ack(0)  # every client acknowledges its OACK (RFC 2090)
            self.greeted = True

    def timeout(self) -> None:
        super().timeout()
        if self.server is not None and self.repairer is None:
            self.own_turns += 1
            self.repair()

    def repair(self) -> None:
        if self.repairer is not None:
            return
        gaps = self.missing()
        if not gaps:
            self.done = True
            self.ack(self.total)
            return
        self.ack(gaps[0][0] - 1)
        text, count = options.format_ranges(gaps, 380)
        self.repairs += 1
        self.repairer = Repair(self, gaps[:count], text)
        self.repairer.start()

    def repaired(self) -> None:
        self.repairer = None
        self.repair()


class Repair(Reader):
    """One repair transfer of a board, from another port."""

    def __init__(self, board: Board, gaps: list[tuple[int, int]], text: str) -> None:
        pairs = [("blksize", "1024"), ("tsize", "0"), ("windowsize", "8"), ("ranges", text)]
        number = int(board.address[0].split(".")[3])
        super().__init__(board.net, number, 1024, 8, board.link, pairs, port=6000 + board.repairs)
        self.board = board
        self.gaps = gaps
        self.count = options.count_blocks(gaps)

    def receive(self, data: bytes, source: Address) -> None:
        was_done = self.done
        super().receive(data, source)
        real = [first + i for first, length in self.gaps for i in range(length)]
        for number, payload in self.blocks.items():
            if number <= self.count:
                self.board.blocks[real[number - 1]] = payload
        if self.last >= self.count and not self.done:
            self.done = True
            self.ack(self.count + 1 if len(data) == 1028 else self.last)
        if self.done and not was_done:
            self.board.repaired()
