"""Reports that are replayed, altered or somebody else's: refused, and the database stays as it is."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gapcast.fleet.store import Fleet
from gapcast_core.report import CONFIRMED, ROLLED_BACK, pack_report
from interop import needs
from interop.lab import Lab
from interop.peers import OurServer

from .forger import DATA, ERROR, WRQ, Forger, numbered, worded
from .world import ANSWER_S, ask, server_address, start_server, state_of, write

pytestmark = [pytest.mark.root, pytest.mark.interop]

KEYS = {"b-1": b"1" * 32, "b-2": b"2" * 32}
TAKEN = b"\0\4\0\1"
REFUSED = bytes((0, ERROR))
BOARD_HOST, ATTACKER = 1, 2


@dataclass
class Bench:
    """A server that knows two boards. last: the report of b-1 that it has."""

    lab: Lab
    server: OurServer
    state: Path
    old: bytes
    last: bytes

    def rows(self) -> list[object]:
        """All that is in the database."""
        with sqlite3.connect(f"file:{self.state}?mode=ro", uri=True) as connection:
            tables = ("boards", "history")
            return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]


def report(board_id: str, sequence: int, key: bytes | None = None, reason: str = "all is well") -> bytes:
    """What that board would send."""
    key = key or KEYS[board_id]
    packed: bytes = pack_report(key, board_id, sequence, CONFIRMED, bytes(16), "1.0", "SIM", 3, reason)
    return packed


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    needs.network()
    root = tmp_path_factory.mktemp("reports") / "root"
    root.mkdir()
    with Fleet(state_of(root)) as fleet:
        for board_id, key in KEYS.items():
            fleet.add(board_id, key)
    with Lab(3) as lab:
        server = start_server(lab, root)
        made = Bench(lab, server, state_of(root), report("b-1", 7), report("b-1", 8))
        for genuine in (made.old, made.last):
            assert write(lab, BOARD_HOST, "report/b-1", genuine) == TAKEN
        yield made
        server.stop()


@pytest.fixture
def _unchanged(bench: Bench) -> Iterator[None]:
    """Whatever the test sends, the rows are the same afterwards."""
    before = bench.rows()
    yield
    assert bench.rows() == before


@pytest.mark.usefixtures("_unchanged")
def test_a_replayed_report_is_refused(bench: Bench) -> None:
    for host in (BOARD_HOST, ATTACKER):
        assert write(bench.lab, host, "report/b-1", bench.old)[:2] == REFUSED
        # The last one again is what a board sends whose ACK was lost: acknowledged, and not stored.
        assert write(bench.lab, host, "report/b-1", bench.last) == TAKEN
    bench.server.wait_for("refused", reason="old_sequence")


@pytest.mark.usefixtures("_unchanged")
def test_an_altered_report_is_refused(bench: Bench) -> None:
    genuine = report("b-1", 9)
    chance = random.Random(3)
    for at in range(len(genuine)):
        altered = bytearray(genuine)
        altered[at] ^= 1 << chance.randrange(8)
        assert write(bench.lab, ATTACKER, "report/b-1", bytes(altered))[:2] == REFUSED, at
    bench.server.wait_for("refused", reason="wrong_mac")


@pytest.mark.usefixtures("_unchanged")
@pytest.mark.parametrize("cut", [0, 1, 4, 95, 96, 127, 128, -33, -32, -1])
def test_a_cut_or_extended_report_is_refused(cut: int, bench: Bench) -> None:
    genuine = report("b-1", 9)
    assert write(bench.lab, ATTACKER, "report/b-1", genuine[:cut])[:2] == REFUSED
    assert write(bench.lab, ATTACKER, "report/b-1", genuine + genuine[:cut] + b"\0")[:2] == REFUSED


@pytest.mark.usefixtures("_unchanged")
def test_a_foreign_report_is_refused(bench: Bench) -> None:
    genuine = report("b-1", 9)
    assert write(bench.lab, ATTACKER, "report/b-2", genuine)[:2] == REFUSED
    assert write(bench.lab, ATTACKER, "report/b-1", report("b-1", 9, key=KEYS["b-2"]))[:2] == REFUSED
    assert write(bench.lab, ATTACKER, "report/b-1", report("b-1", 2**32 - 1, key=bytes(32)))[:2] == REFUSED
    assert write(bench.lab, ATTACKER, "report/b-3", report("b-3", 1, key=b"3" * 32))[:2] == REFUSED
    for name in ("report/b-1/", "report//b-1", "Report/b-1", "report/B-1", "/report/b-1", "report/b-1\x7f"):
        assert ask(bench.lab, ATTACKER, worded(WRQ, name, "octet"))[:2] == REFUSED, name


@pytest.mark.usefixtures("_unchanged")
def test_a_report_that_is_too_long_is_refused(bench: Bench) -> None:
    for size in (512, 513, 1400):
        assert write(bench.lab, ATTACKER, "report/b-1", report("b-1", 9).ljust(size, b"\0"))[:2] == REFUSED


def test_data_in_the_boards_name_does_not_suppress_its_report(bench: Bench) -> None:
    """The attacker is quicker than the board; the board says it again from another port, as it does."""
    genuine = report("b-1", 10, reason="went back")
    worst: bytes = pack_report(bytes(32), "b-1", 2**32 - 1, ROLLED_BACK, bytes(16), "9", "SIM", 9, "")
    before = len(bench.server.events("report"))
    with Forger(bench.lab, ATTACKER) as forger, bench.lab.socket(BOARD_HOST) as sock:
        sock.settimeout(ANSWER_S)
        sock.sendto(worded(WRQ, "report/b-1", "octet"), server_address(bench.lab))
        _ack, tid = sock.recvfrom(2048)
        forger.send(sock.getsockname(), tid, numbered(DATA, 1, worst))
        assert sock.recvfrom(2048)[0][:2] == REFUSED
        sock.sendto(numbered(DATA, 1, genuine), tid)
    assert write(bench.lab, BOARD_HOST, "report/b-1", genuine) == TAKEN
    told = bench.server.wait_for("report", sequence=10)  # told once it is acknowledged
    assert bench.server.events("report")[before:] == [told]
    assert (told["sequence"], told["state"], told["reason"]) == (10, "confirmed", "went back")
