"""Multicast sessions (RFC 2090, PROTOCOL.md section 7) in virtual time, with scripted clients."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from gapcast.protocol.multicast import Session
from gapcast.protocol.negotiate import plan_join, read_request
from gapcast.protocol.settings import Settings
from gapcast.protocol.types import Datagram
from gapcast_core import wire

from .clients import Board, Client, Stock
from .virtual import GROUP, MAIN, Bytes, Link, Net, VirtualServer

SIZES = [1, 1023, 1024, 1025, 8 * 1024, 300_000]


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def play(net: Net, clients: list[Client], seconds: float = 60.0, gap_s: float = 0.002) -> None:
    """Start the clients one after another and run until all that live are done."""
    for index, client in enumerate(clients):
        net.at(net.now + index * gap_s, client.start)
    net.run(seconds, until=lambda: all(client.done or client.dead for client in clients))


def session_over(net: Net, server: VirtualServer, seconds: float = 60.0) -> None:
    assert server.session is not None
    machine = server.session.machine
    net.run(seconds, until=lambda: machine.closed)
    assert machine.closed
    assert machine.deadline() is None


# ---- boards ----


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
def test_boards_get_every_byte(size: int, loss: float) -> None:
    net = Net(seed=size + 3)
    data = content(size)
    server = VirtualServer(net, data, rate_bps=6e6)
    link = Link(loss=loss, duplicate=loss / 4, delay=(0.001, 0.004))
    boards = [Board(net, number, size, link) for number in range(1, 11)]
    play(net, list(boards))
    assert [board.bytes() == data for board in boards] == [True] * 10
    session_over(net, server)


def test_without_loss_each_block_is_sent_once_and_nobody_repairs() -> None:
    net = Net()
    server = VirtualServer(net, content(300_000), rate_bps=6e6)
    boards = [Board(net, number, 300_000) for number in range(1, 11)]
    play(net, list(boards))
    session_over(net, server)
    assert [number for _when, number in server.data_sent()] == list(range(1, 294))
    assert [event.outcome for event in server.events("member_done")] == ["complete"] * 10


def test_the_stream_waits_for_boards_switched_on_together() -> None:
    net = Net()
    server = VirtualServer(net, content(50_000), settings=Settings(gather_s=0.15))
    start = net.now
    play(net, [Board(net, number, 50_000) for number in range(1, 21)], gap_s=0.007)
    assert server.data_sent()[0][0] - start >= 0.15
    assert {number for _when, number in server.data_sent()} == set(range(1, 50))
    assert len(server.data_sent()) == 49


def test_no_data_before_the_masters_ack() -> None:
    net = Net()
    server = VirtualServer(net, content(50_000))
    board = Board(net, 1, 50_000, Link(drop=lambda data: data[1] == wire.OP_OACK))
    board.start()
    net.run(30)
    assert server.data_sent() == []


def test_a_forged_request_causes_few_oacks() -> None:
    net = Net()
    server = VirtualServer(net, content(50_000))
    forged = ("10.66.6.6", 1)
    net.attach(forged, lambda data, source: None)
    for pairs in (
        [("multicast", "")],
        [("blksize", "1024"), ("multicast", ""), ("ranges", "")],
    ):
        before = len(net.sent)
        net.send(wire.pack_request(wire.OP_RRQ, "f", pairs), forged, MAIN)
        net.run(60)
        assert server.session is not None
        assert server.session.machine.closed
        assert len(net.sent) - before - 1 <= 5


def test_a_forged_listener_causes_few_oacks_while_turns_are_given() -> None:
    net = Net()
    server = VirtualServer(net, content(50_000), settings=Settings(turns=1))
    forged = ("10.66.6.6", 1)
    net.attach(forged, lambda data, source: None)
    board = Board(net, 1, 50_000)
    board.start()
    net.run(0.01)
    pairs = [("blksize", "1024"), ("multicast", ""), ("ranges", "")]
    net.send(wire.pack_request(wire.OP_RRQ, "f", pairs), forged, MAIN)
    net.run(120)
    session_over(net, server)
    assert sum(1 for _when, _source, to, _data in net.sent if to == forged) <= 16


def test_a_window_stays_within_eight_blocks_of_the_last_ack() -> None:
    net = Net()
    server = VirtualServer(net, content(500_000), settings=Settings(gather_s=0))
    board = Board(net, 1, 500_000, Link(delay=(0.01, 0.01)))
    board.start()
    highest_ack = 0
    net.run(30, until=lambda: board.done)
    for _when, source, _to, data in net.sent:
        if source == board.address and data[1] == wire.OP_ACK:
            highest_ack = max(highest_ack, data[2] << 8 | data[3])
        elif source[0] == MAIN[0] and data[1] == wire.OP_DATA:
            assert (data[2] << 8 | data[3]) <= highest_ack + 8
    assert len(server.data_sent()) == 489


def test_a_hole_of_the_master_stays_a_hole() -> None:
    net = Net()
    server = VirtualServer(net, content(100_000))
    lost = [7, 8, 30]
    link = Link(drop=lambda data: data[1] == 3 and data[3] in lost and not lost.remove(data[3]))  # type: ignore[func-returns-value]
    board = Board(net, 1, 100_000, link)
    board.start()
    net.run(10, until=lambda: board.done)
    stream = [number for _when, number in server.data_sent()][:98]
    assert stream == list(range(1, 99))
    assert board.repairs == 1


@pytest.mark.parametrize("when", [0.1, 0.4, 0.8])
def test_a_dead_board_master_is_replaced_within_a_second(when: float) -> None:
    net = Net()
    data = content(1_000_000)
    server = VirtualServer(net, data, rate_bps=6e6)
    boards = [Board(net, number, len(data)) for number in range(1, 5)]
    net.at(net.now + when, boards[0].die)
    died = net.now + when
    play(net, list(boards))
    assert [board.bytes() == data for board in boards[1:]] == [True] * 3
    times = [time for time, _number in server.data_sent() if time < died + 5]
    silence = max(later - earlier for earlier, later in pairwise(times))
    assert silence < 1.0
    session_over(net, server)


def test_two_dead_masters_are_skipped() -> None:
    net = Net()
    data = content(500_000)
    server = VirtualServer(net, data, rate_bps=6e6)
    boards = [Board(net, number, len(data)) for number in range(1, 5)]
    start = net.now
    net.at(start + 0.3, boards[0].die)
    net.at(start + 0.3, boards[1].die)
    play(net, list(boards))
    assert boards[2].bytes() == boards[3].bytes() == data
    times = [time for time, _number in server.data_sent()]
    assert max(later - earlier for earlier, later in pairwise(times)) < 1.2


def test_turns_are_limited_and_the_others_are_told_to_wait() -> None:
    net = Net(seed=3)
    data = content(400_000)
    server = VirtualServer(net, data, rate_bps=6e6, settings=Settings(turns=2))
    boards = [Board(net, number, len(data), Link(loss=0.2)) for number in range(1, 13)]
    play(net, list(boards), 120)
    assert all(board.bytes() == data for board in boards)
    active: set[str] = set()
    for event in server.session.events if server.session else []:
        if event.kind == "turn":
            active.add(event.address)
        elif event.kind == "member_done":
            active.discard(event.address)
        assert len(active) <= 2


def test_a_late_board_joins_the_running_stream_and_later_ones_get_their_turn() -> None:
    net = Net()
    data = content(500_000)
    server = VirtualServer(net, data, rate_bps=6e6)
    early, late = Board(net, 1, len(data)), Board(net, 2, len(data))
    early.start()
    net.at(net.now + 0.5, late.start)
    net.run(60, until=lambda: early.done and late.done)
    assert early.bytes() == late.bytes() == data
    assert len(server.events("session_open")) == 1
    assert late.own_turns == 0


def test_a_board_with_the_same_request_again_is_one_member() -> None:
    net = Net()
    server = VirtualServer(net, content(5000))
    board = Board(net, 1, 5000)
    board.start()
    board.start()
    net.run(10, until=lambda: board.done)
    assert len(server.events("member_joined")) == 1
    assert board.bytes() == content(5000)


def test_a_board_that_restarts_with_the_same_port_gets_the_file() -> None:
    net = Net()
    data = content(500_000)
    server = VirtualServer(net, data, rate_bps=6e6)
    board = Board(net, 1, len(data))
    board.start()
    net.run(0.4)
    again = Board(net, 1, len(data))
    again.start()
    net.run(60, until=lambda: again.done)
    assert again.bytes() == data
    session_over(net, server)


def test_the_stream_ends_when_the_last_ack_is_lost() -> None:
    net = Net()
    data = content(100_000)
    server = VirtualServer(net, data, rate_bps=6e6)
    boards = [Board(net, number, len(data)) for number in (1, 2)]
    send = net.send
    last = wire.pack_ack(98)

    def lossy(datagram: bytes, source: tuple[str, int], to: tuple[str, int]) -> None:
        if not (datagram == last and not boards[0].turn and source == boards[0].address):
            send(datagram, source, to)

    net.send = lossy  # type: ignore[method-assign]
    play(net, list(boards), 10)
    assert all(board.bytes() == data for board in boards)
    assert len(server.events("stream_end")) == 1


def test_a_first_one_that_wants_nothing_does_not_take_the_stream_away() -> None:
    """ACK `total` before any DATA ends the stream unsent; whoever comes then still gets it by multicast."""
    net = Net()
    data = content(300_000)
    server = VirtualServer(net, data, rate_bps=20e6)
    first = ("10.66.6.6", 1)
    heard: list[tuple[str, int]] = []

    def full(reply: bytes, source: tuple[str, int]) -> None:
        if reply[1] == wire.OP_OACK and not heard:
            heard.append(source)
            net.send(wire.pack_ack(293), first, source)

    net.attach(first, full)
    pairs = [("blksize", "1024"), ("tsize", "0"), ("multicast", ""), ("ranges", "")]
    net.send(wire.pack_request(wire.OP_RRQ, "f", pairs), first, MAIN)
    net.run(0.1, until=lambda: bool(heard))
    boards = [Board(net, number, len(data)) for number in (1, 2)]
    play(net, list(boards))
    assert heard
    assert [board.bytes() == data for board in boards] == [True, True]
    assert [board.repairs for board in boards] == [0, 0]
    assert sorted({number for _when, number in server.data_sent()}) == list(range(1, 294))


# ---- stock clients ----


@pytest.mark.parametrize("kind", ["atftp", "edk2", "ipxe"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_stock_clients_get_every_byte(kind: str, size: int, loss: float) -> None:
    net = Net(seed=size)
    data = content(size)
    server = VirtualServer(net, data)
    clients = [Stock(net, number, size, kind, Link(loss=loss)) for number in range(1, 5)]
    play(net, list(clients))
    assert [client.bytes() == data for client in clients] == [True] * 4
    session_over(net, server)


def test_without_loss_a_stock_session_takes_a_round_trip_a_block() -> None:
    net = Net()
    data = content(2_000_000)
    VirtualServer(net, data)
    clients = [Stock(net, number, len(data)) for number in range(1, 4)]
    start = net.now
    play(net, list(clients))
    assert all(client.bytes() == data for client in clients)
    assert net.now - start < 1.05 * (len(data) // 1024 + 1) * 0.001  # half a millisecond each way


def test_one_percent_of_loss_costs_a_stock_session_less_than_a_second() -> None:
    net = Net(seed=5)
    data = content(2_000_000)
    VirtualServer(net, data, rate_bps=100e6)
    clients = [
        Stock(net, number, len(data), link=Link(loss=0.005, delay=(0.0001, 0.0001))) for number in range(1, 4)
    ]
    start = net.now
    play(net, list(clients))
    assert all(client.bytes() == data for client in clients)
    assert net.now - start < 3  # atftpd: 21 s


def test_a_stock_master_is_clocked_in_lock_step() -> None:
    net = Net()
    server = VirtualServer(net, content(100_000))
    client = Stock(net, 1, 100_000)
    client.start()
    net.run(10, until=lambda: client.done)
    outstanding = 0
    for _when, source, _to, data in net.sent:
        if source == client.address and data[1] == wire.OP_ACK:
            outstanding = 0
        elif data[1] == wire.OP_DATA:
            outstanding += 1
            assert outstanding == 1
    assert len(server.data_sent()) == 98


def test_two_equal_acks_of_a_stock_master_give_one_data() -> None:
    session = stock_session(5000, PEER)
    for _ in range(3):
        session.receive(wire.pack_ack(0), PEER, 0.01)
    assert data_of(session, 0.01) == [1]
    for _ in range(3):
        session.receive(wire.pack_ack(1), PEER, 0.02)
    assert data_of(session, 0.02) == [2]
    session.receive(wire.pack_ack(0), PEER, 0.03)
    assert data_of(session, 0.03) == []


def test_a_stock_master_may_ask_for_any_block() -> None:
    session = stock_session(500_000, PEER)
    session.receive(wire.pack_ack(6), PEER, 0.01)
    assert data_of(session, 0.01) == [7]
    session.receive(wire.pack_ack(99), PEER, 0.02)
    assert data_of(session, 0.02) == [100]


def test_listeners_that_ack_zero_cause_no_storm() -> None:
    net = Net()
    server = VirtualServer(net, content(300_000))
    clients = [Stock(net, number, 300_000, "edk2") for number in range(1, 11)]
    play(net, list(clients))
    session_over(net, server)
    oacks = [data for _when, _source, _to, data in net.sent if data[1] == wire.OP_OACK]
    assert len(oacks) <= 3 * len(clients)  # mc=1 to prove itself, mc=0, and at last its turn as a master


def test_silent_leavers_do_not_hold_the_others_up() -> None:
    """iPXE says nothing when it is complete: ICMP port unreachable comes when it is asked."""
    net = Net()
    data = content(300_000)
    server = VirtualServer(net, data)
    leavers = [Stock(net, number, len(data), "ipxe") for number in range(2, 8)]
    last = Stock(net, 9, len(data), "atftp", Link(loss=0.02))
    start = net.now
    play(net, [Stock(net, 1, len(data)), *leavers, last])
    assert last.bytes() == data
    assert net.now - start < 2
    session_over(net, server)


def test_clients_that_die_silently_are_skipped_at_300_ms_each() -> None:
    net = Net()
    data = content(300_000)
    server = VirtualServer(net, data)
    clients = [Stock(net, number, len(data)) for number in range(1, 8)]
    for client in clients[1:6]:
        net.at(net.now + 0.1, client.die)
    play(net, list(clients))
    assert clients[6].bytes() == data
    session_over(net, server, 10)
    outcomes = {event.address: event.outcome for event in server.events("member_done")}
    assert sorted(outcomes.values()) == ["complete"] * 2 + ["silent"] * 5


def test_a_dead_stock_master_is_replaced_within_a_second() -> None:
    net = Net()
    data = content(2_000_000)
    server = VirtualServer(net, data)
    clients = [Stock(net, number, len(data)) for number in range(1, 4)]
    died = net.now + 0.3
    net.at(died, clients[0].die)
    play(net, list(clients))
    assert clients[1].bytes() == clients[2].bytes() == data
    handover = server.events("handover")[0]
    assert handover.address == clients[1].address[0]
    after = min(time for time, number in server.data_sent(handover.block + 1) if time > died)
    assert after - died < 1.0


def test_an_old_master_that_goes_on_is_told_five_times_and_then_expelled() -> None:
    session = stock_session(500_000, PEER, OTHER)
    answers: list[bytes] = []
    now = 0.0
    for number in range(1, 400):
        now += 0.01
        session.receive(wire.pack_ack(number), OTHER, now)
        answers += [
            effect.data for effect in session.take() if isinstance(effect, Datagram) and effect.to == OTHER
        ]
        if answers and answers[-1][1] == wire.OP_ERROR:
            break
    assert [data[1] for data in answers] == [wire.OP_OACK] * 5 + [wire.OP_ERROR]
    assert all(b",0\0" in data for data in answers[:5])
    session.receive(wire.pack_ack(1), OTHER, now)
    assert not [effect for effect in session.take() if isinstance(effect, Datagram)]


def test_a_lone_silent_master_ends_the_session_after_ten_seconds() -> None:
    net = Net()
    server = VirtualServer(net, content(500_000))
    client = Stock(net, 1, 500_000)
    client.start()
    net.run(0.1)
    client.die()
    start = net.now
    session_over(net, server, 60)
    assert 9 <= net.now - start <= 12
    assert server.session is not None


def test_an_error_of_the_master_hands_over_at_once() -> None:
    session = stock_session(500_000, PEER, OTHER)
    session.receive(wire.pack_ack(0), PEER, 0.01)
    session.receive(wire.pack_ack(0), OTHER, 0.01)
    session.take()
    session.receive(wire.pack_error(3, "disk full"), PEER, 0.02)
    session.on_time(0.02)
    offers = [effect for effect in session.take() if isinstance(effect, Datagram)]
    assert [(offer.to, b",1\0" in offer.data) for offer in offers] == [(OTHER, True)]


def test_a_listener_that_proves_itself_after_the_master_left_is_the_master() -> None:
    session = stock_session(500_000, PEER, OTHER)
    session.receive(wire.pack_error(3, "disk full"), PEER, 0.01)
    session.on_time(0.01)
    assert not session.closed
    session.receive(wire.pack_ack(0), OTHER, 0.02)
    assert data_of(session, 0.02) == [1]


# ---- both kinds together ----


@pytest.mark.parametrize("board_first", [True, False])
@pytest.mark.parametrize("size", [8 * 1024, 300_000])
def test_boards_and_stock_clients_share_a_stream(board_first: bool, size: int) -> None:
    net = Net(seed=size)
    data = content(size)
    server = VirtualServer(net, data, rate_bps=20e6)
    link = Link(loss=0.05)
    boards: list[Client] = [Board(net, number, size, link) for number in (1, 2, 3)]
    stock: list[Client] = [Stock(net, number, size, "atftp", link) for number in (4, 5, 6)]
    play(net, boards + stock if board_first else stock + boards)
    assert [client.bytes() == data for client in boards + stock] == [True] * 6
    if size > 10_000:
        assert len(server.events("session_open")) == 1
    session_over(net, server)


def test_a_stock_listener_gets_the_empty_end_of_an_exact_multiple() -> None:
    net = Net()
    data = content(64 * 1024)
    server = VirtualServer(net, data)
    board, stock = Board(net, 1, len(data)), Stock(net, 2, len(data))
    play(net, [board, stock])
    assert stock.bytes() == board.bytes() == data
    assert len(server.data_sent(65)) == 1


# ---- golden datagrams ----

PEER = ("10.0.1.1", 5001)
OTHER = ("10.0.1.2", 5002)


def stock_session(size: int, *peers: tuple[str, int]) -> Session:
    session = Session("f", Bytes(content(size)), 1024, GROUP, Settings(), 0.0)
    request = read_request(wire.pack_request(wire.OP_RRQ, "f", [("blksize", "1024"), ("multicast", "")]))
    for peer in peers:
        session.join(peer, plan_join(request, size), 0.0)
    session.take()
    return session


def data_of(session: Session, now: float) -> list[int]:
    numbers = []
    while (datagram := session.next_data(now)) is not None:
        assert datagram.to == GROUP
        numbers.append(datagram.data[2] << 8 | datagram.data[3])
    return numbers


def test_golden_oacks() -> None:
    session = Session("f", Bytes(bytes(3000)), 1024, GROUP, Settings(gather_s=0), 0.0)
    pairs = [("blksize", "1024"), ("tsize", "0"), ("windowsize", "8"), ("multicast", ""), ("ranges", "")]
    board = plan_join(read_request(wire.pack_request(wire.OP_RRQ, "f", pairs)), 3000)
    stock = plan_join(read_request(wire.pack_request(wire.OP_RRQ, "f", pairs[:4])), 3000)
    session.join(PEER, board, 0.0)
    session.join(OTHER, stock, 0.0)
    head = b"\0\6blksize\x001024\0tsize\x003000\0"
    place = b"multicast\x00239.192.7.7,20007,"
    assert sent(session) == [
        (PEER, head + b"windowsize\x008\0" + place + b"1\0ranges\0\0"),
        (OTHER, head + place + b"1\0"),  # makes it answer; then it is told the truth
    ]
    session.receive(wire.pack_ack(0), PEER, 0.1)
    session.receive(wire.pack_ack(0), OTHER, 0.1)
    assert sent(session) == [(OTHER, head + place + b"0\0")]
    session.on_time(0.1)
    assert data_of(session, 0.1) == [1, 2, 3]
    session.receive(wire.pack_ack(3), PEER, 0.2)
    session.on_time(0.2)
    assert sorted(sent(session)) == [
        (PEER, head + b"windowsize\x008\0" + place + b"1\0ranges\x001-3\0"),
        (OTHER, head + place + b"1\0"),
    ]


def sent(session: Session) -> list[tuple[tuple[str, int], bytes]]:
    return [(effect.to, effect.data) for effect in session.take() if isinstance(effect, Datagram)]
