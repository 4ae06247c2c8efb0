"""The command `gapcast fleet`: list, show, history, add, remove."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from gapcast.errors import OperatorError
from gapcast.fleet.schema import default_path
from gapcast.fleet.store import Board, Fleet, State
from gapcast_core.report import KEY_BYTES

MAX_KEY_FILE_BYTES = 1024

_state = click.option(
    "--state", type=click.Path(path_type=Path), help="The state file.  [default: in $XDG_STATE_HOME]"
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_id = click.argument("board_id", metavar="ID")


@click.group()
def fleet() -> None:
    """Boards that may report, and what they reported."""


@fleet.command("list")
@_state
@_json
def list_boards(state: Path | None, as_json: bool) -> None:
    """All boards with their last report."""
    path = state or default_path()
    boards: list[Board] = []
    if _exists(path):  # to look is no reason to make a file
        with Fleet(path) as known:
            boards = known.boards()
    if as_json:
        click.echo(json.dumps({"boards": [_fields(board) for board in boards]}))
    elif boards:
        header = ("ID", "BOARD", "VERSION", "STATE", "WHEN", "ADDRESS", "REASON")
        _table([header, *(_row(board.id, board.last) for board in boards)])
    else:
        click.echo(f"no boards in {path}; `gapcast fleet add` makes one known")


@fleet.command()
@_id
@_state
@_json
def show(board_id: str, state: Path | None, as_json: bool) -> None:
    """One board's last report."""
    with _open(state) as known:
        board = known.board(board_id)
    if as_json:
        click.echo(json.dumps(_fields(board)))
        return
    facts = {"id": board.id, "added": _when(board.added_at)}
    if board.last is None:
        facts["state"] = "has not reported yet"
    else:
        facts |= {key: str(value) for key, value in dataclasses.asdict(board.last).items()}
        facts["reported_at"] = _when(board.last.reported_at)
    _table([(f"{key}:", value) for key, value in facts.items()])


@fleet.command()
@_id
@_state
@_json
def history(board_id: str, state: Path | None, as_json: bool) -> None:
    """One board's reports, the latest first."""
    with _open(state) as known:
        states = known.history(board_id)
    if as_json:
        click.echo(json.dumps({"id": board_id, "history": [dataclasses.asdict(one) for one in states]}))
    elif states:
        header = ("NUMBER", "BOARD", "VERSION", "STATE", "WHEN", "ADDRESS", "REASON")
        _table([header, *(_row(str(one.sequence), one) for one in states)])
    else:
        click.echo(f"{board_id} has not reported yet")


@fleet.command()
@_id
@click.option("--key-file", type=click.Path(path_type=Path), help="Its key: a file with 64 hex digits.")
@click.option("--key-out", type=click.Path(path_type=Path), help="Make a key, and write it to this new file.")
@click.option(
    "--replace", is_flag=True, help="Give a known board a new key, e.g. after its flash was erased."
)
@_state
@_json
def add(
    board_id: str,
    key_file: Path | None,
    key_out: Path | None,
    replace: bool,
    state: Path | None,
    as_json: bool,
) -> None:
    """Make a board known by its key, which belongs into its gapcast.json as `report_key`."""
    if (key_file is None) == (key_out is None):
        raise OperatorError(
            "which key?", "--key-out FILE makes one and keeps it there, --key-file FILE takes one"
        )
    key = read_key(key_file) if key_file is not None else secrets.token_bytes(KEY_BYTES)
    with Fleet(state or default_path()) as known:
        if key_out is not None:
            write_key(key_out, key)  # first: a board whose key is nowhere could never report
        try:
            known.add(board_id, key, replace)
        except OperatorError:
            if key_out is not None:
                key_out.unlink()
            raise
    kept = str(key_out) if key_out is not None else None
    if as_json:
        click.echo(json.dumps({"id": board_id, "key_file": kept}))
    else:
        click.echo(f"{board_id} may report" + (f"; its key is in {kept}" if kept else ""))


@fleet.command()
@_id
@_state
@_json
def remove(board_id: str, state: Path | None, as_json: bool) -> None:
    """Forget a board, its key and its history."""
    with _open(state) as known:
        known.remove(board_id)
    click.echo(json.dumps({"id": board_id}) if as_json else f"{board_id} is forgotten")


def read_key(path: Path) -> bytes:
    """The key in a file of 64 hex digits. Raises OperatorError, which never shows the content."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}") from error
    match = re.fullmatch(rb"\s*([0-9a-fA-F]{64})\s*", text)
    if match is None:
        raise OperatorError(f"{path} holds no report key", "it must have 64 hex digits, and nothing else")
    return bytes.fromhex(match[1].decode())


def write_key(path: Path, key: bytes) -> None:
    """A new file of 0600 with the key in hex. Raises OperatorError, also when it exists."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise OperatorError(f"{path} exists", "no key is overwritten: choose another --key-out") from error
    except OSError as error:
        raise OperatorError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(key.hex() + "\n")
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OperatorError(f"{path} cannot be written: {error.strerror}") from error


def _open(state: Path | None) -> Fleet:
    path = state or default_path()
    if not _exists(path):
        raise OperatorError(f"{path} does not exist", "`gapcast fleet add` makes the first board known")
    return Fleet(path)


def _exists(path: Path) -> bool:
    """Raises OperatorError when that cannot be told."""
    try:
        return path.exists()
    except OSError as error:
        raise OperatorError(f"{path} cannot be looked at: {error.strerror}", "see --state") from error


def _fields(board: Board) -> dict[str, object]:
    """For JSON; times are Unix seconds."""
    return dataclasses.asdict(board)


def _row(first: str, last: State | None) -> tuple[str, ...]:
    if last is None:
        return first, "", "", "never reported", "", "", ""
    return first, last.board, last.version, last.state, _when(last.reported_at), last.address, last.reason


def _when(seconds: float) -> str:
    """Local time."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    clean = [["".join(c if c.isprintable() else "?" for c in cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in clean) for column in range(len(clean[0]))]
    for row in clean:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
