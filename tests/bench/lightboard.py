"""A board without flash and arithmetic: the shared core's receiver and mender on one control socket."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

from gapcast_core import generations, mender, receiver, wire
from gapcast_core import offer as offers
from gapcast_core.gaps import GapList

BLKSIZE = 1024
REPEAT_S = 0.6
CAPACITY = 64  # any loss of a generation can be mended
HEARD_BYTES = 32  # of a report, for the option `heard`


class Counts:
    """In place of fec.Pool: how many different symbols of each generation there are."""

    capacity = CAPACITY

    def __init__(self) -> None:
        self._symbols: dict[int, set[int]] = {}

    def held(self, generation: int) -> int:
        return len(self._symbols.get(generation, ()))

    def add(self, generation: int, symbol: int, _view: object, need: int) -> None:
        symbols = self._symbols.setdefault(generation, set())
        if len(symbols) < need:
            symbols.add(symbol)

    def begin(self, _generation: int, _missing: list[int], _size: int) -> None:
        """Nothing to solve."""

    def release(self, generation: int) -> None:
        self._symbols.pop(generation, None)


class LightBoard:
    """From the request to the last block."""

    def __init__(self, sock: socket.socket, server: tuple[str, int]) -> None:
        self.sock = sock
        self.offer: Any = None
        self.failed = False
        self._server = server
        self._request = b""
        self._name = ""
        self._asked_at = 0.0
        self._rx: Any = None
        self._mender: Any = None
        self._report = bytearray(wire.MAX_REQUEST_BYTES)
        self._report_at = 0

    @property
    def end(self) -> int:
        return int(receiver.RUNNING if self._rx is None else self._rx.end)

    @property
    def over(self) -> bool:
        return self.failed or self.end != receiver.RUNNING

    def ask(self, name: str) -> None:
        self._name = name
        self._request = offers.image_request(name, BLKSIZE)
        self._asked_at = time.monotonic()
        self._send(self._request, self._server)

    def _send(self, data: bytes | memoryview, to: tuple[str, int] | None = None) -> None:
        with contextlib.suppress(OSError):
            self.sock.sendto(data, to or self._tid)

    def control(self, data: bytes, source: tuple[str, int]) -> None:
        """A datagram to this board alone."""
        if self.failed:
            return
        if self._rx is None:
            self._join(data, source)
        elif not self.over:
            self._rx.control(data, self._now())
        self._say()

    def _join(self, data: bytes, source: tuple[str, int]) -> None:
        offer = offers.parse_offer(data, BLKSIZE, 8)
        if not offer.generation_blocks:
            self.failed = True  # the session is over, or cannot mend
            return
        self.offer = offer
        self._tid = source
        gaps = GapList(offer.blocks())
        self._rx = receiver.Receiver(offer, gaps, self._now(), self.sock.getsockname()[1])
        self._rx.mends = True
        plan = generations.Plan(gaps.total, offer.generation_blocks)
        self._mender = mender.Mender(gaps, plan, Counts(), self._now())
        head = wire.pack_request(wire.OP_RRQ, self._name, [(generations.LACKS, "")])
        self._report[: len(head)] = head
        self._report_at = len(head) - 1
        self._tell(0)

    def frame(self, data: bytes) -> None:
        """A datagram to the group: a block, or a repair symbol."""
        rx = self._rx
        if rx is None or self.over:
            return
        now_ms = self._now()
        number = data[2] << 8 | data[3]
        if number & generations.REPAIR_FLAG:
            solvable = self._mender.accept(number, None, rx.position, now_ms)
            rx.hear(now_ms)
            self._solve(solvable)
        else:
            self._block(number, data, now_ms)
        self._needs(now_ms)
        self._say()

    def _block(self, number: int, data: bytes, now_ms: int) -> None:
        block = self._rx.accept(data, len(data), now_ms)
        self._mender.note(number, now_ms)
        if block:
            self._rx.stored(block)
            self._solve(self._mender.stored(block))

    def _solve(self, generation: int) -> None:
        while generation >= 0:
            plan = self._mender.plan
            for symbol in self._mender.begin(generation):
                block = plan.block(generation, symbol)
                self._rx.mended(block)
                self._mender.stored(block)
            generation = self._mender.done()

    def _needs(self, now_ms: int) -> None:
        rx = self._rx
        if self.over:
            return
        count = self._mender.report(rx.position, rx.at_end, now_ms)
        if count >= 0:
            if rx.is_master and count == self._mender.plan.count:
                rx.rest()
            self._tell(count)

    def _tell(self, count: int) -> None:
        report, told = self._report, self._mender
        end = generations.write_lacks(report, self._report_at, len(report) - HEARD_BYTES, told.needs, count)
        if count:
            end = generations.write_text(report, end, f"\0{generations.HEARD}\0".encode())
            end = generations.write_heard(report, end, told.latest, told.count, told.plan.mixed)
        report[end] = 0
        self._send(memoryview(report)[: end + 1])

    def _say(self) -> None:
        if self._rx is not None and self._rx.ack >= 0:
            self._send(wire.pack_ack(self._rx.ack))
            self._rx.ack = receiver.NO_ACK

    def tick(self) -> None:
        """About every 100 ms."""
        if self._rx is None:
            if not self.failed and time.monotonic() - self._asked_at > REPEAT_S:
                self._asked_at = time.monotonic()
                self._send(self._request, self._server)
        elif not self.over:
            self._rx.tick(self._now())
            self._needs(self._now())
            self._say()

    @staticmethod
    def _now() -> int:
        return int(time.monotonic() * 1000)
