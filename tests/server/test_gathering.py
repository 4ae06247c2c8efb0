"""When a stream with boards starts (protocol/gathering.py, PROTOCOL.md section 7.2)."""

from __future__ import annotations

import pytest

from gapcast.protocol.askers import Askers
from gapcast.protocol.gathering import LONGEST_S, QUIET_S
from gapcast.protocol.multicast import Session
from gapcast.protocol.settings import Settings

from .clients import Board
from .virtual import Link, Net, VirtualServer

SIZE = 50_000
EAGER = Settings(gather_s=0.15, eager=True)


def bench(
    join_at: dict[int, float], asked_at: dict[int, float] | None = None, settings: Settings = EAGER
) -> tuple[Net, float]:
    """(the network after the update, seconds from the first join to the first DATA)."""
    net = Net()
    server = VirtualServer(net, bytes(SIZE), settings=settings)
    askers = Askers()
    start = net.now
    for number, at in (asked_at or {}).items():
        net.at(start + at, lambda number=number: note(number))  # type: ignore[misc]
    boards = [Board(net, number, SIZE, Link(delay=(0.001, 0.002))) for number in join_at]

    def note(number: int) -> None:
        askers.note("header", (f"10.0.1.{number}", 6), net.now)

    def begin(board: Board) -> None:
        board.start()
        net.at(net.now + 1e-6, expect)

    def expect() -> None:
        if server.session is not None and asked_at is not None:
            assert isinstance(server.session.machine, Session)
            server.session.machine.gathering.expected = lambda now: askers.seen("header", now)

    for board, at in zip(boards, join_at.values(), strict=True):
        net.at(start + at, lambda board=board: begin(board))  # type: ignore[misc]
    # the server knows who asked before the first one joins
    net.run(min(join_at.values()) + 0.0012, until=lambda: server.session is not None)
    expect()
    net.run(60, until=lambda: all(board.done for board in boards))
    assert all(board.done for board in boards)
    return net, server.data_sent()[0][0] - start - min(join_at.values())


def test_it_starts_when_all_that_asked_have_joined() -> None:
    asked = {number: 0.001 * number for number in range(1, 11)}
    _net, waited = bench({number: 0.06 + 0.004 * number for number in asked}, asked)
    assert 0.036 <= waited < 0.045


def test_it_waits_for_who_asked_and_comes_late_but_no_longer_than_the_gathering() -> None:
    asked = {number: 0.001 * number for number in range(1, 11)}
    _net, waited = bench({1: 0.05, 2: 0.051, 3: 0.15}, {number: asked[number] for number in (1, 2, 3)})
    assert 0.1 <= waited < 0.11
    _net, waited = bench({1: 0.05, 2: 0.051}, asked)
    assert 0.149 <= waited < 0.155


def test_a_fleet_that_comes_in_one_after_the_other_is_waited_for() -> None:
    asked = {number: 0.001 * number for number in range(1, 21)}
    _net, waited = bench({number: 0.05 + 0.02 * number for number in range(1, 21)}, asked)
    assert 19 * 0.02 <= waited < 19 * 0.02 + QUIET_S


def test_not_for_ever() -> None:
    asked = {number: 0.001 * number for number in range(1, 61)}
    _net, waited = bench({number: 0.05 + 0.02 * number for number in range(1, 61)}, asked)
    assert LONGEST_S - 0.002 <= waited < LONGEST_S + 0.01


def test_somebody_new_who_asks_for_the_header_is_waited_for() -> None:
    _net, waited = bench({1: 0.01, 2: 0.07}, {1: 0.0, 2: 0.017})
    assert 0.06 <= waited < 0.07


def test_a_board_alone_starts_soon() -> None:
    _net, waited = bench({1: 0.3}, {1: 0.0})
    assert waited < 0.01


def test_without_any_knowledge_a_quiet_moment_is_enough() -> None:
    _net, waited = bench({1: 0.0, 2: 0.03, 3: 0.06})
    assert 0.06 + QUIET_S <= waited < 0.06 + QUIET_S + 0.01


@pytest.mark.parametrize("asked", [None, {1: 0.0}])
def test_a_fixed_time_stays_fixed(asked: dict[int, float] | None) -> None:
    _net, waited = bench({1: 0.1}, asked, Settings(gather_s=0.15))
    assert 0.15 <= waited < 0.16


def test_forged_joins_delay_no_longer_than_the_gathering() -> None:
    net = Net()
    server = VirtualServer(net, bytes(SIZE), settings=EAGER)
    start = net.now
    ghosts = [Board(net, 100 + number, SIZE) for number in range(50)]
    for index, ghost in enumerate(ghosts):
        ghost.link = Link(drop=lambda _data: True)
        net.attach(ghost.address, lambda _data, _source: None)
        net.at(start + index * 0.01, ghost.start)
    board = Board(net, 1, SIZE)
    board.start()
    net.run(20, until=lambda: board.done)
    assert server.data_sent()[0][0] - start < 0.16
