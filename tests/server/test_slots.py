"""Forged requests take no place away from real ones; permissions a second."""

from __future__ import annotations

import pytest

from gapcast.net.slots import Slots
from gapcast.protocol.credit import Credit, PerSecond, Recent, error_within
from gapcast.protocol.types import Address
from gapcast_core.errors import PeerError


class Guest:
    def __init__(self, source: Address, verified: bool = False) -> None:
        self.source = source
        self.verified = verified
        self.finished = False


class House:
    def __init__(self, limit: int = 8, per_host: int = 4) -> None:
        self.evicted: list[Guest] = []
        self.slots: Slots[Guest] = Slots(limit, per_host, self._evict)

    def _evict(self, guest: Guest) -> None:
        assert guest.finished or not guest.verified
        self.evicted.append(guest)
        self.slots.remove(guest.source, guest)

    def enter(self, host: str, port: int = 1, verified: bool = False) -> Guest:
        guest = Guest((host, port), verified)
        self.slots.make_room(guest.source)
        self.slots.add(guest.source, guest)
        return guest


def test_a_flood_of_forged_ones_evicts_only_its_like() -> None:
    house = House()
    real = [house.enter(f"10.0.0.{number}", verified=True) for number in range(7)]
    for number in range(1000):
        house.enter(f"10.9.{number // 200}.{number % 200}")
    assert all(house.slots.get(guest.source) is guest for guest in real)
    assert len(house.slots) == 7 + 8
    late = house.enter("10.0.0.100")  # a real one in the flood: its proof comes within a few requests
    for number in range(5):
        house.enter(f"10.8.0.{number}")
    assert house.slots.get(late.source) is late
    assert len(house.evicted) == 1000 - 8 + 6


def test_when_all_places_are_proven_the_next_is_refused() -> None:
    house = House(limit=4)
    guests = [house.enter(f"10.0.0.{number}", verified=True) for number in range(7)]
    with pytest.raises(PeerError, match="busy"):
        house.enter("10.1.0.1")
    assert house.evicted == []
    house.slots.remove(guests[0].source, guests[0])
    house.enter("10.1.0.1")


def test_one_host_has_few_places_but_forged_ones_do_not_lock_it_out() -> None:
    house = House()
    for port in range(100):
        house.enter("10.0.0.1", port)
    assert len(house.slots) == 4
    for port in range(200, 204):
        house.enter("10.0.0.1", port, verified=True)
    with pytest.raises(PeerError, match="busy"):
        house.enter("10.0.0.1", 300)
    house.enter("10.0.0.2", 300)


def test_the_finished_leave_first() -> None:
    house = House(limit=4)
    guests = [house.enter("10.0.0.1", port, verified=True) for port in range(4)]
    guests[2].finished = True
    house.enter("10.0.0.1", 4, verified=True)  # the host's places are full
    assert house.evicted == [guests[2]]
    for number in range(3):
        house.enter(f"10.0.1.{number}", verified=True)
    guests[3].finished = True
    house.enter("10.0.2.1")  # all places are taken
    assert house.evicted == [guests[2], guests[3]]


def test_a_proven_one_in_the_pool_makes_room_before_an_unproven_one_goes() -> None:
    house = House(limit=4)
    waiting = house.enter("10.0.0.1")
    for number in range(2, 5):
        house.enter(f"10.0.0.{number}", verified=True)
    house.enter("10.0.1.1")
    assert house.slots.get(waiting.source) is waiting
    assert house.evicted == []


def test_a_place_is_given_back_once() -> None:
    house = House(per_host=1)
    first = house.enter("10.0.0.1", verified=True)
    house.slots.remove(first.source, first)
    house.slots.remove(first.source, first)
    second = house.enter("10.0.0.1")
    house.slots.remove(second.source, first)
    assert house.slots.get(second.source) is second
    assert house.slots.all() == [second]


def test_permissions_a_second() -> None:
    limit = PerSecond(10, 3)
    assert [limit.may("a", 5.0) for _ in range(5)] == [True] * 3 + [False] * 2
    assert sum(limit.may(f"h{number}", 5.5) for number in range(100)) == 7
    assert not limit.may("b", 5.99)
    assert limit.may("a", 6.01)


def test_hosts_are_remembered_for_a_while_and_not_without_end() -> None:
    recent = Recent(3, 10.0)
    for number in range(4):
        recent.note(f"h{number}", 1.0)
    assert [recent.has(f"h{number}", 2.0) for number in range(4)] == [False, True, True, True]
    recent.note("h1", 5.0)
    recent.note("h4", 5.0)  # h2 was heard longest ago
    assert [recent.has(f"h{number}", 6.0) for number in range(1, 5)] == [True, False, True, True]
    assert [recent.has(f"h{number}", 12.0) for number in range(1, 5)] == [True, False, False, True]


def test_credit() -> None:
    credit = Credit(20)
    assert credit.covers(30)
    assert not credit.covers(31)
    assert credit.spend(20)
    assert not credit.spend(11)
    credit.earn(1)
    assert credit.spend(11)


@pytest.mark.parametrize("received", range(40))
def test_errors_are_cut_to_what_was_paid(received: int) -> None:
    answer = error_within(4, "option without välue", received)
    if received < 4:
        assert answer is None  # 5 bytes are the least
    else:
        assert answer is not None
        assert len(answer) <= 1.5 * received
        assert answer[:4] == b"\0\5\0\4"
        assert answer[-1] == 0
