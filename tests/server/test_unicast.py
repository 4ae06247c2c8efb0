"""One unicast transfer: RFC 1350, 2347, 2348, 2349, 7440, and `ranges`, in virtual time."""

from __future__ import annotations

import random

import pytest

from gapcast.protocol.credit import UNPROVEN_S
from gapcast.protocol.events import TransferDone
from gapcast.protocol.negotiate import plan_unicast, read_request
from gapcast.protocol.types import Datagram
from gapcast.protocol.unicast import Transfer
from gapcast_core import wire

from .clients import Reader
from .virtual import Bytes, Link, Net, VirtualServer

PEER = ("10.0.1.9", 5009)


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def transfer(data: bytes, *pairs: tuple[str, str], now: float = 0.0) -> Transfer:
    request = read_request(wire.pack_request(wire.OP_RRQ, "f", list(pairs)))
    return Transfer(PEER, "f", plan_unicast(request, len(data)), Bytes(data), now)


def datagrams(machine: Transfer) -> list[bytes]:
    return [effect.data for effect in machine.take() if isinstance(effect, Datagram)]


def all_data(machine: Transfer, now: float) -> list[int]:
    """The numbers of all DATA that may leave now."""
    numbers = []
    while (datagram := machine.next_data(now)) is not None:
        numbers.append(datagram.data[2] << 8 | datagram.data[3])
    return numbers


def outcome(machine: Transfer) -> str:
    return next(effect.outcome for effect in machine.take() if isinstance(effect, TransferDone))


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1023, 1024, 1025, 200_000])
@pytest.mark.parametrize("window", [1, 8])
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_every_size_arrives_whole(size: int, window: int, loss: float) -> None:
    net = Net(seed=size + window)
    data = content(size)
    VirtualServer(net, data)
    link = Link(loss=loss, duplicate=loss, delay=(0.0005, 0.004 if loss else 0.0005))
    client = Reader(net, 9, 512, window, link)
    client.start()
    net.run(120, until=lambda: client.done)
    assert client.done
    assert client.bytes() == data


def test_block_numbers_wrap_to_zero() -> None:
    net = Net()
    data = content(70_000 * 8 + 3)
    VirtualServer(net, data, rate_bps=1e9)
    client = Reader(net, 9, 8, 64)
    client.start()
    net.run(120, until=lambda: client.done)
    assert client.last == 70_001
    assert client.bytes() == data


def test_no_data_before_the_ack_of_the_oack() -> None:
    machine = transfer(content(5000), ("blksize", "1024"), ("tsize", "0"))
    assert datagrams(machine) == [b"\0\6blksize\x001024\0tsize\x005000\0"]
    assert not machine.wants_data(0.0)
    machine.receive(wire.pack_ack(0), PEER, 0.01)
    assert all_data(machine, 0.01) == [1]


def test_a_forged_request_costs_little_and_gives_its_place_up_after_ten_seconds() -> None:
    for pairs, limit in (([("blksize", "1024")], 2), ([], 1)):
        machine = transfer(content(5000), *pairs)
        sent, now = len(datagrams(machine)) + len(all_data(machine, 0.0)), 0.0
        while not machine.closed:
            due = machine.deadline()
            assert due is not None
            now = due
            machine.on_time(now)
            sent += len(all_data(machine, now)) + len([d for d in machine.take() if isinstance(d, Datagram)])
        assert sent == limit  # 2 x 15 bytes for 23; one DATA 1
        assert now == UNPROVEN_S


def test_the_oack_is_repeated_as_often_as_the_request_has_paid_for() -> None:
    """RRQ of 36 bytes, OACK of 27: two of them fit 1.5 times as much. Each repeated RRQ pays for two more."""
    machine = transfer(content(5000), ("blksize", "1024"), ("tsize", "0"), ("x" * 4, "y"))
    assert len(datagrams(machine)) == 1
    now = 0.0
    for _ in range(3):
        while (due := machine.deadline()) is not None and due < now + 5:
            machine.on_time(due)
        assert len(datagrams(machine)) == 1
        now += 5
        machine.repeat_offer(now, 36)
        assert len(datagrams(machine)) == 1
    machine.receive(wire.pack_ack(0), PEER, now)
    machine.repeat_offer(now, 36)  # a duplicate from the air, after the proof
    assert datagrams(machine) == []


def test_an_oack_that_is_not_paid_for_twice_is_repeated_without_what_a_client_can_do_without() -> None:
    """curl 7.88: it repeats its ACK of a lost OACK after a minute, and its RRQ after seven seconds."""
    pairs = [("tsize", "0"), ("blksize", "512"), ("timeout", "6")]
    machine = transfer(content(5000), *pairs)
    full = b"\0\6tsize\x005000\0blksize\x00512\0timeout\x006\0"
    brief = b"\0\6blksize\x00512\0"
    assert datagrams(machine) == [full]
    due = machine.deadline()
    assert due is not None
    assert due < 0.5
    machine.on_time(due)
    assert datagrams(machine) == [brief]
    request = read_request(wire.pack_request(wire.OP_RRQ, "f", [*pairs, ("ranges", "1")]))
    assert plan_unicast(request, 5000).brief is None  # a board needs all of it, and asks again soon


def test_a_repeated_request_without_options_gets_data_1_again_until_the_first_ack() -> None:
    machine = transfer(content(5000))
    assert all_data(machine, 0.0) == [1]
    assert all_data(machine, 3.0) == []
    machine.repeat_offer(3.0, 10)
    assert all_data(machine, 3.0) == [1]
    machine.receive(wire.pack_ack(1), PEER, 3.1)
    assert all_data(machine, 3.1) == [2]
    machine.repeat_offer(3.2, 10)
    assert all_data(machine, 3.2) == []


def test_a_repeated_ack_in_lock_step_gives_no_second_data() -> None:
    """RFC 1123 section 4.2.3.1: the Sorcerer's Apprentice Syndrome."""
    machine = transfer(content(5000))
    assert all_data(machine, 0.0) == [1]
    for _ in range(3):
        machine.receive(wire.pack_ack(1), PEER, 0.01)
    assert all_data(machine, 0.01) == [2]
    machine.receive(wire.pack_ack(1), PEER, 0.02)
    assert all_data(machine, 0.02) == []


def test_each_block_is_sent_once_when_every_ack_is_doubled() -> None:
    net = Net()
    server = VirtualServer(net, content(100_000))
    client = Reader(net, 9)
    client.start()
    once = net.send

    def twice(data: bytes, source: tuple[str, int], to: tuple[str, int]) -> None:
        once(data, source, to)
        if source == client.address and data[1] == wire.OP_ACK:
            once(data, source, to)

    net.send = twice  # type: ignore[method-assign]
    net.run(60, until=lambda: client.done)
    assert len(server.data_sent()) == 100_000 // 512 + 1


def test_an_ack_inside_the_window_goes_back_once() -> None:
    """RFC 7440 section 4: the block after the acknowledged one was lost."""
    machine = transfer(content(20_000), ("windowsize", "8"))
    machine.receive(wire.pack_ack(0), PEER, 0.1)
    assert all_data(machine, 0.1) == [1, 2, 3, 4, 5, 6, 7, 8]
    machine.receive(wire.pack_ack(3), PEER, 0.11)
    assert all_data(machine, 0.11) == [4, 5, 6, 7, 8, 9, 10, 11]
    machine.receive(wire.pack_ack(3), PEER, 0.111)  # caused by the old 5, 6, 7, 8
    assert all_data(machine, 0.111) == []


def test_a_lost_block_costs_milliseconds() -> None:
    net = Net()
    VirtualServer(net, content(10_000))
    lost = [5]
    client = Reader(
        net, 9, link=Link(drop=lambda data: data[1] == 3 and data[3] in lost and bool(lost.pop()))
    )
    client.start()
    start = net.now
    net.run(10, until=lambda: client.done)
    assert client.done
    assert net.now - start < 0.1  # RFC 2349's least timeout is a whole second


def test_a_busy_client_is_asked_with_one_datagram_before_a_whole_window_is_repeated() -> None:
    machine = transfer(content(20_000), ("windowsize", "8"))
    machine.receive(wire.pack_ack(0), PEER, 0.001)
    assert all_data(machine, 0.001) == [1, 2, 3, 4, 5, 6, 7, 8]
    due = machine.deadline()
    assert due is not None
    machine.on_time(due)
    assert all_data(machine, due) == [8]


def test_a_silent_client_is_given_up_after_ten_seconds() -> None:
    machine = transfer(content(5000))
    all_data(machine, 0.0)
    machine.receive(wire.pack_ack(1), PEER, 0.01)
    sent, now = len(all_data(machine, 0.01)), 0.01
    while not machine.closed:
        due = machine.deadline()
        assert due is not None
        now = due
        machine.on_time(now)
        sent += len(all_data(machine, now))
    assert 10 <= now < 12
    assert sent < 25
    assert outcome(machine) == "silent"


@pytest.mark.parametrize("how", ["silent", "refused"])
def test_a_lost_last_ack_is_no_failure(how: str) -> None:
    net = Net()
    data = content(1000)
    server = VirtualServer(net, data)
    client = Reader(net, 9)
    client.say_goodbye = False
    client.start()
    net.run(10, until=lambda: client.done)
    if how == "refused":
        client.leave()
    else:
        client.die()
    net.run(10)
    assert [event.outcome for event in server.events("transfer_done")] == ["unconfirmed"]


def test_a_client_that_leaves_in_the_middle_is_gone_at_once() -> None:
    net = Net()
    server = VirtualServer(net, content(1_000_000))
    client = Reader(net, 9)
    client.start()
    net.run(0.1)
    client.leave()
    net.run(0.1)
    assert [event.outcome for event in server.events("transfer_done")] == ["gone"]


def test_a_stranger_gets_error_5_and_does_not_disturb() -> None:
    machine = transfer(content(5000))
    machine.take()
    all_data(machine, 0.0)
    machine.receive(wire.pack_ack(1), ("10.9.9.9", 1), 0.01)
    assert datagrams(machine) == [b"\0\5\0\5u\0"]  # not longer than 1.5 times what came
    machine.receive(wire.pack_error(0, "stop"), ("10.9.9.9", 1), 0.01)
    assert datagrams(machine) == []
    assert not machine.closed
    machine.receive(wire.pack_ack(1), PEER, 0.02)
    assert all_data(machine, 0.02) == [2]


def test_an_error_ends_it() -> None:
    machine = transfer(content(5000))
    machine.receive(wire.pack_error(3, "disk full"), PEER, 0.01)
    assert machine.closed
    assert outcome(machine) == "error"


def test_data_that_waits_for_the_pacer_is_not_overdue() -> None:
    machine = transfer(content(5000), ("blksize", "1024"))
    machine.take()
    machine.receive(wire.pack_ack(0), PEER, 0.01)
    assert machine.deadline() is None
    machine.on_time(99.0)
    assert not machine.closed
    assert all_data(machine, 99.0) == [1]


@pytest.mark.parametrize(
    ("size", "ranges", "numbers", "short"),
    [
        (10 * 1024, "1", [1], False),
        (10 * 1024, "2-3,7,10", [2, 3, 7, 10], False),
        (10 * 1024 + 1, "1,11", [1, 11], True),
        (10 * 1024 + 1, "1-10", list(range(1, 11)), False),
        (5, "1", [1], True),
    ],
)
def test_ranges_are_a_virtual_file(size: int, ranges: str, numbers: list[int], short: bool) -> None:
    data = content(size)
    machine = transfer(data, ("blksize", "1024"), ("tsize", "0"), ("windowsize", "64"), ("ranges", ranges))
    oack = datagrams(machine)[0]
    assert wire.parse_oack(oack)[1:] == [("tsize", str(size)), ("windowsize", "6"), ("ranges", ranges)]
    machine.receive(wire.pack_ack(0), PEER, 0.01)
    got: list[bytes] = []
    while (datagram := machine.next_data(0.01)) is not None:
        got.append(datagram.data[4:])
        if len(got) % 6 == 0:
            machine.receive(wire.pack_ack(len(got)), PEER, 0.01)
    want = [data[(number - 1) * 1024 : number * 1024] for number in numbers]
    assert got == want if short else got == [*want, b""]
    machine.receive(wire.pack_ack(len(got)), PEER, 0.02)
    assert outcome(machine) == "complete"


def test_the_empty_end_of_a_virtual_file_may_be_acknowledged_unseen() -> None:
    machine = transfer(content(8192), ("blksize", "1024"), ("windowsize", "2"), ("ranges", "3-4"))
    machine.take()
    machine.receive(wire.pack_ack(0), PEER, 0.01)
    assert all_data(machine, 0.01) == [1, 2]
    machine.receive(wire.pack_ack(3), PEER, 0.02)
    assert outcome(machine) == "complete"


def test_a_file_that_changes_ends_the_transfer() -> None:
    from gapcast.protocol.types import ContentChangedError

    class Changing(Bytes):
        def read(self, offset: int, count: int) -> bytes:
            raise ContentChangedError

    request = read_request(wire.pack_request(wire.OP_RRQ, "a.name", []))
    machine = Transfer(PEER, "f", plan_unicast(request, 5000), Changing(content(5000)), 0.0)
    machine.take()
    assert machine.next_data(0.0) is None
    effects = machine.take()
    assert effects[0] == Datagram(b"\0\5\0\0file changed\0", PEER)
    assert machine.closed
