"""A small file for many at once (protocol/handout.py, PROTOCOL.md section 12), in virtual time."""

from __future__ import annotations

import pytest

from gapcast.protocol.askers import CROWD, CROWD_S, KEPT_S, MAX_ASKERS, MAX_FILES, Askers
from gapcast.protocol.credit import ANSWER_RATIO
from gapcast.protocol.handout import FEW, GATHER_S, IDLE_S, REPEAT_S, ROUNDS, Handout
from gapcast.protocol.members import MAX_UNPROVEN
from gapcast.protocol.negotiate import can_multicast, is_small, plan_join, read_request
from gapcast.protocol.pacer import Pacer
from gapcast.protocol.types import Address, ContentChangedError
from gapcast_core import offer, options, wire

from .clients import OACK, Client
from .virtual import GROUP, MAIN, Bytes, Link, Net, Tid

HEADER = bytes(range(256)) * 4
SHARED, PLAIN = offer.head_requests("fw.hdr", 1024)


class Desk:
    """A server that hands everything out, and nothing else."""

    def __init__(self, net: Net, data: bytes = HEADER, rate_bps: float = 6e6) -> None:
        self.net = net
        self.content = Bytes(data)
        self.handout = Handout("fw.hdr", self.content, 1024, GROUP, net.now)
        self.tid = Tid(net, (MAIN[0], 40000), self.handout, Pacer(rate_bps))
        net.attach(MAIN, self._on_request)

    def _on_request(self, data: bytes, source: Address) -> None:
        request = read_request(data)
        assert is_small(request, self.content.size)
        assert can_multicast(request, self.content.size)
        if not self.handout.closed:
            self.handout.join(source, plan_join(request, self.content.size), self.net.now)
            self.tid.settle()

    def rounds(self) -> list[float]:
        """When block 1 went to the group."""
        return [when for when, _from, to, data in self.net.sent if to == GROUP and data[:4] == b"\0\3\0\1"]

    def closing(self) -> tuple[int, int, int]:
        """(joined, complete, rounds), once it is over."""
        self.net.run(60, until=lambda: self.handout.closed)
        [event] = self.tid.named("handed_out")
        assert self.handout.deadline() is None
        return event.joined, event.complete, event.rounds


class Taker(Client):
    """A board that asks for a header. heard: blocks that came."""

    def __init__(self, net: Net, number: int, link: Link | None = None, total: int = 1) -> None:
        pairs = [("blksize", "1024"), ("tsize", "0"), ("multicast", ""), ("ranges", "")]
        super().__init__(net, number, pairs, link)
        self.total = total
        self.oacks = 0

    def receive(self, data: bytes, source: Address) -> None:
        self.server = source
        if data[1] == OACK:
            self.oacks += 1
            assert wire.option(wire.parse_oack(data), "ranges") == ""
            group, port, is_master = options.parse_multicast(wire.option(wire.parse_oack(data), "multicast"))
            assert not is_master
            self.net.join((group, port), self.address)
            self.ack(0)
            return
        self.blocks[data[3]] = bytes(data[4:])
        if len(self.blocks) == self.total:
            self.done = True
            self.ack(self.total)


def fleet(net: Net, count: int, gap_s: float = 0.001, link: Link | None = None) -> list[Taker]:
    takers = [Taker(net, number, link) for number in range(1, count + 1)]
    for index, taker in enumerate(takers):
        net.at(net.now + index * gap_s, taker.start)
    return takers


def test_all_get_it_by_one_data() -> None:
    net = Net()
    desk = Desk(net)
    started = net.now
    takers = fleet(net, 20)
    assert desk.closing() == (20, 20, 1)
    assert [taker.bytes() for taker in takers] == [HEADER] * 20
    assert desk.rounds()[0] - started <= GATHER_S + 0.001
    assert sum(len(data) for _w, source, _to, data in net.sent if source[0] == MAIN[0]) < 20 * 80 + 1100


def test_the_requests_octets_pay_for_the_answer() -> None:
    net = Net()
    desk = Desk(net)
    desk.handout.group = ("239.195.255.255", 28191)
    net.attach(("10.9.9.9", 9), lambda _data, _source: None)
    net.send(SHARED, ("10.9.9.9", 9), MAIN)
    assert desk.closing() == (1, 0, 0)
    sent = [data for _when, _source, to, data in net.sent if to == ("10.9.9.9", 9)]
    assert 0 < sum(map(len, sent)) <= ANSWER_RATIO * len(SHARED)


def deaf(net: Net, loss: float) -> Link:
    """Loses so much of what goes to the group."""
    return Link(drop=lambda data: data[1] == wire.OP_DATA and net.random.random() < loss)


@pytest.mark.parametrize("loss", [0.1, 0.2])
def test_who_lost_it_gets_it_in_the_next_round(loss: float) -> None:
    net = Net(7)
    desk = Desk(net)
    takers = fleet(net, 50, link=deaf(net, loss))
    net.run(0.3, until=lambda: all(taker.done for taker in takers))
    assert all(taker.done for taker in takers)
    assert len(desk.rounds()) <= ROUNDS
    assert desk.closing()[:2] == (50, 50)


def test_when_everything_is_lost_as_often_most_have_it() -> None:
    """RRQ, OACK, ACK 0 or DATA: the others ask again by unicast."""
    net = Net(7)
    desk = Desk(net)
    takers = fleet(net, 50, link=Link(loss=0.2, delay=(0.001, 0.004)))
    desk.closing()
    assert sum(taker.done for taker in takers) >= 48
    assert len(desk.rounds()) < 25  # an ACK that is lost costs rounds, too


@pytest.mark.parametrize(("boards", "apart_s"), [(FEW, GATHER_S), (FEW + 1, REPEAT_S)])
def test_rounds_are_no_closer_than_the_gathering_and_end(boards: int, apart_s: float) -> None:
    net = Net()
    desk = Desk(net)
    mute = Link(drop=lambda data: data[1] == wire.OP_DATA)
    takers = fleet(net, boards, link=mute)
    net.run(1.0, until=lambda: len(desk.rounds()) == ROUNDS)
    joined, complete, rounds = desk.closing()
    assert (joined, complete) == (boards, 0)
    assert rounds == len(desk.rounds()) == ROUNDS
    assert not any(taker.done for taker in takers)
    gaps = [later - earlier for earlier, later in zip(desk.rounds(), desk.rounds()[1:], strict=False)]
    assert all(apart_s - 1e-6 <= gap < apart_s + 0.01 for gap in gaps)


def test_when_the_others_have_answered_who_lost_it_waits_no_longer() -> None:
    net = Net()
    desk = Desk(net)
    heard: list[bytes] = []

    def first(data: bytes) -> bool:
        heard.append(data)
        return data[1] == wire.OP_DATA and sum(each[1] == wire.OP_DATA for each in heard) == 1

    takers = fleet(net, 10)
    takers[4].link.drop = first
    net.run(1.0, until=lambda: all(taker.done for taker in takers))
    one, other = desk.rounds()
    assert GATHER_S - 1e-6 <= other - one < REPEAT_S - 0.01


def test_a_trickle_costs_no_more_than_a_round_each_gathering() -> None:
    net = Net()
    desk = Desk(net)
    takers = fleet(net, 200, gap_s=0.005)
    net.run(5, until=lambda: all(taker.done for taker in takers))
    assert all(taker.done for taker in takers)
    gaps = [later - earlier for earlier, later in zip(desk.rounds(), desk.rounds()[1:], strict=False)]
    assert all(gap >= GATHER_S - 1e-6 for gap in gaps)
    assert len(desk.rounds()) <= 1.0 / GATHER_S + 2


def test_forged_requests_cause_no_data_and_no_growth() -> None:
    net = Net()
    desk = Desk(net)
    for number in range(2000):
        address = (f"10.66.{number // 200}.{number % 200}", 1000 + number)
        net.attach(address, lambda _data, _source: None)
        net.at(net.now + number * 0.0005, lambda address=address: net.send(SHARED, address, MAIN))  # type: ignore[misc]
    most = 0

    def watch() -> bool:
        nonlocal most
        most = max(most, len(desk.handout._roster))
        return False

    net.run(1.2, until=watch)
    assert desk.rounds() == []
    assert most <= MAX_UNPROVEN + 1
    assert desk.closing()[2] == 0


def test_forged_requests_do_not_keep_real_boards_waiting() -> None:
    net = Net()
    Desk(net)
    for number in range(1000):
        address = (f"10.66.{number // 200}.{number % 200}", 1000 + number)
        net.attach(address, lambda _data, _source: None)
        net.at(net.now + number * 0.0005, lambda address=address: net.send(SHARED, address, MAIN))  # type: ignore[misc]
    net.run(0.1)
    started = net.now
    takers = fleet(net, 5)
    net.run(1, until=lambda: all(taker.done for taker in takers))
    assert net.now - started < 3 * GATHER_S


def test_a_file_that_changed_is_not_mixed() -> None:
    class Changed(Bytes):
        def read(self, offset: int, count: int) -> bytes:
            raise ContentChangedError

    net = Net()
    desk = Desk(net)
    desk.handout._file._content = Changed(HEADER)
    takers = fleet(net, 4)
    assert desk.closing() == (4, 0, 0)
    assert not any(taker.blocks for taker in takers)


def test_errors_strangers_and_nonsense() -> None:
    net = Net()
    desk = Desk(net)
    taker = Taker(net, 1)
    taker.start()
    net.run(0.002)
    tid = desk.tid.address
    stranger = ("10.0.9.9", 9)
    heard: list[bytes] = []
    net.attach(stranger, lambda data, _source: heard.append(data))
    for data in (wire.pack_ack(0), b"", b"\0", wire.pack_data(1, b"x"), wire.pack_request(1, "f", [])):
        net.send(data, stranger, tid)
        net.send(data, taker.address, tid)
    net.send(wire.pack_ack(2), taker.address, tid)
    net.run(0.002)
    assert {data[:4] for data in heard} == {b"\0\5\0\5"}
    drops = {event.reason for event in desk.tid.named("dropped")}
    assert {"foreign_tid", "ack_beyond_end"} <= drops
    net.send(wire.pack_error(0, "enough"), taker.address, tid)
    net.run(0.001)
    assert not desk.handout.has_member(taker.address)
    started = net.now
    assert desk.closing()[1] == 0
    assert net.now - started <= IDLE_S + 0.1


def test_several_blocks() -> None:
    net = Net()
    Desk(net, bytes(3000))
    takers = [Taker(net, number, deaf(net, 0.1), total=3) for number in range(1, 11)]
    for taker in takers:
        taker.start()
    net.run(5, until=lambda: all(taker.done for taker in takers))
    assert [taker.bytes() for taker in takers] == [bytes(3000)] * 10


# ---- who is a crowd ----


def test_a_crowd_is_so_many_within_a_moment() -> None:
    askers = Askers()
    sources = [(f"10.0.0.{number}", 5) for number in range(10)]
    assert [askers.note("a", source, 1.0) for source in sources] == [False] * (CROWD - 1) + [True] * (
        11 - CROWD
    )
    assert not askers.note("b", sources[0], 1.0)
    assert not askers.note("a", sources[0], 1.1 + CROWD_S)


def test_one_that_repeats_its_request_is_no_crowd() -> None:
    askers = Askers()
    assert not any(askers.note("a", ("10.0.0.1", 5), 1.0) for _ in range(50))


def test_who_asked_is_remembered_for_a_while_and_not_without_end() -> None:
    askers = Askers()
    for number in range(3 * MAX_ASKERS):
        askers.note("a", (f"10.{number // 250}.{number % 250}.1", 5), 1.0 + number / 1e6)
    seen = askers.seen("a", 1.1)
    assert len(seen.hosts) == MAX_ASKERS
    assert seen.latest == pytest.approx(1.0 + (3 * MAX_ASKERS - 1) / 1e6)
    assert askers.seen("a", 1.1 + KEPT_S).hosts == frozenset()
    for number in range(2 * MAX_FILES):
        askers.note(number, ("10.0.0.1", 5), 1.0)
    assert len(askers._files) == MAX_FILES
    assert askers.seen("a", 1.1).hosts == frozenset()
