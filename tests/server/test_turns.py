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
