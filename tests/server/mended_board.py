"""A board that is mended, for virtual.py: the client's own machines, with the shell's part played here."""

from __future__ import annotations

from gapcast.protocol.types import Address
from gapcast_core import fec, generations, mender, receiver, wire
from gapcast_core import offer as offers
from gapcast_core.gaps import GapList

from .clients import Client, Repair
from .virtual import MAIN, Link, Net

NAME = "gap/00112233445566778899aabbccddeeff"
TICK_S = 0.1


class CountingPool:
    """A fec.Pool that knows the file already: as much memory, and no arithmetic."""

    def __init__(self, capacity: int, data: bytes, plan: generations.Plan) -> None:
        self.capacity = capacity
        self._held: dict[int, set[int]] = {}
        self._data = data
        self._plan = plan
        self._decoding = -1
        self._missing: list[int] = []

    def held(self, generation: int) -> int:
        return len(self._held.get(generation, ()))

    def add(self, generation: int, symbol: int, _view: object, need: int) -> bool:
        mine = self._held.setdefault(generation, set())
        if symbol in mine or len(mine) >= need or need > self.capacity:
            return False
        if sum(map(len, self._held.values())) >= self.capacity:
            last = max(other for other in self._held if self._held[other])
            if last <= generation:
                return False
            self._held[last].pop()
        mine.add(symbol)
        return True

    def release(self, generation: int) -> None:
        self._held.pop(generation, None)

    def begin(self, generation: int, missing: list[int], _size: int) -> None:
        assert len(missing) <= self.held(generation)
        self._decoding = generation
        self._missing = missing

    def next_known(self) -> int:
        return -1

    def eliminate(self) -> bool:
        return False

    def block(self, i: int) -> bytes:
        start = (self._plan.block(self._decoding, self._missing[i]) - 1) * 1024
        return self._data[start : start + 1024]


class MendedBoard(Client):
    """data: what it shall get, for a CountingPool; None: it decodes. capacity 0: no memory for a pool."""

    def __init__(
        self,
        net: Net,
        number: int,
        size: int,
        link: Link | None = None,
        capacity: int = 20,
        data: bytes | None = None,
    ) -> None:
        super().__init__(net, number, [], link)
        self.total = size // 1024
        self.rx: receiver.Receiver | None = None
        self.mender: mender.Mender | None = None
        self.gaps = GapList(self.total)
        self.offer = offers.Offer()
        self.repairer: Repair | None = None
        self.repairs = 0
        self.reports = 0
        self.turns = 0
        self._capacity = capacity
        self._data = data

    def request(self, pairs: list[tuple[str, str]]) -> None:
        self._transmit(offers.image_request(NAME, 1024), MAIN)

    @property
    def now_ms(self) -> int:
        return int(self.net.now * 1000)

    def missing(self) -> list[tuple[int, int]]:
        return list(self.gaps.ranges())

    # ---- what arrives ----

    def receive(self, data: bytes, source: Address) -> None:
        if self.done:
            if data[1] == wire.OP_OACK and offers.is_turn(data):
                self.ack(self.total)
            return
        if self.server is None:
            self._open(data, source)
            return
        assert self.rx is not None
        if source != self.server or self.rx.end != receiver.RUNNING:
            return
        if data[1] == wire.OP_OACK:
            self.rx.control(data, self.now_ms)
            self.turns += self.rx.end == receiver.GAPS_LEFT
        elif data[1] == wire.OP_DATA:
            self._take(data)
        self._after()

    def _open(self, data: bytes, source: Address) -> None:
        self.server = source
        self.offer = offers.parse_offer(data, 1024, 8)
        assert self.offer.gap_aware
        self.rx = receiver.Receiver(self.offer, self.gaps, self.now_ms, self.net.random.randrange(65536))
        self.net.join((self.offer.group, self.offer.port), self.address)
        if self.offer.repair_group is not None and self._capacity:
            self.net.join((self.offer.repair_group, self.offer.port), self.address)
            plan = generations.Plan(self.total, self.offer.generation_blocks)
            pool = (
                fec.Pool(1024, self._capacity)
                if self._data is None
                else CountingPool(self._capacity, self._data, plan)
            )
            self.mender = mender.Mender(self.gaps, plan, pool, self.now_ms)
            self.rx.mends = self._capacity
            self._tell(0)
        self._after()
        self.net.at(self.net.now + TICK_S, self._tick)

    def _tick(self) -> None:
        if self.rx is None or self.rx.end != receiver.RUNNING or self.dead:
            return
        self.rx.tick(self.now_ms)
        self._after()
        self.net.at(self.net.now + TICK_S, self._tick)

    def _take(self, data: bytes) -> None:
        assert self.rx is not None
        if data[2] & 0x80 and self.mender is not None:
            number = data[2] << 8 | data[3]
            found = self.mender.accept(number, data[4:], self.rx.position, self.now_ms)
            self.rx.hear(self.now_ms)
            self._solve(found)
            return
        block = self.rx.accept(data, len(data), self.now_ms)
        if self.mender is not None:
            self.mender.note(data[2] << 8 | data[3], self.now_ms)
        if block:
            self.blocks[block] = data[4:]
            self.rx.stored(block)
            if self.mender is not None:
                self._solve(self.mender.stored(block))

    def _solve(self, generation: int) -> None:
        assert self.mender is not None
        assert self.rx is not None
        pool = self.mender.pool
        while generation >= 0:
            missing = self.mender.begin(generation)
            if not missing:
                return
            plan = self.mender.plan
            while (known := pool.next_known()) >= 0:
                pool.feed(known, self.blocks[plan.block(generation, known)])
            while pool.eliminate():
                pass
            for i, symbol in enumerate(missing):
                block = plan.block(generation, symbol)
                self.blocks[block] = bytes(pool.block(i))
                self.rx.mended(block)
                self.mender.stored(block)
            generation = self.mender.done()

    # ---- what it says ----

    def _after(self) -> None:
        rx = self.rx
        assert rx is not None
        if rx.end == receiver.RUNNING and self.mender is not None:
            count = self.mender.report(rx.position, rx.at_end, self.now_ms)
            if count >= 0:
                if rx.is_master and count == self.mender.plan.count:
                    rx.rest()
                self._tell(count)
        if rx.ack >= 0:
            self.ack(rx.ack)
            rx.ack = receiver.NO_ACK
        if rx.end == receiver.COMPLETE:
            self.done = True
            self.ack(self.total)
        elif rx.end in (receiver.GAPS_LEFT, receiver.SILENCE):
            self.repair()

    def _tell(self, count: int) -> None:
        assert self.mender is not None
        assert self.server is not None
        buf = bytearray(512)
        end = generations.write_lacks(buf, 0, 400, self.mender.needs, count)
        pairs = [(generations.LACKS, buf[:end].decode())]
        if count:
            pairs.append(
                (
                    generations.HEARD,
                    f"{self.mender.latest},{self.mender.count}" + (",1" if self.mender.plan.mixed else ""),
                )
            )
        surplus = self.mender.surplus[: self.mender.surplus_count]
        if count and surplus:
            end = generations.write_surplus(buf, 0, 400, surplus, len(surplus))
            pairs.append((offers.opt.RANGES, buf[:end].decode()))
        self.reports += 1
        self._transmit(wire.pack_request(wire.OP_RRQ, NAME, pairs), self.server)

    def repair(self) -> None:
        """By unicast, as boards of any kind do when the stream is over."""
        gaps = self.missing()
        if not gaps:
            self.done = True
            self.ack(self.total)
            return
        self.ack(gaps[0][0] - 1)
        self.repairs += 1
        text, count = offers.opt.format_ranges(gaps, 380)
        self.repairer = Repair(self, gaps[:count], text)
        self.repairer.start()

    def repaired(self) -> None:
        for number in self.blocks:
            self.gaps.add(number)
        self.repair()
