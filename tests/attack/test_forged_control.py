"""OACK, ERROR, ACK and requests in somebody else's name: bounded, nothing wrong boots, others go on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from gapcast.image.keys import make_key
from gapcast_sim.provision import FACTORY_VERSION
from interop import needs
from interop.lab import Lab

from .fleet import Fleet
from .forger import ACK, DATA, ERROR, RRQ, WRQ, Address, Attack, Heard, numbered, worded
from .images import Signer
from .impostor import ATTACKER, BOARDS, STALL_MS, VICTIMS, Bench, Impostor, Reply
from .world import server_address, start_server

pytestmark = [pytest.mark.root, pytest.mark.interop, pytest.mark.usefixtures("real_boards")]

IMAGE_BYTES = 400_000
RATE = "4M"
STREAM = ("blksize", "1024", "tsize", "0", "multicast", "", "ranges", "")
# An attacker that never stops holds its victim, and only that, for as long as the victim's own limits allow.
# It may fail, but gives up by itself: after its stall_ms, and once more in each of five rounds of bad chunks.
VICTIM_STALL_MS = 5000
MAX_LATER = 60
OTHERS_S = 20.0  # a second when the stream goes on, five when all of them fetch by unicast
MAX_AS_MASTER = 20


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Iterator[Bench]:
    needs.network()
    folder = tmp_path_factory.mktemp("control")
    (folder / "root").mkdir()
    container = signer.container(IMAGE_BYTES, "1.0")
    (folder / "root" / "fw.gap").write_bytes(container.data)
    (folder / "root" / "other").write_bytes(container.data)
    evil = Signer(make_key(folder / "stranger.pem")).container(100_000, "6.6.6", 66)
    with Lab(BOARDS + 2) as lab:
        server = start_server(lab, folder / "root", "--rate", RATE)
        yield Bench(lab, server, container, evil.header_bytes, signer.board_key, folder)
        server.stop()


def from_elsewhere(spy: Impostor, heard: Heard) -> Iterator[tuple[Address, Address, bytes]]:
    for payload in spy.nonsense():
        yield spy.own, heard.source, payload


def empty_from_elsewhere(spy: Impostor, heard: Heard) -> Iterator[tuple[Address, Address, bytes]]:
    """A single one: on an ESP32 a socket that got an empty datagram hears nothing any more."""
    if heard.source[0] not in spy.hit:
        spy.hit.add(heard.source[0])
        yield spy.own, heard.source, b""


def from_guessed_ports(spy: Impostor, heard: Heard) -> Iterator[tuple[Address, Address, bytes]]:
    """The server's address, but neither its port nor the board's."""
    host = heard.target[0]
    for payload in spy.nonsense():
        target = heard.source[0], spy.chance.randrange(32768, 61000)
        yield (host, spy.chance.randrange(1024, 32768)), target, payload


def as_the_server(spy: Impostor, heard: Heard) -> Iterator[tuple[Address, Address, bytes]]:
    """One piece of nonsense for each datagram overheard, from the very port that the board trusts."""
    yield spy.tid(heard), heard.source, spy.chance.choice(spy.nonsense())


def as_the_server_later(spy: Impostor, heard: Heard) -> Iterator[tuple[Address, Address, bytes]]:
    """The same, but only to boards that are in the middle of it."""
    if heard.opcode == ACK and spy.forged < MAX_LATER:
        yield from as_the_server(spy, heard)
        yield spy.tid(heard), heard.source, b""


def as_a_server_that_refuses(spy: Impostor, heard: Heard) -> Iterator[tuple[Address, Address, bytes]]:
    yield spy.tid(heard), heard.source, numbered(ERROR, spy.chance.choice((0, 1, 2, 8)), b"no\0")


def with_another_image(spy: Impostor, heard: Heard) -> Iterator[tuple[Address, Address, bytes]]:
    """Answers the question for the header with one that nobody signed, before the server does."""
    if heard.opcode == RRQ:
        yield spy.tid(heard), heard.source, numbered(DATA, 1, spy.bench.evil_header[:512])
    else:
        yield spy.tid(heard), heard.source, numbered(DATA, 2, spy.bench.evil_header[512:])
        yield spy.tid(heard), heard.source, numbered(DATA, 3)


def attacked(bench: Bench, reply: Reply, stall_ms: int = STALL_MS) -> tuple[Fleet, int]:
    """(the boards after their update, datagrams forged)."""
    fleet = bench.fleet(stall_ms)
    spy = Impostor(bench, reply)
    with contextlib.closing(spy), Attack(spy.step):
        fleet.go()
        fleet.done()
        return fleet, spy.forged


@pytest.mark.parametrize(
    "reply",
    [
        from_elsewhere,
        from_guessed_ports,
        empty_from_elsewhere,
    ],
)
def test_nonsense_from_elsewhere_disturbs_nobody(reply: Reply, bench: Bench) -> None:
    fleet, forged = attacked(bench, reply)
    fleet.assert_runs(bench.container)
    slowest_s = max(board.result.elapsed_s or 0 for board in fleet.boards)
    print(f"{reply.__name__}: {forged} forged, all updated in {slowest_s:.1f} s")
    assert forged >= VICTIMS


@pytest.mark.parametrize(
    "reply", [as_the_server, as_the_server_later, as_a_server_that_refuses, with_another_image]
)
def test_an_impersonated_server_boots_nothing_wrong(reply: Reply, bench: Bench) -> None:
    fleet, forged = attacked(bench, reply, VICTIM_STALL_MS)
    for index, board in enumerate(fleet.boards, 1):
        if index > VICTIMS:
            assert board.ok, board.result
        # Whatever it was told: an application runs, the old one or the operator's new one, byte for byte.
        assert board.result.version in (FACTORY_VERSION, bench.container.header.version), board.result
        assert fleet.runs_factory(board) or board.ok, board.result
    outcomes = [f"{board.result.outcome} ({board.result.detail})" for board in fleet.boards[:VICTIMS]]
    print(f"{reply.__name__}: {forged} forged, victims: {', '.join(outcomes)}")
    assert forged
    again = Fleet(bench.lab, range(1, BOARDS + 1), fleet.folder, "fw", bench.key)
    again.go()
    again.done()
    again.assert_runs(bench.container)


# ---- the server hears what a board never said ----


def says_master(spy: Impostor, heard: Heard) -> bool:
    """An ACK of the stream's first master, to the server's TID."""
    return heard.opcode == ACK and heard.source[0] == spy.master and spy.forged < MAX_AS_MASTER


def ack_of_the_end(spy: Impostor, heard: Heard) -> Iterator[tuple[Address, Address, bytes]]:
    """ "I have everything": the master's would end the stream."""
    if says_master(spy, heard):
        yield heard.source, heard.target, numbered(ACK, spy.bench.blocks)


def ack_of_anything(spy: Impostor, heard: Heard) -> Iterator[tuple[Address, Address, bytes]]:
    if says_master(spy, heard):
        yield heard.source, heard.target, numbered(ACK, spy.chance.randrange(65536))


def error(spy: Impostor, heard: Heard) -> Iterator[tuple[Address, Address, bytes]]:
    if says_master(spy, heard):
        yield heard.source, heard.target, numbered(ERROR, spy.chance.randrange(9), b"I do not want it\0")


def requests(spy: Impostor, heard: Heard) -> Iterator[tuple[Address, Address, bytes]]:
    """RRQs for something else would make it leave the session, or get it another transfer."""
    if says_master(spy, heard):
        main = server_address(spy.bench.lab)
        yield heard.source, main, worded(RRQ, "other", "octet", *STREAM)
        yield heard.source, main, worded(RRQ, "other", "octet", "blksize", "1024", "ranges", "1-9")
        yield heard.source, main, worded(WRQ, "report/b-1", "octet")
        yield heard.source, heard.target, worded(RRQ, "other", "octet")


@pytest.mark.parametrize("reply", [ack_of_the_end, ack_of_anything, error, requests])
def test_an_impersonated_master_does_not_stop_the_others(reply: Reply, bench: Bench) -> None:
    before = bench.server.multicast_bytes()
    fleet = bench.fleet()
    spy = Impostor(bench, reply, everybody=True)
    with contextlib.closing(spy), Attack(spy.step):
        fleet.go()
        fleet.done()
    others = [board for board in fleet.boards if board.spec.ip != spy.master]
    [master] = [board.result for board in fleet.boards if board.spec.ip == spy.master]
    assert all(board.ok for board in others), [board.result for board in others]
    assert master.version in (FACTORY_VERSION, bench.container.header.version), master
    slowest_s = max(board.result.elapsed_s or 0 for board in others)
    streamed = (bench.server.multicast_bytes() - before) / len(bench.container.data)
    print(
        f"{reply.__name__}: {spy.forged} forged; the others in {slowest_s:.1f} s, {streamed:.2f} images by "
        f"multicast; the impersonated master: {master.outcome} {master.detail} {master.elapsed_s} s"
    )
    assert spy.forged
    assert slowest_s < OTHERS_S


def test_a_hostile_master_that_wants_nothing_does_not_take_the_stream_away(bench: Bench) -> None:
    before = bench.server.multicast_bytes()
    fleet = bench.fleet()
    with contextlib.closing(bench.lab.socket(ATTACKER)) as sock:
        sock.settimeout(0.5)
        request = worded(RRQ, f"gap/{bench.container.content_id}", "octet", *STREAM)
        sock.sendto(request, server_address(bench.lab))
        _oack, tid = sock.recvfrom(2048)
        sock.sendto(numbered(ACK, bench.blocks), tid)  # "I am at the end"

        def keep_turn() -> None:
            sock.sendto(numbered(ACK, 0), tid)  # "and I am still fetching my gaps"
            with contextlib.suppress(TimeoutError):
                sock.recv(2048)

        with Attack(keep_turn):
            fleet.go()
            fleet.done()
    fleet.assert_runs(bench.container)
    streamed = (bench.server.multicast_bytes() - before) / len(bench.container.data)
    slowest_s = max(board.result.elapsed_s or 0 for board in fleet.boards)
    print(f"hostile master: all updated in {slowest_s:.1f} s, {streamed:.2f} images by multicast")
    assert streamed > 0.9
