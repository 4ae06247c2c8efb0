"""Erasure repair in virtual time: the session, and boards with the client's own machines."""

from __future__ import annotations

import random

import pytest

from gapcast.protocol.mending import MAX_SYMBOLS, Mending, plan_for
from gapcast.protocol.types import HEADERS_BYTES
from gapcast_core import generations, wire

from .clients import Board, Client, Stock
from .mended_board import NAME, MendedBoard
from .virtual import GROUP, MAIN, Bytes, Link, Net, VirtualServer

REPAIR = ("239.194.7.7", GROUP[1])
BLOCKS = 2057
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
        self.server = VirtualServer(self.net, self.data, rate)
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


# ---- what it is for ----


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("boards", "loss", "air", "time"), [(10, 0.2, 1.58, 1.75), (50, 0.1, 1.32, 1.40), (10, 0.02, 1.14, 1.22)]
)
def test_the_air_that_a_fleet_costs(boards: int, loss: float, air: float, time: float, seed: int) -> None:
    """Times include the gathering of boards, 0.05 here; framing alone costs 1.045."""
    bench = Bench(BLOCKS, seed)
    bench.boards(boards, loss)
    bench.play()
    bench.over()
    assert outcomes(bench) == {"complete"}
    assert bench.air < air
    assert bench.finished * RATE / 8 / len(bench.data) < time


def test_without_loss_nothing_is_added() -> None:
    bench = Bench(BLOCKS)
    boards = bench.boards(10, 0.0)
    bench.play()
    bench.over()
    assert bench.symbols == 0
    assert bench.air < 1.06
    assert not any(board.turns for board in boards)


@pytest.mark.parametrize("loss", [0.05, 0.2, 0.4])
@pytest.mark.parametrize("blocks", [1, 63, 64, 65, 200])
def test_every_byte_is_decoded(blocks: int, loss: float) -> None:
    bench = Bench(blocks, seed=blocks)
    bench.boards(6, loss, decode=True)
    bench.play()
    bench.over()
    assert outcomes(bench) == {"complete"}


@pytest.mark.parametrize("seed", range(6))
def test_bad_networks(seed: int) -> None:
    """Loss of everything both ways, duplicates, reordering, a slow uplink."""
    bench = Bench(300, seed)
    link = Link(loss=0.15, duplicate=0.1, delay=(0.001, 0.02))
    for number in range(1, 9):
        bench.clients.append(MendedBoard(bench.net, number, len(bench.data), link, data=bench.data))
    bench.play(600)  # who never heard the stream reads the whole file, losing every seventh datagram
    bench.over()


# ---- plain TFTP when that is cheaper, or all there is ----


def test_one_board_alone_repairs_by_unicast() -> None:
    bench = Bench(500)
    board = bench.boards(1, 0.1)[0]
    bench.play()
    bench.over()
    assert bench.symbols == 0
    assert (board.turns, board.repairs > 0) == (1, True)


def test_three_boards_with_few_gaps_repair_by_unicast() -> None:
    bench = Bench(BLOCKS)
    boards = bench.boards(3, 0.002)
    bench.play()
    bench.over()
    assert bench.symbols == 0
    assert any(board.repairs for board in boards)
    assert bench.air < 1.08


def test_boards_without_memory_for_symbols_get_their_turns() -> None:
    bench = Bench(500)
    poor = bench.boards(3, 0.1, capacity=0)
    rich = bench.boards(6, 0.1)
    bench.play()
    bench.over()
    assert outcomes(bench) == {"complete"}
    assert all(board.repairs for board in poor)
    assert not any(board.repairs for board in rich)


def test_a_generation_with_more_losses_than_memory_is_fetched() -> None:
    bench = Bench(500)
    boards = bench.boards(6, 0.2, capacity=12)
    bench.play()
    bench.over()
    assert outcomes(bench) == {"complete"}
    assert any(board.repairs for board in boards)
    assert all(board.mender is not None and board.mender.solved for board in boards)


def test_boards_that_know_no_symbols_are_served_as_ever() -> None:
    bench = Bench(300)
    bench.boards(5, 0.1)
    old = Board(bench.net, 90, len(bench.data), radio(0.1, 90))
    bench.clients.append(old)
    bench.play()
    bench.over()
    assert old.turn
    assert bench.symbols


@pytest.mark.parametrize("kind", ["atftp", "edk2", "ipxe"])
@pytest.mark.parametrize("first", [True, False])
def test_stock_clients_in_the_same_session(kind: str, first: bool) -> None:
    """They never join the repair group, and are masters after the stream as RFC 2090 says."""
    bench = Bench(300)
    stock = Stock(bench.net, 90, len(bench.data), kind, radio(0.05, 90))
    if first:
        bench.clients.append(stock)
    boards = bench.boards(8, 0.1)
    if not first:
        bench.clients.append(stock)
    bench.play()
    bench.over()
    assert bench.symbols
    assert not any(board.repairs for board in boards)
    assert all(number < 0x8000 for number in stock.blocks)


@pytest.mark.parametrize("first", [True, False])
def test_no_symbols_beside_a_stock_client_on_the_same_host(first: bool) -> None:
    """Its socket would hear them: Linux gives it the groups that others have joined there."""
    bench = Bench(300)
    bench.boards(6, 0.1)
    stock = Stock(bench.net, 99, len(bench.data), "atftp", radio(0.05, 99))
    bench.net.detach(stock.address)
    stock.address = ("10.0.1.3", 5001)
    bench.net.attach(stock.address, stock._receive, stock.link)
    bench.clients.insert(0 if first else 6, stock)
    bench.play()
    bench.over()
    assert bench.symbols == 0


def test_files_that_cannot_be_mended_are_not() -> None:
    for size in (1000, 65 * 1024 + 1, 1024 * (256 * 64 + 1)):
        assert plan_for(Bytes(bytes(size)), 1024) is None
    assert plan_for(Bytes(bytes(1020)), 1020) is None
    assert plan_for(Bytes(b""), 1024) is None


# ---- boards that come, go, or fall silent ----


def test_a_board_that_dies_is_given_up() -> None:
    bench = Bench(400)
    boards = bench.boards(6, 0.1)
    bench.net.at(bench.net.now + 0.5, boards[3].die)
    bench.play()
    bench.over()
    assert outcomes(bench) == {"complete", "silent"}
    assert bench.air < 1.4, "a silent board is not mended for ever"


def test_the_master_dies() -> None:
    bench = Bench(400)
    boards = bench.boards(6, 0.1)
    bench.net.at(bench.net.now + 0.3, boards[0].die)
    bench.play()
    bench.over()


def test_a_late_board_is_mended_from_where_it_came() -> None:
    bench = Bench(600)
    bench.boards(6, 0.1)
    late = MendedBoard(bench.net, 99, len(bench.data), radio(0.1, 99), data=bench.data)
    bench.net.at(bench.net.now + 0.5, late.start)
    bench.play()
    bench.net.run(30, until=lambda: late.done)
    assert late.bytes() == bench.data
    bench.over()


def test_a_slow_uplink() -> None:
    bench = Bench(1000)
    boards = bench.boards(20, 0.1, delay=(0.02, 0.03))
    bench.play()
    bench.over()
    assert bench.air < 1.5
    assert not any(board.repairs for board in boards)


# ---- what a peer may cause ----


def report(text: str) -> bytes:
    packed: bytes = wire.pack_request(wire.OP_RRQ, NAME, [(generations.LACKS, text)])
    return packed


def test_a_board_that_always_wants_more_gets_each_symbol_once() -> None:
    plan = plan_for(Bytes(content(128)), 1024)
    assert plan is not None
    mending = Mending(plan, Bytes(content(128)), 1024, 0.0)
    liars = [(f"10.0.0.{number}", 5000) for number in range(1, 5)]
    mending.report(liars[0], [], 0.0, 0.01)
    mending.stream_at(64, False)
    now = 0.0
    sent: list[int] = []
    for _ in range(4000):
        now += 0.001
        for liar in liars:
            mending.report(liar, [128, 128], now, 0.01)
        mending.stream_at(128, True)
        mending.on_time(now)
        if mending.wants_data():
            sent.append(mending.next_data(now)[0])
    assert len(sent) == len(set(sent)) == 2 * MAX_SYMBOLS
    assert not mending.wants_data()
    assert mending.on_time(now + 1) == liars, "they get their turns"


def test_a_silent_board_costs_a_few_symbols() -> None:
    bench = Bench(200)
    boards = bench.boards(4, 0.1)
    bench.net.at(bench.net.now + 0.35, boards[1].die)
    bench.play()
    before = bench.symbols
    bench.over()
    assert bench.symbols - before < 12


@pytest.mark.parametrize("text", ["x", "1,", "129", "0*500", "1*999,2", "5,5,5,5,5,5", "\u00e9"])
def test_a_malformed_report_changes_nothing(text: str) -> None:
    bench = Bench(200)
    boards = bench.boards(4, 0.1)

    def say() -> None:
        assert boards[1].server is not None
        boards[1]._transmit(report(text), boards[1].server)

    for tenths in range(1, 8):
        bench.net.at(bench.net.now + tenths / 10, say)
    bench.play()
    bench.over()
    assert outcomes(bench) == {"complete"}


def test_reports_of_strangers_are_not_believed() -> None:
    bench = Bench(200)
    boards = bench.boards(4, 0.0)
    outsider = ("10.9.9.9", 5000)
    heard: list[bytes] = []
    bench.net.attach(outsider, lambda data, _source: heard.append(data))

    def say() -> None:
        assert boards[1].server is not None
        bench.net.send(report("64,64,64,8"), outsider, boards[1].server)

    for tenths in range(1, 8):
        bench.net.at(bench.net.now + tenths / 10, say)
    bench.play()
    bench.over()
    assert bench.symbols == 0
    assert heard == []


def test_a_short_request_gets_its_answer_without_lacks() -> None:
    """It has not paid for more: the board is served as boards were before."""
    net = Net()
    data = content(100)
    server = VirtualServer(net, data)
    heard: list[bytes] = []
    net.attach(("10.9.9.9", 5000), lambda answer, _source: heard.append(answer))
    pairs = [("blksize", "1024"), ("tsize", "0"), ("multicast", ""), ("ranges", ""), ("lacks", "")]
    net.send(wire.pack_request(wire.OP_RRQ, "f", pairs), ("10.9.9.9", 5000), MAIN)
    net.run(0.1)
    options = wire.parse_oack(heard[0])
    assert wire.option(options, "ranges") == ""
    assert wire.option(options, "lacks") is None
    assert server.session is not None


def test_lacks_is_offered_within_what_a_request_has_paid_for() -> None:
    bench = Bench(100)
    boards = bench.boards(2, 0.0)
    bench.play()
    assert boards[0].offer.repair_group == REPAIR[0]
    first = next(data for _w, _source, to, data in bench.net.sent if to == boards[1].address)
    asked = next(data for _w, source, _to, data in bench.net.sent if source == boards[1].address)
    assert len(first) <= 1.5 * len(asked)
