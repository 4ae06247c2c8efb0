"""Finding the frame by which a loader is looked for, in what a host sends to a running program."""

from __future__ import annotations

from gapcast_sim.chip.commands import SYNC_DATA, Op

_START = b"\xc0\x00" + bytes([Op.SYNC, len(SYNC_DATA)]) + b"\x00"  # no text has these bytes
HOLD_S = 0.05  # for how long a beginning is kept back


class SyncWatch:
    """Keeps back what may be the beginning of such a frame."""

    def __init__(self) -> None:
        self.held = b""
        self.held_until = 0.0

    def feed(self, data: bytes, now: float) -> tuple[bytes, bytes]:
        """(what is for the program, the frame's beginning and all after it or b"")."""
        data = self.held + data
        before, found, after = data.partition(_START)
        if found:
            self.held = b""
            return before, found + after
        size = next((n for n in range(len(_START) - 1, 0, -1) if data.endswith(_START[:n])), 0)
        self.held, self.held_until = data[len(data) - size :], now + HOLD_S
        return data[: len(data) - size], b""

    def release(self) -> bytes:
        """What was kept back in vain."""
        held, self.held = self.held, b""
        return held
