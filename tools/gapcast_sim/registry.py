"""The boards of a bench in the server's fleet file: their report keys, and what the server heard of them."""

from __future__ import annotations

import secrets
from pathlib import Path

from gapcast.fleet.store import Fleet, State
from gapcast_core.report import KEY_BYTES
from gapcast_sim.provision import kept_report_key

FILE = "fleet.db"


class Registry:
    """The fleet file of one bench, in the folder of its boards' flash: `--keep` keeps both."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def enroll(self, folders: dict[str, Path]) -> dict[str, str]:
        """Make the boards known; their report keys as hex digits, by id. Raises OperatorError.

        Args:
            folders: Of each board's flash, by id; a key that is in there already stays.
        """
        kept = {board: kept_report_key(folder) for board, folder in folders.items()}
        keys = {board: key or secrets.token_hex(KEY_BYTES) for board, key in kept.items()}
        with Fleet(self.path) as fleet:
            known = {board.id for board in fleet.boards()}
            for board, key in keys.items():
                if board not in known or not kept[board]:
                    fleet.add(board, bytes.fromhex(key), replace=True)
        return keys

    def states(self) -> dict[str, State]:
        """The last report of each board that sent one, by id. Raises OperatorError."""
        with Fleet(self.path) as fleet:
            return {board.id: board.last for board in fleet.boards() if board.last is not None}
