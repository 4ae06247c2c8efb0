"""Boards that write more slowly than the stream could come, in virtual time (PROTOCOL.md section 8)."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from statistics import median

import pytest

from gapcast.protocol.paces import MARGIN, air_seconds
from gapcast_core import wire

from .clients import Board
from .test_multicast import content, play, session_over
from .virtual import GROUP, Link, Net, VirtualServer

QUEUE = 6
SIZE = 300_000
BLOCKS = -(-SIZE // 1024)


class SlowBoard(Board):
    """A board whose flash takes its time; frames wait in a queue of six."""

    def __init__(self, net: Net, number: int, write_s: float, link: Link | None = None) -> None:
        super().__init__(net, number, SIZE, link)
        self.pace_us = round(write_s * 1e6)
        self.write_s = write_s
        self.overflows = 0
        self.done_at = 0.0
        self._queue: deque[bytes] = deque()
        self._busy = False

    def receive(self, data: bytes, source: tuple[str, int]) -> None:
        if data[1] != 3:
            super().receive(data, source)
        elif not self._busy:
            self._write(data, source)
        elif len(self._queue) == QUEUE:
            self.overflows += 1
        else:
            self._queue.append(data)

    def _write(self, data: bytes, source: tuple[str, int]) -> None:
        self._busy = True
        self.net.at(self.net.now + self.write_s, lambda: self._written(data, source))

    def _written(self, data: bytes, source: tuple[str, int]) -> None:
        self._busy = False
        super().receive(data, source)
        if self._queue:
            self._write(self._queue.popleft(), source)


def stream(server: VirtualServer, net: Net) -> list[float]:
    """When DATA of the stream left."""
    return [when for when, _from, to, data in net.sent if to == GROUP and data[1] == 3]


@pytest.mark.parametrize("rate_bps", [100e6, 1e9])
def test_the_stream_is_as_fast_as_the_boards_write(rate_bps: float) -> None:
    net = Net()
    server = VirtualServer(net, content(SIZE), rate_bps=rate_bps)
    boards = [SlowBoard(net, number, 0.0024) for number in range(1, 9)]
    play(net, list(boards))
    assert all(board.bytes() == content(SIZE) for board in boards)
    assert sum(board.overflows for board in boards) == 0
    times = stream(server, net)
    assert len(times) == BLOCKS
    assert times[-1] - times[0] <= BLOCKS * 0.0024 / MARGIN + 0.05
    session_over(net, server)


@pytest.mark.parametrize("slow", [1, 2, 20])
def test_one_slow_board_of_20_holds_nobody_up(slow: int) -> None:
    def others(slowness: float) -> float:
        net = Net()
        server = VirtualServer(net, content(SIZE), rate_bps=100e6)
        speeds = {number: 0.0024 * (slowness if number == slow else 1) for number in range(1, 21)}
        boards = [SlowBoard(net, number, write_s) for number, write_s in speeds.items()]
        start = net.now
        quick = [board for number, board in enumerate(boards, 1) if number != slow]
        for index, board in enumerate(boards):
            net.at(start + index * 0.002, board.start)
        net.run(60, until=lambda: all(board.done for board in quick))
        seconds = net.now - start
        assert all(board.bytes() == content(SIZE) for board in quick)
        net.run(60, until=lambda: boards[slow - 1].done)
        assert boards[slow - 1].bytes() == content(SIZE)
        session_over(net, server)
        return seconds

    assert others(10) <= 1.2 * others(1) + 0.3  # the slow master is known after its first four blocks


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_loss_does_not_slow_the_stream(loss: float) -> None:
    net = Net(seed=3)
    server = VirtualServer(net, content(SIZE), rate_bps=6e6)
    boards = [SlowBoard(net, number, 0.0002, Link(loss=loss)) for number in range(1, 6)]
    play(net, list(boards))
    gaps = [later - earlier for earlier, later in pairwise(stream(server, net))]
    assert median(gaps) == pytest.approx(air_seconds(6e6, 1024))
    assert all(board.bytes() == content(SIZE) for board in boards)


def test_the_slowest_becomes_the_master_and_the_stream_goes_on() -> None:
    net = Net()
    server = VirtualServer(net, content(SIZE), rate_bps=100e6)
    boards = [SlowBoard(net, number, write_s) for number, write_s in ((1, 0.002), (2, 0.0035), (3, 0.002))]
    play(net, list(boards))
    assert [event.address for event in server.events("handover")] == [boards[1].address[0]]
    assert not boards[0].master
    assert sum(board.overflows for board in boards) == 0
    times = stream(server, net)
    assert len(times) == BLOCKS, "no block is sent twice"
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert max(gaps) < 0.1
    session_over(net, server)


def test_a_word_that_is_none_has_no_effect() -> None:
    net = Net()
    server = VirtualServer(net, content(SIZE), rate_bps=100e6)
    board = Board(net, 1, SIZE)
    board.start()
    net.run(0.05)
    for value in ("", "0", "-1", "x", "99999999999"):
        assert board.server is not None
        net.send(wire.pack_request(wire.OP_RRQ, "pace", [("pace", value)]), board.address, board.server)
    net.run(30, until=lambda: board.done)
    assert board.bytes() == content(SIZE)
    assert [event.reason for event in server.events("dropped")].count("bad_number") == 5
