"""The fleet's state in SQLite: boards, their keys, their last report and its history."""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from gapcast.errors import OperatorError
from gapcast.fleet.schema import explain, open_database
from gapcast_core import report as reports
from gapcast_core.errors import PeerError
from gapcast_core.wire import ERR_ACCESS, ERR_DISK_FULL

HISTORY_PER_BOARD = 200  # a board that reports for ever, or a stolen key, costs no more than this
MAX_BOARDS = 100_000
_STATE_FIELDS = "state, version, counter, board, content_id, reason, reported_at, address"
# boards.sequence starts anew with a new key; the last report keeps the number that it had.
_LAST_NUMBER = "SELECT sequence FROM history WHERE history.id = boards.id ORDER BY number DESC LIMIT 1"
_BOARD_FIELDS = f"id, added_at, ({_LAST_NUMBER}), {_STATE_FIELDS}"


@dataclass(frozen=True, slots=True)
class State:
    """One report as it was stored. reported_at: Unix time in seconds; content_id: hex, empty for none."""

    id: str
    sequence: int
    state: str
    version: str
    counter: int
    board: str
    content_id: str
    reason: str
    reported_at: float
    address: str


@dataclass(frozen=True, slots=True)
class Board:
    """One board. added_at: Unix time in seconds; last: None before its first report. The key stays inside."""

    id: str
    added_at: float
    last: State | None


class Fleet:
    """The state file. Usable from several threads; each call is one transaction.

    Args:
        path: the file; a missing one is made.

    Raises OperatorError: not ours, damaged, not writable. Every method raises it too when SQLite fails,
    except accept().
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._connection = open_database(self._path)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file up."""
        with self._lock:
            self._connection.close()

    # ---- what the operator does ----

    def add(self, board_id: str, key: bytes, replace: bool = False) -> None:
        """Make a board known. `replace`: give a known one a new key; its sequence starts anew.

        Raises OperatorError also for a bad id or key, a known board, and a new key that is the old one.
        """
        if not reports.is_board_id(board_id):
            raise OperatorError(f"{board_id!r} is no board id", "1 to 32 of the characters 0-9, a-z and -")
        if len(key) != reports.KEY_BYTES:
            raise OperatorError(f"a report key of {len(key)} bytes", f"it must have {reports.KEY_BYTES}")
        with self._changing() as execute:
            known = execute("SELECT key FROM boards WHERE id = ?", board_id).fetchone()
            if known and not replace:
                raise OperatorError(f"{board_id} is known already", "use --replace to give it a new key")
            if known and hmac.compare_digest(known[0], key):
                hint = "give it a new one, or whoever recorded its old reports could send them again"
                raise OperatorError(f"{board_id} has this key already", hint)
            if known:
                execute("UPDATE boards SET key = ?, sequence = 0, digest = NULL WHERE id = ?", key, board_id)
                return
            if execute("SELECT count(*) FROM boards").fetchone()[0] >= MAX_BOARDS:
                raise OperatorError(f"{MAX_BOARDS} boards are known", "remove some")
            execute("INSERT INTO boards (id, key, added_at) VALUES (?, ?, ?)", board_id, key, time.time())

    def has(self, board_id: str, key: bytes) -> bool:
        """Whether this board is known, by this key."""
        with self._reading() as execute:
            row = execute("SELECT key FROM boards WHERE id = ?", board_id).fetchone()
        return row is not None and hmac.compare_digest(row[0], key)

    def remove(self, board_id: str) -> None:
        """Forget a board and its history. Raises OperatorError for an unknown one."""
        with self._changing() as execute:
            if not execute("DELETE FROM boards WHERE id = ?", board_id).rowcount:
                raise _unknown(board_id)

    def boards(self) -> list[Board]:
        """All boards, by id."""
        with self._reading() as execute:
            rows = execute(f"SELECT {_BOARD_FIELDS} FROM boards ORDER BY id")
            return [_board(row) for row in rows]

    def board(self, board_id: str) -> Board:
        """One board. Raises OperatorError for an unknown one."""
        with self._reading() as execute:
            row = execute(f"SELECT {_BOARD_FIELDS} FROM boards WHERE id = ?", board_id).fetchone()
        if row is None:
            raise _unknown(board_id)
        return _board(row)

    def history(self, board_id: str) -> list[State]:
        """Its last HISTORY_PER_BOARD reports, the latest first. Raises OperatorError for an unknown board."""
        self.board(board_id)
        with self._reading() as execute:
            rows = execute(
                f"SELECT id, sequence, {_STATE_FIELDS} FROM history WHERE id = ? ORDER BY number DESC",
                board_id,
            )
            return [State(*row) for row in rows]

    # ---- what boards do ----

    def accept(self, board_id: str, data: bytes, address: str) -> State | None:
        """Judge and store one report; None when it is the last one again, which is stored already.

        Raises PeerError with a drop name and the ERROR code to answer with: what parse_report raises,
        `unknown_board`, `wrong_mac`, `old_sequence`; `state_locked`, `state_full`, `state_failed`.
        """
        found = reports.parse_report(data)
        try:
            with self._lock:
                # A look first, which waits for nobody: forgeries do not hold the lock against real reports.
                if not _is_new(_Execute(self._connection), board_id, found, data):
                    return None
                with _transaction(self._connection) as execute:
                    return _store(execute, board_id, found, data, address)
        except sqlite3.Error as error:
            raise PeerError(_drop_name(error), ERR_DISK_FULL) from error

    # ---- SQLite ----

    @contextmanager
    def _changing(self) -> Iterator[_Execute]:
        try:
            with self._lock, _transaction(self._connection) as execute:
                yield execute
        except sqlite3.Error as error:
            raise explain(error, self._path) from error

    @contextmanager
    def _reading(self) -> Iterator[_Execute]:
        try:
            with self._lock:
                yield _Execute(self._connection)
        except sqlite3.Error as error:
            raise explain(error, self._path) from error


class _Execute:
    """Statements with positional arguments."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __call__(self, statement: str, *arguments: object) -> sqlite3.Cursor:
        return self._connection.execute(statement, arguments)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[_Execute]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield _Execute(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _is_new(execute: _Execute, board_id: str, found: reports.Report, data: bytes) -> bool:
    """Whether it is to be stored; False: it is the last one again. Raises PeerError."""
    row = execute("SELECT key, sequence, digest FROM boards WHERE id = ?", board_id).fetchone()
    if row is None:
        raise PeerError("unknown_board", ERR_ACCESS)
    key, last_sequence, last_digest = row
    if not hmac.compare_digest(reports.report_mac(key, board_id, found.body), found.mac):
        raise PeerError("wrong_mac", ERR_ACCESS)
    if found.sequence == last_sequence and hashlib.sha256(data).digest() == last_digest:
        return False  # our ACK was lost
    if found.sequence <= last_sequence:
        raise PeerError("old_sequence", ERR_ACCESS)
    return True


def _store(
    execute: _Execute, board_id: str, found: reports.Report, data: bytes, address: str
) -> State | None:
    if not _is_new(execute, board_id, found, data):
        return None
    state = State(
        id=board_id,
        sequence=found.sequence,
        state=reports.STATES[found.state],
        version=found.version,
        counter=found.counter,
        board=found.board,
        content_id=found.content_id.hex() if any(found.content_id) else "",
        reason=found.reason,
        reported_at=time.time(),
        address=address,
    )
    _write(execute, state, hashlib.sha256(data).digest())
    return state


def _write(execute: _Execute, state: State, digest: bytes) -> None:
    board_id, *values = astuple(state)
    names = f"sequence, {_STATE_FIELDS}"
    marks = ", ".join("?" * len(values))
    execute(f"UPDATE boards SET ({names}, digest) = ({marks}, ?) WHERE id = ?", *values, digest, board_id)
    execute(f"INSERT INTO history (id, {names}) VALUES (?, {marks})", board_id, *values)
    execute(
        "DELETE FROM history WHERE id = ?1 AND number <= "
        "(SELECT number FROM history WHERE id = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        board_id,
        HISTORY_PER_BOARD,
    )


def _board(row: tuple[object, ...]) -> Board:
    board_id, added_at, sequence, *state = row
    last = State(board_id, sequence, *state) if state[0] is not None else None  # type: ignore[arg-type]
    return Board(str(board_id), float(str(added_at)), last)


def _unknown(board_id: str) -> OperatorError:
    return OperatorError(f"no board {board_id!r}", "see `gapcast fleet list`, or add it: `gapcast fleet add`")


def _drop_name(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "state_locked"
    return "state_full" if name.startswith("SQLITE_FULL") else "state_failed"
