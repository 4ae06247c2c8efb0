"""The board in the server's inventory (gapcast.fleet): entered with its key, and taken out again."""

from __future__ import annotations

from pathlib import Path

from gapcast.fleet.schema import default_path
from gapcast.fleet.store import Fleet
from gapcast_tools.usb.secrets import Secret, fresh_key


def enter_in_fleet(state: Path | None, board_id: str, key_on_board: Secret | None) -> tuple[Secret, bool]:
    """Make a board known; (its report key, which belongs into its gapcast.json; whether anything changed).

    A key that the board and the inventory share is kept. Otherwise both need a fresh one, and the inventory
    has it first: when we are interrupted before the board has it, they differ, and the next run gives both
    another. A board's old key is never taken over: its reports may have been recorded, to be sent again.

    Args:
        state: the inventory's file; None: the default one.

    Raises:
        OperatorError: The file cannot be used, or `board_id` is none.
    """
    with Fleet(state or default_path()) as fleet:
        if key_on_board is not None and fleet.has(board_id, _bytes(key_on_board)):
            return key_on_board, False
        key = fresh_key()
        fleet.add(board_id, _bytes(key), replace=True)
        return key, True


def check_fleet(state: Path | None) -> None:
    """Whether the inventory can be used, before any board is touched; it is made where there is none.

    Raises:
        OperatorError: It cannot.
    """
    with Fleet(state or default_path()):
        pass


def leave_fleet(state: Path | None, board_id: str) -> bool:
    """Take a board out of the inventory, with its history; False: it was not in it. Raises OperatorError."""
    path = state or default_path()
    if not path.exists():
        return False
    with Fleet(path) as fleet:
        if not any(board.id == board_id for board in fleet.boards()):
            return False
        fleet.remove(board_id)
        return True


def _bytes(key: Secret) -> bytes:
    try:
        return bytes.fromhex(key.reveal())
    except ValueError:
        return b""  # written by hand, and no key
