"""Datagrams from an address that has no business with a TID (RFC 1350 section 4)."""

from __future__ import annotations

from gapcast.protocol.credit import error_within
from gapcast.protocol.events import Dropped
from gapcast.protocol.types import Address, Datagram
from gapcast_core.wire import ERR_UNKNOWN_TID, OP_ACK, OP_DATA, OP_OACK

ANSWERS_PER_S = 10  # of one TID


class Strangers:
    """ERROR 5 for them, and the transfer goes on."""

    def __init__(self) -> None:
        self._since = float("-inf")
        self._answers = 0

    def answer(self, data: bytes, source: Address, now: float, was_here: bool = False) -> list[object]:
        """What to say; the last words of one who `was_here` get nothing.

        Only what a TFTP client sends to a TID, and only so often: whoever answers an ERROR, a chargen port
        or another server, must not go on for ever.
        """
        if was_here:
            return [Dropped("late")]
        effects: list[object] = [Dropped("foreign_tid")]
        if len(data) >= 4 and data[0] == 0 and data[1] in (OP_ACK, OP_DATA, OP_OACK) and self._may(now):
            answer = error_within(ERR_UNKNOWN_TID, "unknown transfer", len(data))
            if answer is not None:
                effects.append(Datagram(answer, source))
        return effects

    def _may(self, now: float) -> bool:
        if now - self._since >= 1.0:
            self._since = now
            self._answers = 0
        self._answers += 1
        return self._answers <= ANSWERS_PER_S
