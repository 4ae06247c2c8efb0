"""Opening the state file: a private SQLite database that is ours and of this version."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from contextlib import suppress
from pathlib import Path

from gapcast.errors import OperatorError

APPLICATION_ID = 0x47415046  # "GAPF": tells our files from other SQLite databases
SCHEMA_VERSION = 1
CREATE_S = 5.0  # for another program that is making the same file
BUSY_S = 1.0  # a lock is waited for so long; boards ask for longer than that

_SCHEMA = """
CREATE TABLE boards (
    id TEXT PRIMARY KEY, key BLOB NOT NULL, added_at REAL NOT NULL,
    sequence INTEGER NOT NULL DEFAULT 0, digest BLOB,
    state TEXT, version TEXT, counter INTEGER, board TEXT, content_id TEXT, reason TEXT,
    reported_at REAL, address TEXT
) STRICT;
CREATE TABLE history (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL REFERENCES boards (id) ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    state TEXT NOT NULL, version TEXT NOT NULL, counter INTEGER NOT NULL, board TEXT NOT NULL,
    content_id TEXT NOT NULL, reason TEXT NOT NULL, reported_at REAL NOT NULL, address TEXT NOT NULL
) STRICT;
CREATE INDEX history_of_a_board ON history (id, number);
"""


def default_path() -> Path:
    """$XDG_STATE_HOME/gapcast/fleet.db, else ~/.local/state/gapcast/fleet.db."""
    base = os.environ.get("XDG_STATE_HOME", "")
    # The XDG base directory specification: a relative path is to be ignored.
    folder = Path(base) if Path(base).is_absolute() else Path("~/.local/state").expanduser()
    return folder / "gapcast" / "fleet.db"


def open_database(path: Path) -> sqlite3.Connection:
    """The connection; a missing file is made. Raises OperatorError."""
    try:
        if path.is_dir():
            raise OperatorError(f"{path} is a folder", "name the file that holds the fleet's state")
        _make_private(path)
    except OSError as error:
        raise OperatorError(f"{path} cannot be opened: {error.strerror}", "see --state") from error
    connection = None
    try:
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        _prepare(connection, path)
        _tighten(path)
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise explain(error, path) from error
    except OperatorError:
        if connection is not None:
            connection.close()
        raise
    return connection


def _make_private(path: Path) -> None:
    """A new file is 0600 from its first moment, in a new folder of 0700: it holds every board's key."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


def _tighten(path: Path) -> None:
    """Ours for sure by now: a copied or restored file may be open to others."""
    with suppress(OSError):
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    # In this order: another program may be making the file, which has tables and id from one moment on.
    tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    found = int(connection.execute("PRAGMA application_id").fetchone()[0])
    if found == 0 and tables == 0:
        _create(connection)
    elif found != APPLICATION_ID:
        raise OperatorError(f"{path} is another program's database", "choose another file with --state")
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version != SCHEMA_VERSION:
        raise OperatorError(
            f"{path} has format {version}, this Gapcast knows {SCHEMA_VERSION}",
            "use the Gapcast that wrote it, or choose another file with --state",
        )
    # A report is acknowledged when it is stored, so it must survive a power cut: FULL, which syncs each time.
    connection.execute("PRAGMA synchronous = FULL")


def _create(connection: sqlite3.Connection) -> None:
    # To change the journal needs the file for itself, and SQLite does not wait for that.
    deadline = time.monotonic() + CREATE_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Two programs may come here at once: the second finds the work done.
        if not int(connection.execute("PRAGMA application_id").fetchone()[0]):
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk ends it by itself, and ROLLBACK would hide that
            connection.execute("ROLLBACK")
        raise


def explain(error: sqlite3.Error, path: Path) -> OperatorError:
    """What went wrong with the file, for a person."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        hint = "restore it from a backup, or move it away and add the boards again"
        return OperatorError(f"{path} is damaged, or no database", hint)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return OperatorError(f"{path} is locked by another program", "try again when that one is done")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return OperatorError(f"{path} cannot be written: {error}", "check its permissions and its folder's")
    return OperatorError(f"{path} cannot be used: {error}", "check the disk")
