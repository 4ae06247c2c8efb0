"""A session's side of erasure repair: who is mended, and who gets a turn (PROTOCOL.md section 11)."""

from __future__ import annotations

from abc import abstractmethod

from gapcast.protocol import events as ev
from gapcast.protocol.groups import repair_group
from gapcast.protocol.members import Member
from gapcast.protocol.membership import Membership
from gapcast.protocol.mending import Mending
from gapcast.protocol.types import Address, Content, Datagram
from gapcast.protocol.unit_blocks import plan_for
from gapcast_core.errors import PeerError
from gapcast_core.generations import HEARD, LACKS, format_offer, parse_heard, parse_lacks, parse_surplus
from gapcast_core.options import RANGES
from gapcast_core.wire import ERR_ILLEGAL, OP_RRQ, option, pack_data, parse_request

LEAD_BLOCKS = 64  # some 90 ms at 6 Mbit/s: longer than bursts of loss, and than a Wi-Fi's round trip


class Mended(Membership):
    """The part of a session that knows what its boards lack."""

    def __init__(
        self, group: Address, content: Content, blksize: int, blocks: int, turns: int, now: float
    ) -> None:
        super().__init__(group, blocks, turns, now)
        self._repair_group = repair_group(group)
        plan = plan_for(content, blksize)
        self._mending = None if plan is None else Mending(plan, content, blksize, now)
        if plan is not None:
            self._lacks_offer = format_offer(self._repair_group[0], plan.k)

    @abstractmethod
    def _on_member_at_end(self, member: Member, now: float) -> None:
        """A board has told of all generations: it has seen the end of the stream."""

    @abstractmethod
    def _smooth_lag(self, member: Member, seconds: float, now: float) -> float:
        """A board's report knew nothing of what was sent for so long; how long it is of late for most."""

    def _is_mended(self, member: Member) -> bool:
        """Whether that board waits for symbols, and they are sent."""
        mending = self._mending
        return mending is not None and mending.is_worth_it and member.address in mending

    def _reports(self, member: Member) -> bool:
        """Whether that board says by reports what it lacks, so that its ACK `total` says "complete"."""
        return self._mending is not None and member.address in self._mending

    def _on_report(self, member: Member, data: bytes, now: float) -> None:
        """An RRQ to the session's own port. Raises PeerError."""
        mending = self._mending
        options = parse_request(data)[3] if data[1] == OP_RRQ else []
        lacks = option(options, LACKS)
        if lacks is None or mending is None or not member.gap_aware:
            raise PeerError("not_an_ack", ERR_ILLEGAL)
        counts = parse_lacks(lacks, mending.plan.count)
        blocks = parse_surplus(option(options, RANGES) or "", mending.plan.total_blocks)
        heard = option(options, HEARD)
        known = parse_heard(heard) if heard is not None else None
        if member in self._turns or not (self._mastery.streaming or member.address in mending):
            raise PeerError("late_report")  # it came while its turn was on its way
        is_new = member.address not in mending
        mending.report(member.address, counts, blocks, known, now)
        if known is not None and self._mastery.streaming:
            mending.lag_s = self._smooth_lag(member, mending.lag(member.address, now), now)
        if is_new:
            self._keep_apart(now)
            self._follow_master()
        if len(counts) == mending.plan.count:
            self._on_member_at_end(member, now)
            self._give_up_mending(member, now)

    def _follow_master(self) -> None:
        """A master whose losses are mended need not hear every window: a burst must not stop the stream.

        Not for one that is alone: what it has already is skipped by its ACKs, and would be sent.
        """
        master = self._mastery.election.master
        leads = master is not None and self._reports(master) and len(self._roster) > 1
        self._mastery.stream.lead = LEAD_BLOCKS if leads else 0

    def _keep_apart(self, now: float) -> None:
        """No symbols when a stock client shares the host of a board (simulated ones do).

        Linux gives a socket the groups that any other on that host has joined, if only the port is its own.
        """
        mending = self._mending
        stock = [_host(member.address) for member in self._roster if not member.gap_aware]
        if mending is None or not stock or not {_host(address) for address in mending.addresses} & set(stock):
            return
        mending.forbid()
        if not self._mastery.streaming:
            for address in mending.addresses:
                member = self._roster.get(address)
                assert member is not None
                self._give_turn(member, now)

    def _give_up_mending(self, member: Member, now: float) -> None:
        """After the stream: a board that symbols cannot help gets its turn."""
        mending = self._mending
        if mending is None or self._mastery.streaming or member.address not in mending:
            return
        if mending.has_nothing_to_mend(member.address):
            self._give_turn(member, now)

    def _give_turn(self, member: Member, now: float) -> None:
        if self._mending is not None:
            self._mending.drop(member.address)
        self._turns.add(member, now)

    def _end_for_boards(self, now: float) -> None:
        """The stream is over: mend on, or let them fetch their gaps."""
        if self._mending is not None:
            self._mending.stream_at(self._mastery.stream.top, True, now)
        for member in self._roster:
            if not (member.gap_aware and member.heard):
                continue
            if self._is_mended(member):
                self._give_up_mending(member, now)
            else:
                self._give_turn(member, now)

    def _wants_symbol(self) -> bool:
        return self._mending is not None and self._mending.wants_data()

    def _spreads_symbols(self) -> bool:
        """Whether the stream goes before the next symbol, if it has a block to send."""
        return self._mending is not None and self._mending.spreads

    def _next_symbol(self, now: float) -> Datagram:
        """The next repair symbol, when _wants_symbol(). Raises ContentChangedError."""
        assert self._mending is not None
        number, payload = self._mending.next_data(now)
        return Datagram(pack_data(number, payload), self._repair_group)

    def _note_stream(self, sent: Datagram | None, now: float) -> bool:
        """DATA of the stream was sent. True when that was its end: all whom it was for are mended on."""
        mending = self._mending
        if sent is None or mending is None or not self._mastery.streaming:
            return False
        top = self._mastery.stream.top
        mending.streamed(int.from_bytes(sent.data[2:4], "big"), top, now)
        if top < mending.plan.total_blocks or not (mending.is_worth_it and self._mastery.stream.lead):
            return False
        return not self._roster.any(lambda member: member.heard and not self._reports(member))

    def _mending_deadline(self) -> float | None:
        return self._mending.deadline() if self._mending is not None else None

    def _mend_on(self, now: float) -> None:
        """Time has passed."""
        if self._mending is None:
            return
        for address in self._mending.on_time(now):
            member = self._roster.get(address)
            assert member is not None
            self._give_turn(member, now)

    def _retire(self, member: Member, outcome: str, now: float, text: str = "") -> None:
        if self._mending is not None:
            self._mending.drop(member.address)
        super()._retire(member, outcome, now, text)

    def _close(self, reason: str, now: float) -> None:
        if self._mending is not None and self._mending.symbols:
            self._out.append(ev.Mended(*self.group, self._mending.symbols))
        super()._close(reason, now)

    def _lacks_answer(self) -> str | None:
        return self._lacks_offer if self._mending is not None else None


def _host(address: Address) -> str:
    """All of 127.0.0.0/8 is one host."""
    return "127" if address[0].startswith("127.") else address[0]
