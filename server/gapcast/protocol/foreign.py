"""Datagrams from an address that has no business with a TID (RFC 1350 section 4)."""

from __future__ import annotations

from gapcast.protocol.events import Dropped
from gapcast.protocol.types import Address, Datagram
from gapcast_core.wire import ERR_UNKNOWN_TID, OP_ERROR, pack_error


def answer_stranger(data: bytes, source: Address, was_here: bool = False) -> list[object]:
    """ERROR 5, and the transfer goes on; the last words of one who `was_here` get nothing.

    Never an ERROR for an ERROR: it would go on for ever.
    """
    if was_here:
        return [Dropped("late")]
    effects: list[object] = [Dropped("foreign_tid")]
    if len(data) >= 2 and data[1] != OP_ERROR:
        effects.append(Datagram(pack_error(ERR_UNKNOWN_TID, "unknown transfer"), source))
    return effects
