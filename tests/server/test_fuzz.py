"""Any bytes, in any state, at any time: nothing raises, nothing grows without bound."""

from __future__ import annotations

import random
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gapcast.protocol.members import MAX_MEMBERS, MAX_PER_HOST, MAX_RETIRED, MAX_UNPROVEN
from gapcast.protocol.multicast import Session
from gapcast.protocol.negotiate import plan_join, plan_unicast, read_request
from gapcast.protocol.settings import Settings
from gapcast.protocol.types import Datagram, Machine
from gapcast.protocol.unicast import Transfer
from gapcast_core import wire
from gapcast_core.errors import PeerError

from .virtual import GROUP, Bytes

SIZE = 80 * 1024  # two generations
NAME = "gap/00112233445566778899aabbccddeeff"
PEERS = [(f"10.0.1.{number}", 5000) for number in range(1, 6)]
STOCK = [("blksize", "1024"), ("multicast", "")]
AWARE = [*STOCK, ("ranges", "")]
MENDED = [*AWARE, ("lacks", "")]

acks = st.one_of(st.integers(0, 65535), st.integers(0, 85)).map(wire.pack_ack)
lacks = st.one_of(
    st.sampled_from(["", "0", "64", "1*2", "128", "5,5"]),
    st.text(st.sampled_from("0123456789,*"), max_size=12),
)
reports = lacks.map(lambda text: wire.pack_request(wire.OP_RRQ, "f", [("lacks", text)]))
datagrams = st.one_of(
    acks,
    reports,
    st.binary(max_size=30).map(lambda tail: b"\0\1f\0octet\0lacks\0" + tail + b"\0"),
    st.binary(max_size=30),
    st.binary(max_size=30).map(lambda tail: b"\0\5" + tail),
    st.binary(max_size=30).map(lambda tail: b"\0\4" + tail),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("receive"), st.integers(0, 4), datagrams),
        st.tuples(st.just("receive"), st.integers(0, 4), acks),
        st.tuples(st.just("receive"), st.integers(0, 4), reports),
        st.tuples(st.just("join"), st.integers(0, 4), st.sampled_from([STOCK, AWARE, MENDED])),
        st.tuples(st.just("time"), st.sampled_from([0.0, 0.01, 0.11, 0.5, 3.0]), st.none()),
        st.tuples(st.just("data"), st.integers(1, 12), st.none()),
        st.tuples(st.just("refused"), st.integers(0, 4), st.none()),
        st.tuples(st.just("touch"), st.integers(0, 4), st.none()),
    ),
    max_size=60,
)


def settle(machine: Machine, now: float) -> int:
    """Let due timers run; the number of datagrams said."""
    said = 0
    for _ in range(100):
        said += sum(1 for effect in machine.take() if isinstance(effect, Datagram))
        due = machine.deadline()
        if machine.closed or due is None or due > now:
            return said
        machine.on_time(now)
    raise AssertionError("the deadline does not move")


def apply(machine: Machine, step: tuple[str, object, object], now: float) -> None:
    kind, first, second = step
    if kind == "receive":
        assert isinstance(first, int)
        assert isinstance(second, bytes)
        machine.receive(second, PEERS[first], now)
    elif kind == "join" and isinstance(machine, Session) and not machine.closed:
        assert isinstance(first, int)
        assert isinstance(second, list)
        request = read_request(wire.pack_request(wire.OP_RRQ, NAME, second))
        machine.join(PEERS[first], plan_join(request, SIZE), now)
    elif kind == "data":
        assert isinstance(first, int)
        for _ in range(first):
            machine.next_data(now)
    elif kind == "refused":
        assert isinstance(first, int)
        machine.refused(PEERS[first], now)
    elif kind == "touch" and isinstance(machine, Session):
        assert isinstance(first, int)
        machine.touch(PEERS[first][0], now)


def finish(machine: Machine, now: float) -> None:
    """When nobody speaks any more, every machine closes by itself, after few datagrams."""
    said = 0
    end = now + 600
    while not machine.closed:
        while machine.next_data(now) is not None:
            said += 1
        said += settle(machine, now)
        due = machine.deadline()
        if machine.closed:
            break
        assert due is not None or machine.wants_data(now), "limbo: no timer, no DATA, not closed"
        now = max(now, due) if due is not None else now
        assert now < end
        assert said < 500
    assert machine.deadline() is None
    assert machine.next_data(now) is None


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=steps, kind=st.sampled_from([STOCK, AWARE, MENDED]))
def test_a_session_survives_anything(
    steps: list[tuple[str, object, object]], kind: list[tuple[str, str]]
) -> None:
    now = 10.0
    machine = Session("f", Bytes(bytes(SIZE)), 1024, GROUP, Settings(turns=2), now)
    apply(machine, ("join", 0, kind), now)
    for step in steps:
        if step[0] == "time":
            assert isinstance(step[1], float)
            now += step[1]
        else:
            apply(machine, step, now)
        settle(machine, now)
    finish(machine, now)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=steps,
    pairs=st.sampled_from(
        [
            [],
            [("blksize", "1024")],
            [("windowsize", "8")],
            [("blksize", "1024"), ("windowsize", "8"), ("ranges", "2-5,40")],
        ]
    ),
)
def test_a_transfer_survives_anything(
    steps: list[tuple[str, object, object]], pairs: list[tuple[str, str]]
) -> None:
    now = 10.0
    request = read_request(wire.pack_request(wire.OP_RRQ, "f", pairs))
    machine = Transfer(PEERS[0], "f", plan_unicast(request, SIZE), Bytes(bytes(SIZE)), now)
    for step in steps:
        if step[0] == "time":
            assert isinstance(step[1], float)
            now += step[1]
        else:
            apply(machine, step, now)
        settle(machine, now)
    finish(machine, now)


@settings(max_examples=500, deadline=None)
@given(data=st.one_of(st.binary(max_size=600), st.binary(max_size=500).map(lambda tail: b"\0\1" + tail)))
def test_any_request_is_read_or_refused(data: bytes) -> None:
    with suppress(PeerError):
        request = read_request(data)
        plan_unicast(request, 5000)
        plan_join(request, 5000)


def test_members_are_bounded() -> None:
    session = Session("f", Bytes(bytes(SIZE)), 1024, GROUP, Settings(), 0.0)
    request = read_request(wire.pack_request(wire.OP_RRQ, "f", AWARE))
    plan = plan_join(request, SIZE)
    rng = random.Random(1)
    joined = 0
    for number in range(5000):
        peer = (f"10.{number >> 8}.{number & 255}.1", rng.randrange(1, 65536))
        assert session.may_join(peer)  # forged ones keep nobody out
        session.join(peer, plan, 0.0)
        assert len(session._roster) <= MAX_UNPROVEN
        session.take()
    for number in range(5000):
        peer = (f"11.{number >> 8}.{number & 255}.1", rng.randrange(1, 65536))
        if session.may_join(peer):
            session.join(peer, plan, 0.0)
            session.receive(wire.pack_ack(0), peer, 0.0)
            joined += 1
        session.take()
    assert joined == MAX_MEMBERS == session._roster.proven
    assert len(session._roster) <= MAX_MEMBERS + MAX_UNPROVEN
    assert MAX_RETIRED <= 1024


def test_one_host_has_few_places_in_a_session() -> None:
    session = Session("f", Bytes(bytes(SIZE)), 1024, GROUP, Settings(), 0.0)
    plan = plan_join(read_request(wire.pack_request(wire.OP_RRQ, "f", AWARE)), SIZE)
    for port in range(1, 5 * MAX_PER_HOST):
        session.join(("10.6.6.6", port), plan, 0.0)  # forged: a real one at that address gets in all the same
        assert len(session._roster) <= MAX_PER_HOST
    session.join(("10.0.0.1", 5000), plan, 0.0)
    for port in range(10_000, 10_000 + MAX_PER_HOST):
        assert session.may_join(("10.6.6.6", port))
        session.join(("10.6.6.6", port), plan, 0.0)
        session.receive(wire.pack_ack(0), ("10.6.6.6", port), 0.0)
    assert not session.may_join(("10.6.6.6", 1))
    assert session.may_join(("10.6.6.7", 1))
    assert session.has_member(("10.0.0.1", 5000))
