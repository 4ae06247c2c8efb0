"""What boards say about their speed, and the rate that follows (PROTOCOL.md section 8)."""

from __future__ import annotations

import pytest

from gapcast.protocol import paces
from gapcast.protocol.paces import MARGIN, SLOWEST_S, Gate, Paces, air_seconds


def said(*seconds: float, air_s: float = 0.0, now: float = 1.0) -> Paces:
    """Boards 10.0.0.0, 10.0.0.1, ... said this."""
    found = Paces(air_s)
    for number, one in enumerate(seconds):
        found.say((f"10.0.0.{number}", 5000), one, now)
    return found


def departures(gate: Gate, seconds: float, lag_s: float) -> list[float]:
    """When datagrams leave, if an event loop that always has some wakes `lag_s` late."""
    now = 0.0
    times: list[float] = []
    while now < seconds:
        while gate.is_open(now):
            times.append(now)
            gate.spend(now)
        now = gate.next_at() + lag_s
    return times


def test_the_slowest_sets_the_rate() -> None:
    found = said(0.0020, 0.0024, 0.0021)
    assert found.slowest == ("10.0.0.1", 5000)
    assert found.interval_s == pytest.approx(0.0024 / MARGIN)


def test_one_ten_times_slower_is_left_behind() -> None:
    found = said(*[0.0024] * 19, 0.024)
    assert found.interval_s == pytest.approx(0.0024 / MARGIN)
    assert found.is_left_behind(("10.0.0.19", 5000))
    assert not found.is_left_behind(("10.0.0.0", 5000))


def test_the_floor_is_never_above_what_the_air_takes() -> None:
    found = said(0.001, 0.001, 0.005, air_s=0.004)
    assert not found.is_left_behind(("10.0.0.2", 5000))
    assert found.interval_s == pytest.approx(0.005 / MARGIN)


def test_boards_quicker_than_the_air_are_no_limit() -> None:
    assert said(0.0001, 0.0002).interval_s == 0.0
    assert said(0.001, 0.001, air_s=air_seconds(6e6, 1024)).interval_s == 0.0


def test_what_is_no_limit_is_not_worked_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 boards say a word every 2 s, and nearly all are quicker than the air."""
    found = said(0.001, 0.0012, 0.004, air_s=0.0014)
    worked_out = []
    straight = found._work_out
    monkeypatch.setattr(found, "_work_out", lambda now: (worked_out.append(now), straight(now)))
    found.say(("10.0.0.0", 5000), 0.0011, 2.0)
    assert not worked_out
    found.say(("10.0.0.0", 5000), 0.005, 3.0)
    assert found.interval_s == pytest.approx(0.005 / MARGIN)
    found.say(("10.0.0.2", 5000), 0.001, 4.0)
    assert found.interval_s == 0.0
    assert worked_out == [3.0, 4.0]
    found.say(("10.0.0.2", 5000), 0.001, 4.0 + paces.FORGET_S)
    assert ("10.0.0.1", 5000) not in found, "the slowest is silent: all is worked out anew"


def test_ports_of_one_host_have_one_vote() -> None:
    found = said(*[0.002] * 3)
    for port in range(64):
        found.say(("10.9.9.9", port), 0.02, 1.0)
    assert found.interval_s == pytest.approx(0.002 / MARGIN)


def test_nobody_can_stop_a_session() -> None:
    assert said(1000.0).interval_s == SLOWEST_S


def test_who_is_gone_or_silent_counts_no_more() -> None:
    found = said(0.002, 0.003)
    found.drop(("10.0.0.1", 5000))
    assert found.slowest == ("10.0.0.0", 5000)
    found.say(("10.0.0.2", 5000), 0.0015, 1.0 + paces.FORGET_S + 0.1)
    assert found.slowest == ("10.0.0.2", 5000)
    found.drop(("10.0.0.2", 5000))
    assert found.slowest is None
    assert found.interval_s == 0.0


@pytest.mark.parametrize("interval_s", [0.0003, 0.001, 0.0025, 0.01])
@pytest.mark.parametrize("lag_s", [0.0, 0.0002, 0.005, 0.2])
def test_a_late_event_loop_never_sends_more_than_four_at_once(interval_s: float, lag_s: float) -> None:
    gate = Gate()
    gate.interval_s = interval_s
    times = departures(gate, 5.0, lag_s)
    assert max(times.count(time) for time in set(times)) <= 4
    assert len(times) <= 5.0 / interval_s + 4


@pytest.mark.parametrize("interval_s", [0.0006, 0.001, 0.0025, 0.01])
def test_timers_that_are_a_millisecond_late_cost_no_time(interval_s: float) -> None:
    gate = Gate()
    gate.interval_s = interval_s
    assert len(departures(gate, 5.0, 0.001)) == pytest.approx(5.0 / interval_s, rel=0.01)


def test_an_open_gate_costs_nothing() -> None:
    gate = Gate()
    for _ in range(100):
        assert gate.is_open(1.0)
        gate.spend(1.0)
