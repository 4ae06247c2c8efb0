"""Boards that lag behind the air slow a session down (protocol/lags.py, PROTOCOL.md section 8.5)."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

import pytest

from gapcast.protocol.flight import BEHIND, BEHIND_MAX_S, LOST, MAX_S, Flight
from gapcast.protocol.lags import ALLOWED_S, EVERY_S, SLOWEST_TIMES, Lags
from gapcast.protocol.types import Address
from gapcast_core import wire

from .mended_bench import REPAIR, Bench, outcomes
from .mended_board import MendedBoard
from .virtual import GROUP, Net

AIR_S = 0.001427  # of a DATA of 1 KiB at 6 Mbit/s


def settled(lags_s: list[float], rounds: int = 60) -> Lags:
    """After so many rounds of reports, one of each host; in the first round nobody lags yet."""
    lags = Lags(AIR_S)
    for number in range(-1, rounds):
        for host, lag_s in enumerate(lags_s):
            lags.tell(f"10.0.0.{host}", lag_s if number >= 0 else 0.0, number * EVERY_S)
    return lags


@pytest.mark.parametrize("lag_s", [0.0, 0.01, ALLOWED_S])
def test_a_lag_that_is_allowed_is_no_limit(lag_s: float) -> None:
    assert settled([lag_s] * 5).interval_s == 0.0


@pytest.mark.parametrize("doublings", [1, 2])
def test_beyond_that_the_time_doubles(doublings: int) -> None:
    found = settled([ALLOWED_S + doublings * ALLOWED_S] * 5)
    assert found.interval_s == pytest.approx(AIR_S * 2**doublings, rel=0.01)


def test_it_has_an_end() -> None:
    assert settled([60.0] * 5).interval_s == AIR_S * SLOWEST_TIMES


def test_a_few_that_lag_or_claim_it_slow_nobody() -> None:
    assert settled([5.0, 5.0, 0.0, 0.0, 0.0]).interval_s == 0.0


def test_one_that_speaks_often_has_one_voice() -> None:
    lags = Lags(AIR_S)
    for number in range(500):
        lags.tell("10.0.0.66", 5.0, number * 0.01)
        if not number % 20:
            lags.tell("10.0.0.1", 0.0, number * 0.01)
            lags.tell("10.0.0.2", 0.0, number * 0.01)
    assert lags.interval_s == 0.0


def test_who_has_left_or_is_silent_counts_no_more() -> None:
    lags = settled([1.0, 1.0, 1.0])
    assert lags.interval_s > 0.0
    for host in range(3):
        lags.drop(f"10.0.0.{host}")
    for number in range(60):
        lags.tell("10.0.0.9", 0.0, 10.0 + number * EVERY_S)
    assert lags.interval_s == 0.0


def test_a_lag_that_nobody_confirms_holds_twice_as_long_as_it_was() -> None:
    """Slowed down there are few generations, and so few reports: one bad moment must not hold a session."""
    lags = settled([0.3] * 3)
    told_at = 59 * EVERY_S
    assert not lags.expire(told_at + 0.59)
    assert lags.interval_s > 0.0
    assert lags.expire(told_at + 0.61)
    assert lags.interval_s == 0.0
    assert not lags.expire(told_at + 0.7), "once is enough"


def test_at_a_slow_rate_some_datagrams_are_allowed() -> None:
    slow = Lags(ALLOWED_S)
    for number in range(-1, 60):
        slow.tell("10.0.0.1", 4 * ALLOWED_S if number >= 0 else 0.0, number * EVERY_S)
    assert slow.interval_s == 0.0


def test_after_the_stream_nothing_is_held_back() -> None:
    lags = settled([1.0] * 3)
    assert lags.interval_s > 0.0
    lags.end()
    assert lags.interval_s == 0.0


# ---- what a report may know of ----


def flight(datagrams: int, seconds: float) -> Flight:
    found = Flight(3)
    for number in range(1, datagrams + 1):
        found.sent(number, number / datagrams * seconds)
    return found


def test_what_was_sent_long_ago_has_arrived_or_is_lost() -> None:
    found = flight(20, 0.2)
    assert found.seen(found.place(12), 0.2) == 12
    assert found.seen(found.place(12), 0.2 + MAX_S) == 20
    assert found.seen(0, 0.2 + MAX_S + BEHIND_MAX_S) == 20


def test_a_board_that_knows_nothing_of_many_works_through_its_queue() -> None:
    found = flight(100, 0.1)
    place = found.place(100 - BEHIND - 1)
    assert found.seen(place, 0.11 + MAX_S) == place
    assert found.seen(place, 0.11 + BEHIND_MAX_S) == 100


def test_the_lag_is_that_of_the_first_datagram_that_loss_does_not_explain() -> None:
    found = flight(10, 1.0)
    assert found.lag(4, 2.0) == pytest.approx(1.2)
    assert found.lag(10 - LOST, 2.0) == 0.0
    assert found.lag(10, 2.0) == 0.0


# ---- whole sessions ----


def intervals(bench: Bench) -> list[float]:
    times = [
        when for when, _from, to, data in bench.net.sent if to in (GROUP, REPAIR) and data[1] == wire.OP_DATA
    ]
    return [later - earlier for earlier, later in pairwise(times[600:1500])]


@pytest.mark.parametrize("delay_s", [0.002, 0.12])
def test_a_long_way_is_no_queue(delay_s: float) -> None:
    bench = Bench(2057)
    bench.boards(6, 0.1, delay=(delay_s, delay_s + 0.001))
    bench.play()
    bench.over()
    assert outcomes(bench) == {"complete"}
    assert median(intervals(bench)) == pytest.approx(AIR_S, rel=0.05)


class AccessPoint:
    """Sends each datagram to a group once, twice as slowly as it gets them."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self._sent: dict[tuple[float, bytes], float] = {}
        self._free_at = 0.0

    def carries_until(self, data: bytes) -> float:
        key = self._net.now, data[:4]
        if key not in self._sent:
            self._free_at = self._sent[key] = max(self._free_at, self._net.now) + 2 * AIR_S
        return self._sent[key]


def test_an_access_point_that_takes_less_than_the_rate_is_not_overrun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(2057)
    point = AccessPoint(bench.net)
    longest_s = 0.0
    straight = bench.net._carry

    def carry(data: bytes, source: Address, target: Address) -> None:
        nonlocal longest_s
        if data[1] != wire.OP_DATA:
            straight(data, source, target)
            return
        until = point.carries_until(data)
        longest_s = max(longest_s, until - bench.net.now)
        bench.net.at(until, lambda: straight(data, source, target))

    monkeypatch.setattr(bench.net, "_carry", carry)
    bench.boards(6, 0.02)
    bench.play()
    bench.over()
    assert outcomes(bench) == {"complete"}
    assert longest_s < 0.25
    assert median(intervals(bench)) == pytest.approx(2 * AIR_S, rel=0.25)


def test_a_moment_of_lag_holds_a_slow_session_for_a_moment() -> None:
    """A server that was away finds old reports: of 1 Mbit/s, 70 kbit/s were left until the next ones."""
    bench = Bench(2057, rate=1e6)
    bench.boards(6, 0.1)

    def tell() -> None:
        assert bench.server.session is not None
        session = bench.server.session.machine
        for member in list(session._roster):
            session._smooth_lag(member, 0.5, bench.net.now)

    for when_s in (6.0, 6.06):
        bench.net.at(bench.net.now + when_s, tell)
    bench.play()
    bench.over()
    assert outcomes(bench) == {"complete"}
    assert bench.finished < 1.3 * len(bench.data) * 8 / 1e6


def test_boards_that_lag_cost_little_more_air() -> None:
    """Their reports are old: symbols on their way are not sent once more, and none are made of pairs."""
    bench = Bench(2057)
    bench.boards(20, 0.1, delay=(0.05, 0.051))
    bench.play()
    bench.over()
    assert outcomes(bench) == {"complete"}
    assert bench.air < 1.29
    paired = [
        data
        for _when, _from, to, data in bench.net.sent
        if to == REPAIR and data[2] & 0x80 and not data[3] & 0x80
    ]
    assert len(paired) < 60


def test_loss_is_no_lag() -> None:
    bench = Bench(2057)
    bench.boards(6, 0.3)
    bench.play()
    bench.over()
    assert median(intervals(bench)) == pytest.approx(AIR_S, rel=0.05)


def test_symbols_go_in_between_the_blocks_of_slow_boards() -> None:
    """Their flash takes 3 ms for a block; nothing is written for a symbol when it comes."""
    bench = Bench(700)
    boards = bench.boards(8, 0.1)
    for board in boards:
        bench.net.at(bench.net.now + 0.2, lambda board=board: say_pace(board, 3000))  # type: ignore[misc]
    bench.play()
    bench.over()
    assert outcomes(bench) == {"complete"}
    sent = [(when, to == REPAIR) for when, _from, to, data in bench.net.sent if to in (GROUP, REPAIR)]
    blocks = [when for when, is_symbol in sent if not is_symbol][150:650]
    assert min(later - earlier for earlier, later in zip(blocks, blocks[10:], strict=False)) > 9 * 0.003
    symbols = sum(is_symbol for when, is_symbol in sent if blocks[0] < when < blocks[-1])
    assert symbols > 50
    assert blocks[-1] - blocks[0] < len(blocks) * 0.0032


def say_pace(board: MendedBoard, us: int) -> None:
    assert board.server is not None
    board._transmit(wire.pack_request(wire.OP_RRQ, "pace", [("pace", str(us))]), board.server)
