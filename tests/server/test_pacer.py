"""The pacer: exact mean rate, four datagrams back to back at most, no making up for lost time."""

from __future__ import annotations

import random

import pytest

from gapcast.protocol.pacer import Pacer

PAYLOAD = 1028
COST_BITS = (PAYLOAD + 42) * 8


def departures(pacer: Pacer, seconds: float, lateness: float = 0.0, start: float = 50.0) -> list[float]:
    """When datagrams leave, if the event loop wakes up to `lateness` seconds after it should."""
    rng = random.Random(7)
    now = start
    times: list[float] = []
    while now < start + seconds:
        while pacer.may_send(now):
            times.append(now)
            pacer.spend(PAYLOAD, now)
        now = pacer.next_at() + rng.uniform(0, lateness)
    return times


@pytest.mark.parametrize("lateness", [0.0, 0.001, 0.003])
def test_the_mean_rate_is_exact_in_spite_of_late_timers(lateness: float) -> None:
    times = departures(Pacer(6e6), 10, lateness)
    rate = len(times) * COST_BITS / 10
    assert rate == pytest.approx(6e6, rel=0.002)


@pytest.mark.parametrize("lateness", [0.0, 0.001, 0.01, 0.2])
def test_never_more_than_four_at_once(lateness: float) -> None:
    times = departures(Pacer(6e6), 10, lateness)
    assert max(times.count(time) for time in set(times)) <= 4


def test_lost_time_is_not_made_up() -> None:
    pacer = Pacer(6e6)
    departures(pacer, 1)
    later = departures(pacer, 1, start=100.0)  # 49 idle seconds before
    assert len(later) <= 6e6 / COST_BITS + 4
    assert later.count(100.0) <= 4


def test_unlimited_is_always_free() -> None:
    pacer = Pacer(None)
    for _ in range(1000):
        assert pacer.may_send(1.0)
        pacer.spend(65000, 1.0)


def test_a_pause_holds_everything() -> None:
    pacer = Pacer(None)
    pacer.hold_until(2.0)
    assert not pacer.may_send(1.999)
    assert pacer.may_send(2.0)


def test_a_big_datagram_is_paid_in_full() -> None:
    pacer = Pacer(1e6)
    pacer.spend(65464, 0.0)
    pacer.spend(65464, pacer.next_at())
    pacer.spend(65464, pacer.next_at())
    pacer.spend(65464, pacer.next_at())
    assert pacer.next_at() == pytest.approx((65464 + 42) * 8 / 1e6)
