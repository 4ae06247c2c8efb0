"""A session's side of pacing: the rate that its boards can take, and which of them clocks the stream.

PROTOCOL.md section 8. The board that needs longest for a block becomes the master, as in PGMCC: when it
falters, the stream waits for it at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from gapcast.protocol import events as ev
from gapcast.protocol.lags import Lags
from gapcast.protocol.members import Member
from gapcast.protocol.mended import Mended
from gapcast.protocol.paces import START_AT_ONCE, START_BLOCKS, START_S, Gate, Paces, air_seconds
from gapcast.protocol.settings import Settings
from gapcast.protocol.types import Address, Content, earliest
from gapcast_core.errors import PeerError
from gapcast_core.options import PACE, parse_number
from gapcast_core.wire import ERR_ILLEGAL, OP_RRQ, option, parse_request

MUCH_SLOWER = 1.25  # than the master, so that equal boards do not take turns
SYMBOL_SHARE = 0.75  # of a block's time, for a symbol: nothing is written when it comes, but soon after
OFFER_TRIES = 3
OFFER_EVERY_S = 0.25  # a busy board looks at its control port every 100 ms
HAND_OVER_EVERY_S = 1.0
PACE_MAX_US = 1_000_000_000  # beyond any board; what is too slow is left behind


@dataclass(slots=True)
class _Relief:
    member: Member
    due: float
    tries: int = 0


class Paced(Mended):
    """The part of a session that knows how fast its boards are."""

    def __init__(
        self, group: Address, content: Content, blksize: int, blocks: int, settings: Settings, now: float
    ) -> None:
        super().__init__(group, content, blksize, blocks, settings.turns, now)
        self._paces = Paces(air_seconds(settings.rate_bps, blksize))
        self._lags = Lags(self._paces.air_s)
        self._gate = Gate()  # of the stream's blocks
        self._symbol_gate = Gate()
        self._opens_at: float | None = None  # there is something to send, but not before
        self._starting = False  # boards are there, and nobody knows how fast they are
        self._relief: _Relief | None = None  # the master that is to be, while the old one goes on
        self._relief_at = float("-inf")

    # ---- the rate ----

    def _start_slowly(self) -> None:
        """A board joined before the first DATA."""
        if not self._mastery.stream.datagrams:
            self._starting = True
            self._gate.interval_s = START_S

    def _next_kind(self, has_block: bool, now: float) -> str:
        """What to send now, a "symbol" or a "block"; "" for nothing, or not yet."""
        if not (self._symbol_gate.is_open(now) or self._gate.is_open(now)):
            self._opens_at = min(self._symbol_gate.next_at(), self._gate.next_at())
            return ""
        has_symbol = self._wants_symbol() and not (has_block and self._spreads_symbols())
        self._opens_at = None
        if has_symbol and self._symbol_gate.is_open(now):
            return "symbol"
        if has_block and self._gate.is_open(now):
            return "block"
        if has_symbol or has_block:
            symbol_at = self._symbol_gate.next_at() if has_symbol else None
            self._opens_at = earliest(symbol_at, self._gate.next_at() if has_block else None)
        return ""

    def _note_symbol(self, now: float) -> None:
        """A repair symbol is sent."""
        self._symbol_gate.spend(now)

    def _note_block(self, now: float) -> None:
        """A block of the stream is sent."""
        if not self._starting and self._lags.expire(now):
            self._follow_boards()
        sent = self._mastery.stream.datagrams
        if self._starting and sent >= START_BLOCKS:
            self._follow_boards()
        if not self._starting or sent >= START_AT_ONCE - 1:
            self._gate.spend(now)

    def _follow_boards(self) -> None:
        self._starting = False
        self._gate.interval_s = max(self._paces.interval_s, self._lags.interval_s)
        self._symbol_gate.interval_s = max(self._paces.interval_s * SYMBOL_SHARE, self._lags.interval_s)
        if self._mending is not None:
            self._mending.interval_s = max(self._paces.air_s, self._gate.interval_s)

    def _end_for_boards(self, now: float) -> None:
        self._lags.end()
        self._follow_boards()
        super()._end_for_boards(now)

    def _smooth_lag(self, member: Member, seconds: float, now: float) -> float:
        self._lags.tell(member.address[0], seconds, now)
        if not self._starting:
            self._follow_boards()
        return self._lags.smooth_s

    def _on_request(self, member: Member, data: bytes, now: float) -> None:
        """An RRQ to the session's own port. Raises PeerError."""
        pace = option(parse_request(data)[3], PACE) if data[1] == OP_RRQ else None
        if pace is not None:
            self._on_pace(member, pace, now)
        elif self._is_left_behind(member):
            if self._mending is not None:
                self._mending.drop(member.address)
            raise PeerError("left_behind")  # what it lacks would be sent to all
        else:
            self._on_report(member, data, now)

    def _on_pace(self, member: Member, text: str, now: float) -> None:
        if not member.gap_aware:
            raise PeerError("not_an_ack", ERR_ILLEGAL)
        self._paces.say(member.address, parse_number(text, 1, PACE_MAX_US) / 1e6, now)
        if self._starting and self._roster.any(self._is_silent):
            return
        self._follow_boards()
        self._consider_relief(now)

    def _is_silent(self, member: Member) -> bool:
        return member.gap_aware and member.heard and member.address not in self._paces

    def _is_left_behind(self, member: Member) -> bool:
        in_chair = member in (self._mastery.election.master, self._mastery.election.candidate)
        return not (self._starting or in_chair) and self._paces.is_left_behind(member.address)

    # ---- the master ----

    def _consider_relief(self, now: float) -> None:
        """Offer the chair to the slowest, unless the master is as slow, or is a stock client."""
        master = self._mastery.election.master
        slowest = self._roster.get(self._paces.slowest) if self._paces.slowest is not None else None
        if master is None or slowest is None or slowest is master or not self._mastery.streaming:
            return
        if self._relief is not None or now < self._relief_at + HAND_OVER_EVERY_S or not master.gap_aware:
            return
        seconds = self._paces.seconds(master.address)
        too_slow = self._paces.is_left_behind(master.address)
        too_quick = self._paces.interval_s and self._paces.seconds(slowest.address) > MUCH_SLOWER * seconds
        if (too_slow or too_quick) and slowest.heard and self._mastery.eligible(slowest):
            self._relief = _Relief(slowest, now)

    def _offer_relief(self, now: float) -> None:
        relief = self._relief
        if relief is None or now < relief.due:
            return
        if relief.tries == OFFER_TRIES or not self._mastery.streaming or relief.member in self._turns:
            self._relief = None
            self._relief_at = now
            return
        relief.tries += 1
        relief.due = now + OFFER_EVERY_S
        self._send_oack(relief.member, True, None)

    def _relieves(self, member: Member, number: int) -> bool:
        """Whether this ACK is the answer to the offer; it asks for a block of the stream."""
        return (
            self._relief is not None
            and self._relief.member is member
            and self._mastery.election.master is not None
            and self._mastery.streaming
            and 0 < number < member.total
        )

    def _take_over(self, member: Member, number: int, now: float) -> None:
        """The stream goes on where it is."""
        before = self._mastery.hand_over(member, number, now)
        self._follow_master()
        self._relief = None
        self._relief_at = now
        member.was_master = True
        member.shushes = before.shushes = 0
        self._out.append(ev.Handover(self.group[0], *member.address, number))
        self._send_oack(before, False, None)

    # ---- time ----

    def _pacing_deadline(self) -> float | None:
        return earliest(
            self._mending_deadline(),
            self._opens_at,
            self._relief.due if self._relief is not None else None,
        )

    def _pace_on(self, now: float) -> None:
        """Time has passed."""
        self._mend_on(now)
        if self._opens_at is not None and now >= self._opens_at:
            self._opens_at = None  # the pump asks again
        self._offer_relief(now)

    def _retire(self, member: Member, outcome: str, now: float, text: str = "") -> None:
        self._paces.drop(member.address)
        self._lags.drop(member.address[0])
        if not self._starting:
            self._follow_boards()
        if self._relief is not None and self._relief.member is member:
            self._relief = None
        super()._retire(member, outcome, now, text)
