"""The fleet's state file: what is taken, what is refused, and what happens when SQLite cannot."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gapcast.errors import OperatorError
from gapcast.fleet import schema
from gapcast.fleet.store import HISTORY_PER_BOARD, Fleet, State
from gapcast_core import report
from gapcast_core.errors import PeerError

KEY = bytes(range(32))


def packed(sequence: int, key: bytes = KEY, board_id: str = "a", reason: str = "") -> bytes:
    data: bytes = report.pack_report(
        key, board_id, sequence, report.CONFIRMED, bytes(range(16)), "1.0", "SIM", 3, reason
    )
    return data


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "fleet.db"


@pytest.fixture
def fleet(path: Path) -> Iterator[Fleet]:
    with Fleet(path) as fleet:
        fleet.add("a", KEY)
        yield fleet


def reason_of(fleet: Fleet, data: bytes, board_id: str = "a") -> str:
    with pytest.raises(PeerError) as caught:
        fleet.accept(board_id, data, "10.0.0.1")
    return str(caught.value.reason)


def test_a_report_becomes_the_state_and_outlives_the_process(fleet: Fleet, path: Path) -> None:
    stored = fleet.accept("a", packed(1, reason="é"), "10.0.0.1")
    assert isinstance(stored, State)
    fleet.close()
    with Fleet(path) as again:
        [board] = again.boards()
        assert board == again.board("a")
        assert board.last == stored == again.history("a")[0]
    assert (stored.state, stored.version, stored.counter, stored.board) == ("confirmed", "1.0", 3, "SIM")
    assert (stored.content_id, stored.reason, stored.address) == (bytes(range(16)).hex(), "é", "10.0.0.1")


def test_the_last_report_again_is_acknowledged_and_stored_once(fleet: Fleet, path: Path) -> None:
    fleet.accept("a", packed(5), "10.0.0.1")
    assert fleet.accept("a", packed(5), "10.0.0.2") is None
    fleet.close()
    with Fleet(path) as again:  # the server was killed between storing and ACK 1
        assert again.accept("a", packed(5), "10.0.0.1") is None
        assert len(again.history("a")) == 1
        assert reason_of(again, packed(5, reason="another")) == "old_sequence"


def test_replays_and_forgeries_are_refused(fleet: Fleet) -> None:
    fleet.add("b", bytes(32))
    for sequence in (1, 2, 9):
        fleet.accept("a", packed(sequence), "10.0.0.1")
    for sequence in (1, 2, 8):
        assert reason_of(fleet, packed(sequence)) == "old_sequence"
    assert reason_of(fleet, packed(10, key=bytes(32))) == "wrong_mac"
    assert reason_of(fleet, packed(10), "b") == "wrong_mac"
    assert reason_of(fleet, packed(10), "c") == "unknown_board"
    assert reason_of(fleet, packed(10)[:-1]) == "bad_length"
    assert [state.sequence for state in fleet.history("a")] == [9, 2, 1]
    assert fleet.history("b") == []


def test_every_flipped_bit_is_refused(fleet: Fleet) -> None:
    data = packed(1, reason="x")
    for bit in range(8 * len(data)):
        bad = bytearray(data)
        bad[bit // 8] ^= 1 << bit % 8
        assert reason_of(fleet, bytes(bad)) in {
            "wrong_mac",
            "bad_magic",
            "bad_length",
            "bad_format",
            "bad_text",
        }
    assert fleet.board("a").last is None


def test_the_highest_sequence_is_the_last(fleet: Fleet) -> None:
    fleet.accept("a", packed(report.MAX_SEQUENCE), "10.0.0.1")
    assert reason_of(fleet, packed(1)) == "old_sequence"


def test_the_history_is_capped_per_board(fleet: Fleet) -> None:
    fleet.add("b", KEY)
    fleet.accept("b", packed(1, board_id="b"), "10.0.0.2")
    for sequence in range(1, HISTORY_PER_BOARD + 30):
        fleet.accept("a", packed(sequence), "10.0.0.1")
    history = fleet.history("a")
    assert len(history) == HISTORY_PER_BOARD
    assert history[0].sequence == HISTORY_PER_BOARD + 29
    assert [one.sequence for one in fleet.history("b")] == [1]


def test_a_new_key_starts_the_sequence_anew_and_ends_the_old_key(fleet: Fleet) -> None:
    fleet.accept("a", packed(9), "10.0.0.1")
    with pytest.raises(OperatorError, match="known already"):
        fleet.add("a", bytes(32))
    fleet.add("a", bytes(32), replace=True)
    assert reason_of(fleet, packed(10)) == "wrong_mac"
    last = fleet.board("a").last
    assert last is not None
    assert last.sequence == 9  # the report that it describes
    assert fleet.boards()[0].last == last
    assert fleet.accept("a", packed(1, key=bytes(32)), "10.0.0.1") is not None
    assert len(fleet.history("a")) == 2


def test_the_old_key_is_no_new_one(fleet: Fleet) -> None:
    """Else the sequence would start anew, and reports recorded before count again."""
    fleet.accept("a", packed(9), "10.0.0.1")
    with pytest.raises(OperatorError, match="has this key already"):
        fleet.add("a", KEY, replace=True)
    assert reason_of(fleet, packed(1)) == "old_sequence"


def test_a_failure_while_the_file_is_made_is_not_hidden(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk rolls back by itself; then there is nothing to roll back any more."""
    monkeypatch.setattr(schema, "_SCHEMA", "ROLLBACK; CREATE nonsense")
    with pytest.raises(OperatorError, match="nonsense"):
        Fleet(path)


def test_a_removed_board_is_forgotten(fleet: Fleet) -> None:
    fleet.accept("a", packed(1), "10.0.0.1")
    fleet.remove("a")
    for forgotten in (fleet.board, fleet.history, fleet.remove):
        with pytest.raises(OperatorError, match="no board 'a'"):
            forgotten("a")
    fleet.add("a", KEY)
    assert fleet.history("a") == []


@pytest.mark.parametrize("board_id", ["", "A", "a/b", "../a", "ä", "x" * 33, "a b", "a\n"])
def test_bad_ids(fleet: Fleet, board_id: str) -> None:
    with pytest.raises(OperatorError, match="no board id"):
        fleet.add(board_id, KEY)


def test_bad_keys(fleet: Fleet) -> None:
    for key in (b"", bytes(31), bytes(33)):
        with pytest.raises(OperatorError, match="bytes"):
            fleet.add("b", key)


def test_the_file_is_private(fleet: Fleet, path: Path) -> None:
    fleet.accept("a", packed(1), "10.0.0.1")
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    fleet.close()
    path.chmod(0o644)
    Fleet(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_key_is_shown(fleet: Fleet) -> None:
    fleet.accept("a", packed(1), "10.0.0.1")
    shown = repr(fleet.boards()) + repr(fleet.history("a")) + repr(fleet)
    assert KEY.hex() not in shown
    assert repr(KEY) not in shown


# ---- SQLite cannot ----


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    for content in (b"hello", bytes(5000), b"SQLite format 3\0" + bytes(5000)):
        file = tmp_path / "file"
        file.write_bytes(content)
        file.chmod(0o644)
        with pytest.raises(OperatorError):
            Fleet(file)
        assert file.read_bytes() == content
        assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with sqlite3.connect(file) as other:
        other.execute("CREATE TABLE boards (id TEXT)")
    other.close()
    content = file.read_bytes()
    with pytest.raises(OperatorError, match="another program's"):
        Fleet(file)
    assert file.read_bytes() == content


def test_a_newer_format(path: Path, fleet: Fleet) -> None:
    fleet.close()
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    other.close()
    with pytest.raises(OperatorError, match="has format 2"):
        Fleet(path)


def test_folders_and_missing_permission(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="is a folder"):
        Fleet(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OperatorError, match="cannot be opened"):
        Fleet(tmp_path / "file" / "fleet.db")


def test_a_lock_is_waited_for_then_named(fleet: Fleet, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.close()
    monkeypatch.setattr(schema, "BUSY_S", 0.05)
    with Fleet(path) as quick:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            assert reason_of(quick, packed(1)) == "state_locked"
            assert reason_of(quick, packed(1, key=bytes(32))) == "wrong_mac"  # judged without the lock
            with pytest.raises(OperatorError, match="locked"):
                quick.add("b", KEY)
            assert quick.board("a").last is None  # WAL: readers go on
        finally:
            other.close()
        assert quick.accept("a", packed(1), "10.0.0.1") is not None


def test_a_full_disk(fleet: Fleet) -> None:
    """SQLite's own limit of pages gives the very error of a full disk."""
    connection = fleet._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    reasons = set()
    for sequence in range(1, 100):
        try:
            fleet.accept("a", packed(sequence, reason="x" * 200), "10.0.0.1")
        except PeerError as error:
            reasons.add((error.reason, error.code))
    assert reasons == {("state_full", 3)}
    stored = len(fleet.history("a"))
    last = fleet.board("a").last
    assert last is not None
    assert stored == last.sequence < 99  # half a report is never stored
    connection.execute("PRAGMA max_page_count = 1000000")
    assert fleet.accept("a", packed(100), "10.0.0.1") is not None


def test_a_database_that_cannot_be_written(fleet: Fleet) -> None:
    fleet._connection.execute("PRAGMA query_only = ON")
    assert reason_of(fleet, packed(1)) == "state_failed"


def test_two_programs_make_the_file_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "BUSY_S", 30.0)  # a busy machine's disk takes its time for eight of them
    monkeypatch.setattr(schema, "CREATE_S", 30.0)
    errors: list[BaseException] = []

    def make(number: int) -> None:
        try:
            with Fleet(path) as fleet:
                fleet.add(f"b{number}", KEY)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with Fleet(path) as fleet:
        assert len(fleet.boards()) == 8


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert schema.default_path() == tmp_path / "gapcast" / "fleet.db"
    monkeypatch.setenv("HOME", str(tmp_path))
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", ignored)
        assert schema.default_path() == tmp_path / ".local" / "state" / "gapcast" / "fleet.db"
