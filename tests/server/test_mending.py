"""Erasure repair in virtual time: the session, and boards with the client's own machines."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gapcast.protocol.unit_blocks import plan_for
from gapcast_core import generations

from .clients import Board, Stock
from .mended_bench import RATE, REPAIR, Bench, outcomes, radio
from .mended_board import MendedBoard
from .virtual import Bytes, Link

BLOCKS = 2057


# ---- what it is for ----


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("boards", "loss", "air", "time"), [(10, 0.2, 1.45, 1.51), (50, 0.1, 1.27, 1.35), (10, 0.02, 1.12, 1.18)]
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


@pytest.mark.parametrize(("loss", "capacity", "repairs"), [(0.2, 12, False), (0.45, 8, True)])
def test_more_losses_than_memory(loss: float, capacity: int, repairs: bool) -> None:
    """A few too many come once more in the stream; of far too many a board fetches all by itself."""
    bench = Bench(500)
    boards = bench.boards(6, loss, capacity=capacity)
    bench.play()
    bench.over()
    assert outcomes(bench) == {"complete"}
    assert any(board.repairs for board in boards) is repairs
    again = sum(to == REPAIR and data[2] < 0x80 for _when, _source, to, data in bench.net.sent)
    assert again
    if not repairs:
        assert all(board.mender is not None and board.mender.solved for board in boards)


def test_symbols_of_pairs_where_little_is_lost() -> None:
    """By what is lost, not by what is known: at 20 % a pair would lose more than memory holds."""
    for loss, paired in ((0.08, True), (0.2, False)):
        bench = Bench(700)
        bench.boards(10, loss)
        bench.play()
        sent = (data for _when, _source, to, data in bench.net.sent if to == REPAIR)
        numbers = [data[2] << 8 | data[3] for data in sent if data[2] & 0x80]
        share = sum(generations.unit_of(number) % 3 == generations.WHOLE for number in numbers) / len(numbers)
        assert share > 0.7 if paired else share < 0.1


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


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_what_several_late_boards_missed_is_sent_to_all_of_them_again(loss: float) -> None:
    bench = Bench(700)
    bench.boards(4, loss)
    late = bench.boards(8, loss)
    for board in late:
        bench.net.at(bench.net.now + 0.35, board.start)  # some 140 blocks late
        bench.clients.remove(board)
    bench.play()
    bench.net.run(30, until=lambda: all(board.done for board in late))
    bench.over()
    assert outcomes(bench) == {"complete"}
    assert all(board.bytes() == bench.data for board in late)
    assert sum(board.repairs for board in late) <= 2, "who says last what it lacks may be the only one"
    assert bench.air < (1.4 if not loss else 1.6), "140 blocks once more, and not eight times"


def test_the_stream_ends_with_its_last_block_whoever_hears_it() -> None:
    """The master never does: nobody waits for its word."""
    bench = Bench(400)
    boards = bench.boards(6, 0.1)
    radio = boards[0].link.drop
    boards[0].link.drop = lambda data: (data[1] == 3 and data[2] << 8 | data[3] == 400) or radio(data)
    bench.play()
    bench.over()
    [event] = bench.server.events("stream_end")
    assert event.datagrams == 400, "not one to ask the master whether it is at the end"


def test_a_burst_of_loss_at_the_master_stops_nobody() -> None:
    bench = Bench(700)
    boards = bench.boards(6, 0.05)
    burst = set(range(200, 220))  # more than its window
    radio = boards[0].link.drop

    def drop(data: bytes) -> bool:
        block = data[2] << 8 | data[3]
        if data[1] != 3 or block not in burst:
            return radio(data)
        burst.remove(block)
        return True

    boards[0].link.drop = drop
    bench.play()
    bench.over()
    sent = [when for when, block in bench.server.data_sent() if block < 0x8000]
    assert not burst
    assert max(after - before for before, after in pairwise(sent)) < 0.06
    assert outcomes(bench) == {"complete"}
