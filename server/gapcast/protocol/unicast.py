"""One unicast transfer: RFC 1350, 2347, 2348, 2349, 7440, and the virtual files of `ranges`.

Blocks are counted without bound here and cut to 16 bits on the wire, so they wrap from 65535 to 0.
"""

from __future__ import annotations

from gapcast.protocol.blocks import open_file
from gapcast.protocol.credit import UNPROVEN_S, Credit
from gapcast.protocol.events import Dropped, TransferDone, TransferOpen
from gapcast.protocol.foreign import Strangers
from gapcast.protocol.negotiate import UnicastPlan
from gapcast.protocol.timing import FLOOR_S, RoundTrip, SendTimes
from gapcast.protocol.types import Address, Content, ContentChangedError, Datagram
from gapcast_core.errors import PeerError
from gapcast_core.wire import pack_data, pack_error, parse_ack, parse_error

FLOOR_REPAIR_S = 0.06  # a board's flash erase stops it for 45 ms and more; do not fill its queue meanwhile
GIVE_UP_S = 10.0
UNVERIFIED_TRIES = 4  # OACKs that nobody asked for again, as far as the request paid for them: credit.py
END_TRIES = 5  # when everything is sent, and the client may have left after its last ACK
END_S = 2.0


class Transfer:
    """A server's side of one unicast read. See types.Machine for the methods."""

    def __init__(self, peer: Address, name: str, plan: UnicastPlan, content: Content, now: float) -> None:
        self.peer = peer
        self.gentle = plan.ranges is not None
        self.lock_step = plan.windowsize == 1
        self.closed = False
        self.verified = False  # an ACK came: the address is not forged
        self.ranges_text = plan.ranges_text
        self._name = name
        self._oacks = [oack for oack in (plan.oack, plan.brief) if oack is not None]
        self._offered = plan.oack is not None  # the OACK waits for its ACK 0
        self._window = plan.windowsize
        self._file = open_file(content, plan.blksize, plan.ranges)
        self._total = self._file.total
        self._base = 0  # acknowledged
        self._next = 1  # to be sent next
        self._high = 0  # highest sent so far
        self._probe = False
        self._probed_at: float | None = None
        self._trip = RoundTrip(FLOOR_REPAIR_S if self.gentle else FLOOR_S)
        self._times = SendTimes()
        self._credit = Credit(plan.received_bytes)
        self._data_left = 1  # DATA 1 before any proof: one for each request (RFC 1350 has no OACK)
        self._offers = 0
        self._went_back_at = float("-inf")
        self._went_back_high = 0
        self._tries = 0
        self._opened_at = self._asked_at = self._offered_at = self._progress_at = now
        self._due: float | None = None
        self._datagrams = 0
        self._strangers = Strangers()
        self._out: list[object] = []
        self._open(plan, now)

    def _open(self, plan: UnicastPlan, now: float) -> None:
        host, port = self.peer
        self._out.append(
            TransferOpen(
                address=host,
                port=port,
                name=self._name,
                blksize=plan.blksize,
                windowsize=plan.windowsize,
                blocks=self._total,
                bytes=self._file.bytes,
                ranges=plan.ranges_text,
            )
        )
        if self._offered:
            self._send_oack(now)
        else:
            self._arm(now)

    # ---- the shell's side ----

    @property
    def lone(self) -> bool:
        return self.lock_step

    def take(self) -> list[object]:
        out = self._out
        self._out = []
        return out

    def deadline(self) -> float | None:
        return None if self.closed else self._due

    def wants_data(self, now: float) -> bool:
        if self.closed or self._offered:
            return False
        if not self.verified:
            return self._data_left > 0
        return self._probe or self._next <= min(self._base + self._window, self._total)

    def next_data(self, now: float) -> Datagram | None:
        if not self.wants_data(now):
            return None
        if self._probe:
            self._probe = False
            self._probed_at = now
            number = self._high
        else:
            number = self._next
            self._next += 1
        self._data_left = 0
        try:
            payload = self._file.payload(number)
        except ContentChangedError:
            answer = pack_error(0, "file changed")
            if self.verified or self._credit.spend(len(answer)):
                self._out.append(Datagram(answer, self.peer))
            self._close("changed", now)
            return None
        self._high = max(self._high, number)
        self._times.sent(number, now)
        self._datagrams += 1
        self._arm(now)
        return Datagram(pack_data(number, payload), self.peer)

    def repeat_offer(self, now: float, received_bytes: int) -> None:
        """The same RRQ came again: the same answer, unless the transfer is past it."""
        if self.verified:
            self._out.append(Dropped("duplicate_request"))
            return
        self._asked_at = now
        self._tries = 0
        self._credit.earn(received_bytes)
        if self._offered:
            self._send_oack(now)
        else:
            self._data_left = 1
            self._next = 1

    def evict(self, now: float) -> None:
        """Others need the place of this one, which has not proven its address."""
        self._close("evicted", now)

    def replace(self, now: float) -> None:
        """The client asks for something else from the same port: this transfer is over."""
        self._close("replaced", now)

    def refused(self, peer: Address, now: float) -> None:
        if peer == self.peer and not self.closed:
            self._close("unconfirmed" if self._all_sent() else "gone", now)

    # ---- what arrives ----

    def receive(self, data: bytes, source: Address, now: float) -> None:
        if self.closed:
            return
        if source != self.peer:
            self._out += self._strangers.answer(data, source, now)
            return
        try:
            if data[:2] == b"\x00\x05":
                code, text = parse_error(data)
                self._close("error", now, f"{code} {text}")
                return
            self._on_ack(parse_ack(data), now)
        except PeerError as error:
            self._out.append(Dropped(error.reason))

    def _on_ack(self, number: int, now: float) -> None:
        if self._offered:
            self._on_first_ack(number, now)
            return
        if self._probed_at is not None:
            # The probe came after a silence, so this answers it, or is the client's own timer: believe it
            # downwards only. Where every block is sent twice, Karn's rule alone never measures anything.
            self._trip.sample(min(now - self._probed_at, self._trip.smoothed))
            self._probed_at = None
        moved = (number - self._base) & 0xFFFF
        if moved == 0:
            self._on_repeated_ack(now)
            return
        # The empty end of a virtual file may be acknowledged unseen (PROTOCOL.md section 4).
        unseen_end = self.gentle and self._base + moved == self._total and self._high >= self._total - 1
        if self._base + moved > self._high and not unseen_end:
            self._out.append(Dropped("stale_ack"))
            return
        self._base += moved
        self.verified = True
        self._tries, self._progress_at = 0, now
        sent_at = self._times.at(self._base)
        if sent_at >= self._opened_at:
            self._trip.sample(now - sent_at)
        if self._base >= self._total:
            self._close("complete", now)
            return
        if self._base + 1 < self._next and self._may_go_back(now):
            self._go_back(now)  # RFC 7440 section 4: an ACK inside the window reports a gap after it
        self._next = max(self._next, self._base + 1)
        self._arm(now)

    def _on_first_ack(self, number: int, now: float) -> None:
        if number != 0:
            self._out.append(Dropped("early_ack"))
            return
        self._offered = False
        self.verified = True
        if self._offers == 1:
            self._trip.sample(now - self._offered_at)
        self._tries = 0
        self._progress_at = now
        self._due = None

    def _on_repeated_ack(self, now: float) -> None:
        """The ACK of the base again: a report of a gap in a window, else a duplicate.

        RFC 1123 section 4.2.3.1 (Sorcerer's Apprentice): in lock-step it must not cause DATA.
        """
        if self._window > 1 and self._base + 1 < self._next and self._may_go_back(now):
            self._go_back(now)
        else:
            self._out.append(Dropped("duplicate_ack"))

    def _may_go_back(self, now: float) -> bool:
        """Once a round trip: ACKs that were on their way already must not double the traffic."""
        settled = self._base >= self._went_back_high
        return self._window > 1 and (settled or now - self._went_back_at >= self._trip.smoothed)

    def _go_back(self, now: float) -> None:
        self._tries = 0  # the path works, there is nothing to back off from
        self._probed_at = None
        self._went_back_at = now
        self._went_back_high = self._high
        self._next = self._base + 1

    # ---- time ----

    def on_time(self, now: float) -> None:
        if self.closed or self._due is None or now < self._due:
            return
        self._tries += 1
        if self._is_hopeless(now):
            self._close("unconfirmed" if self._all_sent() and self.verified else "silent", now)
        elif self._offered:
            self._send_oack(now)
        else:
            if self._tries == 1 and self._window > 1 and self._high > self._base + 1:
                # One datagram asks "how far are you?": a client that has all answers with its ACK, and
                # one that has a gap reports it. A whole window more would overflow a busy board.
                self._probe = True
            else:
                self._probed_at = None
                self._next = self._base + 1
            self._arm(now)

    def _arm(self, now: float) -> None:
        """Only a full window starts the clock: while DATA waits for the pacer nothing is overdue."""
        if not self.verified:
            self._due = self._asked_at + UNPROVEN_S  # the client repeats its request, we do not repeat DATA
            return
        self._due = None if self.wants_data(now) else now + self._trip.timeout(self._tries)

    def _is_hopeless(self, now: float) -> bool:
        if not self.verified:
            return now >= self._asked_at + UNPROVEN_S
        patience_s = END_S if self._all_sent() else GIVE_UP_S
        return self._tries > END_TRIES and now - self._progress_at > patience_s

    def _all_sent(self) -> bool:
        """Whether the last window is out, so that only the last ACK may be missing."""
        return self._high >= self._total and self._base >= self._total - self._window

    def _send_oack(self, now: float) -> None:
        oack = next((oack for oack in self._oacks if self._credit.spend(len(oack))), None)
        if oack is None:
            self._out.append(Dropped("no_credit"))
        else:
            self._out.append(Datagram(oack, self.peer))
            self._offers += 1
            self._offered_at = now
        expires_at = self._asked_at + UNPROVEN_S
        may_repeat = self._tries < UNVERIFIED_TRIES
        self._due = min(now + self._trip.timeout(self._tries), expires_at) if may_repeat else expires_at

    def _close(self, outcome: str, now: float, text: str = "") -> None:
        self.closed = True
        host, port = self.peer
        self._out.append(
            TransferDone(
                address=host,
                port=port,
                name=self._name,
                outcome=outcome,
                blocks=self._base,
                bytes=self._file.bytes if outcome == "complete" else 0,
                datagrams=self._datagrams,
                seconds=round(now - self._opened_at, 6),
                ranges=self.ranges_text,
                text=text,
            )
        )
