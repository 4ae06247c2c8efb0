"""The reception of one report, without sockets and disk: PROTOCOL.md section 10."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapcast.protocol.credit import ANSWER_RATIO
from gapcast.protocol.events import Dropped, Refused
from gapcast.protocol.negotiate import read_report_name, read_request
from gapcast.protocol.reception import (
    DALLY_S,
    DATA_S,
    REPEATED_ACKS,
    STORE_S,
    Reception,
    Submission,
)
from gapcast.protocol.types import Datagram
from gapcast_core import wire
from gapcast_core.errors import PeerError

PEER = ("10.0.1.9", 5009)
OTHER = ("10.0.1.8", 5009)


def opened() -> Reception:
    machine = Reception(PEER, "board-1", 0.0)
    assert said(machine) == [wire.pack_ack(0)]
    return machine


def said(machine: Reception) -> list[bytes]:
    """The datagrams, all of them to the peer."""
    found = [effect for effect in machine.take() if isinstance(effect, Datagram)]
    assert all(datagram.to == PEER for datagram in found)
    return [datagram.data for datagram in found]


def drops(machine: Reception) -> list[str]:
    return [effect.reason for effect in machine.take() if isinstance(effect, Dropped)]


def test_the_ack_waits_for_the_disk() -> None:
    machine = opened()
    machine.receive(wire.pack_data(1, b"report"), PEER, 0.1)
    assert machine.take() == [Submission("board-1", b"report")]
    machine.receive(wire.pack_data(1, b"report"), PEER, 0.3)  # the board repeats it meanwhile
    assert machine.take() == [Dropped("duplicate_report")]
    machine.stored(0.4)
    assert said(machine) == [wire.pack_ack(1)]
    machine.receive(wire.pack_data(1, b"report"), PEER, 0.5)  # that ACK was lost
    assert said(machine) == [wire.pack_ack(1)]
    machine.receive(wire.pack_data(1, b"another"), PEER, 0.6)
    assert drops(machine) == ["another_report"]
    machine.on_time(0.4 + DALLY_S)
    assert machine.closed


def test_acks_are_not_repeated_for_ever() -> None:
    machine = opened()
    machine.receive(wire.pack_data(1, b"report"), PEER, 0.1)
    machine.stored(0.1)
    machine.take()
    for _ in range(100):
        machine.receive(wire.pack_data(1, b"report"), PEER, 0.2)
    assert len(said(machine)) == REPEATED_ACKS


def test_a_lost_ack_0_is_repeated_only_when_asked_for() -> None:
    machine = opened()
    machine.repeat_offer(0.3)
    assert said(machine) == [wire.pack_ack(0)]
    machine.on_time(1.0)
    assert said(machine) == []
    machine.on_time(DATA_S)
    assert machine.closed
    assert drops(machine) == ["report_without_data"]


def test_a_refusal_says_why_to_the_operator_and_little_to_the_peer() -> None:
    machine = opened()
    machine.receive(wire.pack_data(1, b"report"), PEER, 0.1)
    machine.take()
    machine.refuse(PeerError("wrong_mac", wire.ERR_ACCESS), 0.2)
    assert machine.take() == [
        Dropped("wrong_mac"),
        Refused(*PEER, "report/board-1", "wrong_mac"),
        Datagram(b"\0\5\0\2not taken\0", PEER),
    ]
    assert machine.closed


@pytest.mark.parametrize("length", [512, 600, 1400])
def test_two_blocks_are_too_many(length: int) -> None:
    machine = opened()
    machine.receive(wire.pack_data(1, bytes(length)), PEER, 0.1)
    assert drops(machine)[0] == "report_too_long"
    assert machine.closed


def test_a_disk_that_never_answers() -> None:
    machine = opened()
    machine.receive(wire.pack_data(1, b"report"), PEER, 0.1)
    machine.take()
    machine.on_time(0.1 + STORE_S)
    assert said(machine) == [b"\0\5\0\3not taken\0"]
    machine.stored(11.0)  # the late word of the disk
    assert said(machine) == []


def test_an_evicted_board_is_told_within_what_its_request_paid_for() -> None:
    machine = Reception(PEER, "a", 0.0)
    machine.evict(0.1)
    said_to_it = said(machine)
    assert said_to_it == [wire.pack_ack(0), b"\0\5\0\0busy\0"]
    request = wire.pack_request(wire.OP_WRQ, "report/a", [])
    assert sum(map(len, said_to_it)) <= ANSWER_RATIO * len(request)


def test_a_finished_one_gives_its_place_up_without_a_word() -> None:
    machine = opened()
    machine.receive(wire.pack_data(1, b"report"), PEER, 0.1)
    assert not machine.finished
    machine.stored(0.2)
    assert machine.finished
    machine.take()
    machine.evict(0.3)
    assert machine.closed
    assert machine.take() == []


def test_strangers_do_not_disturb() -> None:
    machine = opened()
    machine.receive(wire.pack_data(1, b"forged"), OTHER, 0.1)
    effects = machine.take()
    assert effects == [Dropped("foreign_tid"), Datagram(b"\0\5\0\5unknown tr\0", OTHER)]
    machine.receive(wire.pack_error(0, "stop"), OTHER, 0.1)
    machine.refused(OTHER, 0.1)
    assert not machine.closed
    machine.receive(wire.pack_data(1, b"report"), PEER, 0.2)
    assert Submission("board-1", b"report") in machine.take()


def test_the_board_gives_up() -> None:
    for end in (
        lambda machine: machine.receive(wire.pack_error(0, "stop"), PEER, 0.1),
        lambda machine: machine.refused(PEER, 0.1),
        lambda machine: machine.evict(0.1),
    ):
        machine = opened()
        end(machine)
        assert machine.closed
    machine = opened()
    machine.receive(wire.pack_data(1, b"report"), PEER, 0.1)
    machine.receive(wire.pack_error(0, "stop"), PEER, 0.2)
    assert not machine.closed  # what is being stored is stored


junk = st.one_of(
    st.binary(max_size=600),
    st.binary(max_size=600).map(lambda tail: b"\0\3\0\1" + tail),
    st.binary(max_size=20).map(lambda tail: b"\0\3" + tail),
    st.sampled_from([wire.pack_ack(0), wire.pack_ack(1), wire.pack_error(1, "x")]),
)
kinds = st.sampled_from(["peer", "other", "again", "stored", "refuse", "time", "gone"])
steps = st.lists(st.tuples(kinds, junk), max_size=30)


@settings(max_examples=300, deadline=None)
@given(steps=steps)
def test_it_survives_anything_and_submits_once(steps: list[tuple[str, bytes]]) -> None:
    machine = Reception(PEER, "b", 0.0)
    now = 0.0
    effects: list[object] = []
    for kind, data in steps:
        now += 0.2
        if kind in ("peer", "other"):
            machine.receive(data, PEER if kind == "peer" else OTHER, now)
        elif kind == "again":
            machine.repeat_offer(now)
        elif kind == "time":
            now += 1.5
            machine.on_time(now)
        elif kind == "gone":
            machine.refused(PEER, now)
        elif any(isinstance(effect, Submission) for effect in effects):
            if kind == "stored":
                machine.stored(now)
            else:
                machine.refuse(PeerError("wrong_mac", 2), now)
        effects += machine.take()
        if machine.closed:
            break
    assert sum(isinstance(effect, Submission) for effect in effects) <= 1
    for _ in range(3):
        due = machine.deadline()
        if due is None:
            break
        machine.on_time(due)
    assert machine.closed


# ---- names ----


def wrq(name: str, *pairs: tuple[str, str], mode: str = "octet") -> bytes:
    packed: bytes = wire.pack_request(wire.OP_WRQ, name, list(pairs), mode)
    return packed


def test_the_one_name_that_may_be_written() -> None:
    assert read_report_name(wrq("report/a4cf12f05e68")) == "a4cf12f05e68"
    assert read_report_name(wrq("report/a", mode="OcTeT")) == "a"
    assert read_report_name(wrq("report/a", ("blksize", "1024"), ("tsize", "300"), ("x", "y"))) == "a"


TRICKS = [
    "a",
    "report",
    "report/",
    "report/../a",
    "report/a/../b",
    "report/a/b",
    "report//a",
    "/report/a",
    "./report/a",
    "../report/a",
    "REPORT/a",
    "report/A",
    "report/%61",
    "report/a.txt",
    "report/a ",
    " report/a",
    "report/a\n",
    "report\\a",
    "report/ä",
    "report/а",  # Cyrillic
    "report/" + "a" * 33,
    "gap/" + "0" * 32,
    "fleet.db",
    "report/..",
    "report/.",
    "report/~",
    "report/$(id)",
    "report/'; DROP TABLE boards",
    "C:report/a",
    "report/a:stream",
]


@pytest.mark.parametrize("name", TRICKS)
def test_every_other_name_is_refused(name: str) -> None:
    with pytest.raises(PeerError) as caught:
        read_report_name(wrq(name))
    assert (caught.value.reason, caught.value.code) == ("write_request", wire.ERR_ACCESS)


def test_other_modes_and_a_read_of_a_report() -> None:
    with pytest.raises(PeerError, match="mode"):
        read_report_name(wrq("report/a", mode="netascii"))
    assert read_request(wire.pack_request(wire.OP_RRQ, "report/a", [])).name == "report/a"  # a file, if any
