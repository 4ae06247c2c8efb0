"""The reception of one report: a WRQ of one block (RFC 1350, PROTOCOL.md section 10).

The machine hands the block out as a Submission and waits: ACK 1 says "stored", so the shell tells it when
that is so. Storing happens in a thread, the event loop does not wait for the disk.
"""

from __future__ import annotations

from dataclasses import dataclass

from gapcast.protocol.events import Dropped, Refused
from gapcast.protocol.foreign import Strangers
from gapcast.protocol.types import Address, Datagram
from gapcast_core.errors import PeerError
from gapcast_core.report import report_name
from gapcast_core.wire import (
    ERR_DISK_FULL,
    ERR_UNDEFINED,
    HEADER_BYTES,
    OP_DATA,
    OP_ERROR,
    opcode,
    pack_ack,
    pack_error,
)

BLOCK_BYTES = 512  # RFC 1350: a block as long as this says that more will follow
DATA_S = 5.0  # for DATA 1; a board repeats what it sends every 250 ms
STORE_S = 10.0  # for the disk
DALLY_S = 2.0  # the ACK may be lost: it is repeated for a repeated DATA (RFC 1350 section 6)
REPEATED_ACKS = 16

WAITING = "waiting"
STORING = "storing"
STORED = "stored"


@dataclass(frozen=True, slots=True)
class Submission:
    """An effect: these bytes are to be judged and stored. Answer with stored() or refuse()."""

    board_id: str
    data: bytes


class Reception:
    """A server's side of one report. See types.Machine for the methods."""

    gentle = False
    lock_step = False
    lone = False

    def __init__(self, peer: Address, board_id: str, now: float) -> None:
        self.peer = peer
        self.closed = False
        self.verified = False  # DATA came to this TID: the address is not forged
        self._board_id = board_id
        self._state = WAITING
        self._data = b""
        self._acks = 0
        self._due = now + DATA_S
        self._strangers = Strangers()
        self._out: list[object] = [Datagram(pack_ack(0), peer)]

    @property
    def finished(self) -> bool:
        """It is stored and acknowledged; what is left is to repeat the ACK."""
        return self._state == STORED

    def take(self) -> list[object]:
        out = self._out
        self._out = []
        return out

    def deadline(self) -> float | None:
        return None if self.closed else self._due

    def wants_data(self, now: float) -> bool:
        return False

    def next_data(self, now: float) -> Datagram | None:
        return None

    def repeat_offer(self, now: float) -> None:
        """The same WRQ came again: ACK 0 was lost."""
        if self._state == WAITING:
            self._out.append(Datagram(pack_ack(0), self.peer))
        else:
            self._out.append(Dropped("duplicate_request"))

    def evict(self, now: float) -> None:
        """Others need the place of this one, which has not proven its address, or is finished."""
        if self.finished:
            self.closed = True
            return
        self._drop("report_evicted")
        # ACK 0 and this are 13 bytes for a WRQ of at least 17: within ANSWER_RATIO.
        self._out.append(Datagram(pack_error(ERR_UNDEFINED, "busy"), self.peer))

    def refused(self, peer: Address, now: float) -> None:
        if peer == self.peer and self._state != STORING:
            self.closed = True

    def receive(self, data: bytes, source: Address, now: float) -> None:
        if self.closed:
            return
        if source != self.peer:
            self._out += self._strangers.answer(data, source, now)
            return
        if len(data) < HEADER_BYTES:
            self._out.append(Dropped("short"))
        elif opcode(data) == OP_ERROR:
            self.closed = self._state != STORING
        elif opcode(data) != OP_DATA or data[2:4] != b"\0\1":
            self._out.append(Dropped("not_data_1"))
        else:
            self._on_data(data[HEADER_BYTES:], now)

    def _on_data(self, payload: bytes, now: float) -> None:
        self.verified = True
        if self._state == WAITING:
            if len(payload) >= BLOCK_BYTES:
                self.refuse(PeerError("report_too_long", ERR_DISK_FULL), now)
                return
            self._state = STORING
            self._data = payload
            self._due = now + STORE_S
            self._out.append(Submission(self._board_id, payload))
        elif payload != self._data:
            self._out.append(Dropped("another_report"))
        elif self._state == STORED and self._acks < REPEATED_ACKS:
            self._acks += 1
            self._out.append(Datagram(pack_ack(1), self.peer))
        else:
            self._out.append(Dropped("duplicate_report"))

    def stored(self, now: float) -> None:
        """The report is on the disk, from now on it may be acknowledged."""
        if self.closed:
            return
        self._state = STORED
        self._due = now + DALLY_S
        self._out.append(Datagram(pack_ack(1), self.peer))

    def refuse(self, error: PeerError, now: float) -> None:
        """It is not taken, and why; the operator is told more than the peer."""
        if self.closed:
            return
        self.closed = True
        self._out.append(Dropped(error.reason))
        self._out.append(Refused(*self.peer, report_name(self._board_id), error.reason))
        self._out.append(Datagram(pack_error(error.code, "not taken"), self.peer))

    def on_time(self, now: float) -> None:
        if self.closed or now < self._due:
            return
        if self._state == STORED:
            self.closed = True
        elif self._state == WAITING:
            self._drop("report_without_data")
        else:
            self.refuse(PeerError("state_slow", ERR_DISK_FULL), now)

    def _drop(self, reason: str) -> None:
        self.closed = True
        self._out.append(Dropped(reason))
