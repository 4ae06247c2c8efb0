"""Who is a member of a session, when hundreds ask at once (server/gapcast/protocol/members.py)."""

from __future__ import annotations

import pytest

from gapcast.protocol import members
from gapcast.protocol.credit import Credit
from gapcast.protocol.members import MAX_PER_HOST, MAX_UNPROVEN, Member, Roster
from gapcast.protocol.negotiate import plan_join, read_request
from gapcast_core import wire

from .mended_bench import Bench, outcomes

STORM = MAX_UNPROVEN + 44
PAIRS = [("multicast", ""), ("blksize", "1024"), ("ranges", "")]
PLAN = plan_join(read_request(wire.pack_request(wire.OP_RRQ, "f", PAIRS)), 5000)


def member(number: int, host: str = "") -> Member:
    return Member((host or f"10.0.{number >> 8}.{number & 255}", number), PLAN, 5, 0.0, Credit(100))


def join(roster: Roster, members: list[Member]) -> None:
    for one in members:
        displaced = roster.add(one)
        if displaced is not None:
            roster.retire(displaced)


def test_who_had_to_leave_unproven_comes_back_with_its_proof() -> None:
    roster = Roster()
    storm = [member(number) for number in range(STORM)]
    join(roster, storm)
    assert len(roster) == MAX_UNPROVEN
    for one in storm:
        found = roster.get(one.address) or roster.readmit(one.address)
        assert found is one
        roster.prove(one)
    assert roster.proven == len(roster) == STORM


def test_who_was_heard_and_left_does_not_come_back() -> None:
    roster = Roster()
    one = member(1)
    join(roster, [one])
    roster.prove(one)
    roster.retire(one)
    assert roster.readmit(one.address) is None
    assert roster.readmit(member(2).address) is None, "never here"
    gone = member(3)
    join(roster, [gone])
    gone.left = True
    roster.retire(gone)
    assert roster.readmit(gone.address) is None


def test_a_host_has_no_more_places_for_it() -> None:
    roster = Roster()
    ghosts = [member(number, "10.9.9.9") for number in range(MAX_PER_HOST + 1)]
    join(roster, ghosts)
    assert roster.readmit(ghosts[0].address) is None


def test_a_storm_of_boards_is_mended_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """All ask before the first can answer, so there are more unproven than fit."""
    monkeypatch.setattr(members, "MAX_UNPROVEN", 8)
    bench = Bench(300)
    boards = bench.boards(20, 0.1, delay=(0.02, 0.021))
    bench.play()
    bench.over()
    assert outcomes(bench) == {"complete", "evicted"}
    assert bench.server.events("mended")
    assert not any(board.repairs for board in boards)
