"""Turns end, whatever a client repeats (PROTOCOL.md section 7.5)."""

from __future__ import annotations

import pytest

from gapcast.protocol import turns
from gapcast.protocol.credit import Credit
from gapcast.protocol.election import Election
from gapcast.protocol.members import Member, Roster
from gapcast.protocol.negotiate import plan_join, read_request
from gapcast.protocol.turns import Turns
from gapcast_core import wire


def member() -> Member:
    pairs = [("multicast", ""), ("blksize", "1024"), ("ranges", "")]
    plan = plan_join(read_request(wire.pack_request(wire.OP_RRQ, "f", pairs)), 5000)
    return Member(("10.0.0.2", 5000), plan, 5, 0.0, Credit(100))


@pytest.mark.parametrize(("acks", "limit_s"), [(False, 1.5), (True, turns.IDLE_S + 1.5)])
def test_a_repeated_request_does_not_keep_a_turn(acks: bool, limit_s: float) -> None:
    one = member()
    active = Turns(1)
    active.add(one, 0.0)
    now = 0.0
    while now < limit_s:
        active.on_time(now)
        if now and one not in active:
            return
        active.renew(one, now)
        if acks:
            active.heard(one, now)
        now += 0.1
    pytest.fail("the turn goes on")


def test_clients_that_were_heard_are_asked_first() -> None:
    roster = Roster()
    for number in range(60):
        ghost = member()
        ghost.address = ("10.0.0.3", number)
        roster.add(ghost)
    real = member()
    roster.add(real)
    roster.prove(real)
    real.skips = 1
    assert Election(roster).next_candidate(lambda _member: True) is real


def test_quick_turns_are_given_to_more_at_once() -> None:
    active = Turns(2)
    members = [member() for _ in range(400)]
    for one in members:
        active.add(one, 0.0)

    def serve(seconds: float, count: int, now: float) -> float:
        for _ in range(count):
            active.on_time(now)
            now += seconds
            active.remove(next(one for one in members if active.is_active(one)), now)
        return now

    now = serve(1.0, 20, 1.0)
    assert active.limit == 2, "slow ones share the air with few"
    now = serve(0.01, 20, now)
    assert active.limit in (49, 50), "half a second of them"
    now = serve(0.0001, 20, now)
    assert active.limit == turns.MOST
    serve(1.0, 20, now)
    assert active.limit == 2
