"""One multicast session: RFC 2090 for stock clients, gaps and turns for ours (PROTOCOL.md section 7).

STREAM   a master clocks the file to the group; a dead one is replaced in order of arrival
TURNS    the stream is over: gap-aware clients repair, a few at once; stock ones become masters
"""

from __future__ import annotations

from gapcast.protocol import events as ev
from gapcast.protocol import turns as turn
from gapcast.protocol.blocks import blocks_with_bytes
from gapcast.protocol.credit import Credit
from gapcast.protocol.feed import Feed
from gapcast.protocol.foreign import Strangers
from gapcast.protocol.gathering import Gathering
from gapcast.protocol.mastery import END, LOST, SKIP
from gapcast.protocol.members import Member
from gapcast.protocol.negotiate import JoinPlan
from gapcast.protocol.paced import Paced
from gapcast.protocol.settings import Settings
from gapcast.protocol.types import Address, Content, ContentChangedError, Datagram, earliest
from gapcast_core.errors import PeerError
from gapcast_core.wire import ERR_ILLEGAL, ERR_UNDEFINED, pack_error, parse_ack, parse_error


class Session(Paced):
    """All that shares one TID and one group. See types.Machine for the methods that the shell calls."""

    def __init__(
        self, name: str, content: Content, blksize: int, group: Address, settings: Settings, now: float
    ) -> None:
        blocks = blocks_with_bytes(content.size, blksize)
        super().__init__(group, content, blksize, blocks, settings, now)
        self.gentle = False
        self.lock_step = True
        self.gathering = Gathering(settings, now)
        self._election = self._mastery.election
        self._stream = self._mastery.stream
        self._feed = Feed(content, blksize, group, self._stream, self.gathering)
        self._strangers = Strangers()
        self._out.append(ev.SessionOpen(group[0], group[1], name, blksize, self._feed.blocks))

    # ---- the shell's side ----

    @property
    def lone(self) -> bool:
        return self.lock_step and len(self._roster) == 1

    def join(self, address: Address, plan: JoinPlan, now: float) -> None:
        """An RRQ with `multicast` for this session; a repeated one gets the same answer again."""
        member = self._roster.get(address)
        if member is not None:
            self._join_again(member, plan, now)
            return
        member = Member(address, plan, self._feed.total(plan.gap_aware), now, Credit(plan.received_bytes))
        member.offer_bytes = len(plan.oack(self.group, True, f"1-{self._feed.blocks}"))
        first = len(self._roster) == 0
        if plan.gap_aware and not self._mastery.streaming and self._stream.top < self._feed.blocks:
            self._mastery.resume()  # those before wanted only some blocks, or said so
        is_master = self._mastery.idle and self._mastery.eligible(member)
        displaced = self._roster.add(member)
        if displaced is not None:
            self._retire(displaced, "evicted", now)
        if plan.gap_aware:
            self.gentle = True
            self.lock_step = False
            self._start_slowly()
        role = "master" if is_master else "listener"
        self._out.append(ev.MemberJoined(self.group[0], address[0], address[1], role, plan.gap_aware))
        if first and plan.gap_aware:
            self.gathering.begin()
        self.gathering.joined(self._roster, now)
        if is_master:
            self._election.open(member, now)
        self._answer_join(member, is_master)
        if not plan.gap_aware:
            self._keep_apart(now)

    def wants_data(self, now: float) -> bool:
        return not self.closed and self._next_kind(self._feed.wants_data(now), now) != ""

    def next_data(self, now: float) -> Datagram | None:
        if self.closed or not (kind := self._next_kind(self._feed.wants_data(now), now)):
            return None
        try:
            if kind == "symbol":
                self._note_symbol(now)
                return self._next_symbol(now)
            self._note_block(now)
            if self._note_stream(datagram := self._feed.next_data(now), now):
                self._end_stream(now)
            return datagram
        except ContentChangedError:
            told = pack_error(ERR_UNDEFINED, "file changed")
            self._out += [Datagram(told, member.address) for member in self._roster if member.heard]
            self._close("changed", now)
            return None

    # ---- what arrives ----

    def receive(self, data: bytes, source: Address, now: float) -> None:
        if self.closed:
            return
        member = self._roster.get(source) or self._roster.readmit(source)
        try:
            if member is None:
                self._out += self._strangers.answer(data, source, now, self._roster.was_here(source))
            elif data[:2] == b"\x00\x05":
                self._retire(member, "error", now, "{} {}".format(*parse_error(data)))
            elif data[:2] == b"\x00\x01":
                self._on_request(member, data, now)
                self._note_heard(member, now)
            else:
                number = parse_ack(data)
                self._note_heard(member, now)
                self.gathering.heard(source[0], self._roster, now)
                self._on_ack(member, number, now)
        except PeerError as error:
            self._out.append(ev.Dropped(error.reason))

    def _on_ack(self, member: Member, number: int, now: float) -> None:
        if number > member.total:
            self._out.append(ev.Dropped("ack_beyond_end"))
        elif member is self._election.candidate:
            self._on_first_request(member, number, now)
        elif member is self._election.master:
            if self._stream.request(number, now):
                member.skips = 0
            else:
                self._out.append(ev.Dropped("repeated_ack"))
            if number == member.total:
                self._on_master_at_end(member, now)
        elif self._relieves(member, number):
            self._take_over(member, number, now)
        elif self._turns.is_active(member):
            self._turns.heard(member, now)
            if number == member.total:
                self._retire(member, "complete", now)
        else:
            self._on_listener_ack(member, number, now)

    def _on_first_request(self, member: Member, number: int, now: float) -> None:
        """The candidate's ACK: it is the master, and asks for the block after `number`."""
        self._election.accept(now)
        if self._stream.datagrams or member.was_master:
            self._out.append(ev.Handover(self.group[0], *member.address, number))
        member.was_master = True
        self._stream.seat(number, member.plan.windowsize, member.total, now)
        self._follow_master()
        if number == member.total:
            self._on_master_at_end(member, now)

    def _on_master_at_end(self, member: Member, now: float) -> None:
        """ACK `total`. A stock client is done; a gap-aware one is at the end, maybe with holes behind it."""
        if not member.gap_aware:
            if self._mastery.streaming:
                self._end_stream(now)
            self._retire(member, "complete", now)
        elif self._reports(member):
            self._on_member_at_end(member, now)
            self._retire(member, "complete", now)
        else:
            self._leave_chair(member, now)

    def _leave_chair(self, member: Member, now: float) -> None:
        """A gap-aware master wants nothing more of the stream."""
        if self._mastery.streaming and self._stream.top < self._feed.blocks and self._mastery.others(member):
            member.at_end = True
            self._mastery.vacate(member)
            self._next_master(now)
        elif self._mastery.streaming:
            self._end_stream(now)

    def _on_member_at_end(self, member: Member, now: float) -> None:
        if member is self._election.candidate:
            self._on_first_request(member, member.total - 1, now)
        if member is self._election.master:
            self._leave_chair(member, now)

    def _on_listener_ack(self, member: Member, number: int, now: float) -> None:
        if number == member.total and (self._reports(member) or not (member.gap_aware and member.was_master)):
            self._retire(member, "complete", now)
        elif member.told_master and number == 0:
            self._on_tentative(member, now)
        elif number == 0 or member in self._turns:
            # ACK 0 acknowledges an OACK (RFC 2090, edk2 does it). Answering would go round in circles.
            self._out.append(ev.Dropped("listener_ack"))
        else:
            self._shush(member, now)

    def _on_tentative(self, member: Member, now: float) -> None:
        """A stock listener that was told to be master: it is, unless a real client is or is being asked."""
        waiting = self._election.candidate
        if waiting is not None and not waiting.heard and not waiting.gap_aware:
            waiting.told_master = True
            member.told_master = False
            self._election.open(member, now)
            self._on_first_request(member, 0, now)
        elif member.shush(now) == "tell":
            self._send_oack(member, False, None)

    def _shush(self, member: Member, now: float) -> None:
        """It takes itself for the master: OACK mc=0, a few times, then ERROR."""
        self._out.append(ev.Dropped("not_master"))
        answer = member.shush(now)
        if answer == "tell":
            self._send_oack(member, False, None)
        elif answer == "expel":
            self._out.append(Datagram(pack_error(ERR_ILLEGAL, "not the master client"), member.address))
            self._retire(member, "expelled", now)

    def _join_again(self, member: Member, plan: JoinPlan, now: float) -> None:
        """The same RRQ again: lost OACK, duplicate, or a restart with the same port."""
        if member.gap_aware == plan.gap_aware:
            member.plan = plan
        member.at_end = False
        self._roster.asked_again(member, plan.received_bytes, now)
        is_master = member in (self._election.master, self._election.candidate)
        if member is self._election.master:
            self._stream.unseat()
            self._election.reopen(member, now)
        self._turns.renew(member, now)
        self._answer_join(member, is_master)

    # ---- time ----

    def deadline(self) -> float | None:
        if self.closed:
            return None
        return earliest(
            self.gathering.until,
            self._mastery.deadline(),
            self._turns.deadline(),
            self._pacing_deadline(),
            self._membership_deadline(),
        )

    def on_time(self, now: float) -> None:
        if self.closed:
            return
        self.gathering.on_time(self._roster, now)
        self._stream.on_time(now)
        self._check_master(now)
        offer = self._election.on_time(now)
        if offer is not None:
            member, again = offer
            if again:
                self._send_oack(member, True, None if self._stream.datagrams else "")
            else:
                self._next_master(now)
        for action, member in self._turns.on_time(now):
            self._take_turn(action, member, now)
        self._pace_on(now)
        self._expire(now)

    def _take_turn(self, action: str, member: Member, now: float) -> None:
        if action == turn.LOST:
            self._retire(member, "silent", now)
        elif action in (turn.INVITE, turn.REMIND):
            if action == turn.INVITE:
                self._out.append(ev.TurnGiven(self.group[0], *member.address))
            self._send_oack(member, True, f"1-{self._feed.blocks}")
        else:
            self._send_oack(member, False, None)

    def _check_master(self, now: float) -> None:
        verdict = self._mastery.check(now)
        master = self._election.master
        if master is None:
            return
        if verdict == END:
            self._end_stream(now)
        elif verdict == SKIP:
            master.skips += 1
            self._mastery.vacate(master)
            self._next_master(now)
        elif verdict == LOST:
            self._retire(master, "silent", now)

    # ---- changes of state ----

    def _next_master(self, now: float) -> None:
        """Offer mastership to the next client in order; without one, the silent ones are given up."""
        if self.closed or self._mastery.nominate_next(now):
            return
        for silent in self._roster:
            if self._mastery.given_up(silent):
                self._retire(silent, "silent", now)
        if self._mastery.streaming and len(self._roster):
            self._end_stream(now)

    def _end_stream(self, now: float) -> None:
        self._mastery.end_stream()
        seconds = round(now - self._opened_at, 6)
        self._out.append(ev.StreamEnd(self.group[0], self._stream.top, self._stream.datagrams, seconds))
        if self._roster.any(lambda member: not member.gap_aware):
            self._feed.add_end_block()
        self._end_for_boards(now)
        self._next_master(now)
        self._close_if_over(now)
