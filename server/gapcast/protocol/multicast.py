"""One multicast session: RFC 2090 for stock clients, gaps and turns for ours (PROTOCOL.md section 7).

    STREAM   a master clocks the file to the group; a dead one is replaced in order of arrival
    TURNS    the stream is over: gap-aware clients repair, a few at once; stock ones become masters

See types.Machine for the methods that the shell calls.
"""

from __future__ import annotations

from dataclasses import dataclass

from gapcast.protocol import turns as turn
from gapcast.protocol.blocks import WholeFile, blocks_to_end, blocks_with_bytes
from gapcast.protocol.election import MAX_SKIPS, Election
from gapcast.protocol.events import (
    Dropped,
    Handover,
    MemberDone,
    MemberJoined,
    SessionClosed,
    SessionOpen,
    StreamEnd,
    TurnGiven,
)
from gapcast.protocol.members import (
    SHUSH_EVERY_S,
    SHUSHES,
    WAITS_UNVERIFIED,
    Member,
    Roster,
)
from gapcast.protocol.negotiate import JoinPlan
from gapcast.protocol.stream import DEAD_S, Stream
from gapcast.protocol.types import Address, Content, ContentChangedError, Datagram
from gapcast_core.errors import PeerError
from gapcast_core.wire import (
    ERR_ILLEGAL,
    ERR_UNDEFINED,
    ERR_UNKNOWN_TID,
    OP_ERROR,
    pack_data,
    pack_error,
    parse_ack,
    parse_error,
)

LONE_S = 10.0  # a silent master is waited for so long when nobody else is there
LONE_END_S = 2.0  # the same when only its last ACK may be missing
STUCK_S = 5.0  # a master that ACKs but never moves holds the others up no longer
LAST_PROBES = 3  # unanswered ones after the last block end the stream


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator can choose. gather_s: age in seconds at which a gap-aware stream starts."""

    gather_s: float = 0.15
    turns: int = 8


class Session:
    """All that shares one TID and one group."""

    def __init__(
        self, name: str, content: Content, blksize: int, group: Address, settings: Settings, now: float
    ) -> None:
        self.group = group
        self.gentle = False
        self.lock_step = False
        self.closed = False
        self._file = WholeFile(content, blksize)
        self._blocks = blocks_with_bytes(content.size, blksize)
        self._blocks_stock = blocks_to_end(content.size, blksize)
        self._gather_s = settings.gather_s
        self._gather_until: float | None = None
        self._opened_at = now
        self._streaming = True
        self._end_block_due = False  # the empty last DATA that only stock clients need
        self._roster = Roster()
        self._election = Election(self._roster)
        self._stream = Stream()
        self._turns = turn.Turns(settings.turns)
        self._out: list[object] = [SessionOpen(group[0], group[1], name, blksize, self._blocks)]

    # ---- the shell's side ----

    def take(self) -> list[object]:
        out = self._out
        self._out = []
        return out

    def has_room(self) -> bool:
        """Whether one more client may join."""
        return not self._roster.full

    def join(self, address: Address, plan: JoinPlan, now: float) -> None:
        """An RRQ with `multicast` for this session; a repeated one gets the same answer again."""
        member = self._roster.get(address)
        if member is not None:
            self._join_again(member, plan, now)
            return
        total = self._blocks if plan.gap_aware else self._blocks_stock
        member = Member(address, plan, total, now)
        first = len(self._roster) == 0 and self._streaming
        idle = self._election.master is None and self._election.candidate is None
        is_master = idle and (self._streaming or not plan.gap_aware)
        self._roster.add(member)
        if plan.gap_aware:
            self.gentle = True
            self.lock_step = False
        role = "master" if is_master else "listener"
        self._out.append(MemberJoined(self.group[0], address[0], address[1], role, plan.gap_aware))
        if first and plan.gap_aware:
            self._gather_until = self._opened_at + self._gather_s
        if is_master:
            self._election.open(member, now)
        self._send_oack(member, is_master, "")
        if not self._streaming and plan.gap_aware:
            self._turns.add(member, now)

    def leave(self, address: Address, now: float) -> None:
        """The client at `address` asked for something else from the same port."""
        member = self._roster.get(address)
        if member is not None:
            self._retire(member, "replaced", now)

    def has_member(self, address: Address) -> bool:
        """Whether an active member has that address."""
        return self._roster.get(address) is not None

    def touch(self, host: str, now: float) -> None:
        """Repair traffic with `host`: its members are alive and use their turns."""
        for member in self._roster.at_host(host):
            self._turns.progress(member, now)

    def refused(self, peer: Address, now: float) -> None:
        member = self._roster.get(peer)
        if member is not None:
            self._retire(member, "gone", now)

    def wants_data(self, now: float) -> bool:
        if self.closed or (self._gather_until is not None and now < self._gather_until):
            return False
        return self._end_block_due or self._stream.wants_data()

    def next_data(self, now: float) -> Datagram | None:
        if not self.wants_data(now):
            return None
        if self._end_block_due:
            self._end_block_due = False
            return Datagram(pack_data(self._blocks_stock, b""), self.group)
        number = self._stream.next_block(now)
        try:
            payload = self._file.payload(number)
        except ContentChangedError:
            for member in self._roster:
                self._out.append(Datagram(pack_error(ERR_UNDEFINED, "file changed"), member.address))
            self._close("changed", now)
            return None
        return Datagram(pack_data(number, payload), self.group)

    # ---- what arrives ----

    def receive(self, data: bytes, source: Address, now: float) -> None:
        if self.closed:
            return
        member = self._roster.get(source)
        try:
            if member is None:
                self._reject(data, source)
            elif data[:2] == b"\x00\x05":
                code, text = parse_error(data)
                self._retire(member, "error", now, f"{code} {text}")
            else:
                number = parse_ack(data)
                member.note_heard()
                self._on_ack(member, number, now)
        except PeerError as error:
            self._out.append(Dropped(error.reason))

    def _reject(self, data: bytes, source: Address) -> None:
        """A stranger gets ERROR 5 (RFC 1350 section 4); the last words of one who left get nothing."""
        if self._roster.was_here(source):
            self._out.append(Dropped("late"))
            return
        self._out.append(Dropped("foreign_tid"))
        if len(data) >= 2 and data[1] != OP_ERROR:
            self._out.append(Datagram(pack_error(ERR_UNKNOWN_TID, "unknown transfer"), source))

    def _on_ack(self, member: Member, number: int, now: float) -> None:
        if number > member.total:
            self._out.append(Dropped("ack_beyond_end"))
        elif member is self._election.candidate:
            self._on_first_request(member, number, now)
        elif member is self._election.master:
            if self._stream.request(number, now):
                member.skips = 0
            else:
                self._out.append(Dropped("repeated_ack"))
            if number == member.total:
                self._on_master_at_end(member, now)
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
            self._out.append(Handover(self.group[0], *member.address, number))
        member.was_master = True
        self.lock_step = not self.gentle
        self._stream.seat(number, member.plan.windowsize, member.total, now)
        if number == member.total:
            self._on_master_at_end(member, now)

    def _on_master_at_end(self, member: Member, now: float) -> None:
        """ACK `total`. A stock client is done; a gap-aware one is at the end, maybe with holes behind it."""
        if not member.gap_aware:
            if self._streaming:
                self._end_stream(now)
            self._retire(member, "complete", now)
        elif self._streaming and self._stream.top < self._blocks and self._others(member):
            self._skip_master(member, now)  # it had the rest already, and cannot clock it for the others
        elif self._streaming:
            self._end_stream(now)

    def _on_listener_ack(self, member: Member, number: int, now: float) -> None:
        if number == member.total and not (member.gap_aware and member.was_master):
            self._retire(member, "complete", now)
        elif number == 0 or member in self._turns:
            # ACK 0 acknowledges an OACK (RFC 2090, edk2 does it). Answering would go round in circles.
            self._out.append(Dropped("listener_ack"))
        else:
            self._shush(member, now)

    def _shush(self, member: Member, now: float) -> None:
        """It takes itself for the master: OACK mc=0, a few times, then ERROR."""
        self._out.append(Dropped("not_master"))
        if now - member.shushed_at < SHUSH_EVERY_S:
            return
        member.shushed_at = now
        member.shushes += 1
        if member.shushes <= SHUSHES:
            self._send_oack(member, False, None)
        else:
            self._out.append(Datagram(pack_error(ERR_ILLEGAL, "not the master client"), member.address))
            self._retire(member, "expelled", now)

    def _join_again(self, member: Member, plan: JoinPlan, now: float) -> None:
        """The same RRQ again: lost OACK, duplicate, or a restart with the same port."""
        member.plan = plan
        member.total = self._blocks if plan.gap_aware else self._blocks_stock
        is_master = member in (self._election.master, self._election.candidate)
        if member is self._election.master:
            self._stream.unseat()
            self._election.reopen(member, now)
        self._turns.renew(member, now)
        self._send_oack(member, is_master, "")

    # ---- time ----

    def deadline(self) -> float | None:
        if self.closed:
            return None
        earliest = self._stream.deadline()
        for time in (self._gather_until, self._election.deadline(), self._turns.deadline()):
            if time is not None and (earliest is None or time < earliest):
                earliest = time
        master = self._election.master
        since = self._stream.waiting_since
        # The shortest patience first: who is patient with whom is looked at only in a silence (on_time).
        if master is not None and since is not None and (earliest is None or since + DEAD_S < earliest):
            limit = since + self._patience(master)
            return limit if earliest is None else min(limit, earliest)
        return earliest

    def on_time(self, now: float) -> None:
        if self.closed:
            return
        if self._gather_until is not None and now >= self._gather_until:
            self._gather_until = None
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

    def _take_turn(self, action: str, member: Member, now: float) -> None:
        if action == turn.LOST or (action == turn.INVITE and member.exhausted):
            self._retire(member, "silent", now)
        elif action == turn.INVITE:
            if member.repeats == 0 or not member.heard:
                self._out.append(TurnGiven(self.group[0], *member.address))
            self._send_oack(member, True, f"1-{self._blocks}")
        elif member.heard or member.repeats < WAITS_UNVERIFIED:
            self._send_oack(member, False, None)

    def _check_master(self, now: float) -> None:
        master = self._election.master
        if master is None or self._stream.waiting_since is None:
            return
        silent = now >= self._stream.waiting_since + self._patience(master)
        if not silent and self._stream.stuck(now) < (STUCK_S if self._others(master) else LONE_S):
            return
        if self._streaming and self._at_last_block(master):
            self._end_stream(now)
        elif self._others(master):
            self._skip_master(master, now)
        else:
            self._retire(master, "silent", now)

    def _at_last_block(self, master: Member) -> bool:
        return master.gap_aware and self._stream.top >= self._blocks and self._stream.probes >= LAST_PROBES

    def _patience(self, master: Member) -> float:
        """Seconds of silence after which something must happen."""
        if (self._streaming and self._at_last_block(master)) or self._others(master):
            return self._stream.patience()
        return LONE_END_S if self._stream.top >= self._blocks else LONE_S

    def _others(self, master: Member) -> bool:
        """Whether somebody else could be master."""
        return self._roster.any(
            lambda member: member is not master and self._eligible(member) and member.skips < MAX_SKIPS
        )

    def _eligible(self, member: Member) -> bool:
        return self._streaming or not member.gap_aware

    # ---- changes of state ----

    def _skip_master(self, master: Member, now: float) -> None:
        master.skips += 1
        self._election.vacate(master)
        self._stream.unseat()
        self._next_master(now)

    def _next_master(self, now: float) -> None:
        """Offer mastership to the next client in order; without one, the silent ones are given up."""
        if self.closed:
            return
        member = self._election.next_candidate(self._eligible)
        if member is not None:
            self._election.nominate(member, now)
            return
        for silent in self._roster:
            if self._eligible(silent) and (silent.skips >= MAX_SKIPS or silent.exhausted):
                self._retire(silent, "silent", now)
        self._close_when_empty(now)

    def _end_stream(self, now: float) -> None:
        self._streaming = False
        self._stream.unseat()
        self._election.master = self._election.candidate = None
        seconds = round(now - self._opened_at, 6)
        self._out.append(StreamEnd(self.group[0], self._stream.top, self._stream.datagrams, seconds))
        stock = self._roster.any(lambda member: not member.gap_aware)
        if stock and self._stream.top < self._blocks_stock != self._blocks:
            self._end_block_due = True
        for member in self._roster:
            if member.gap_aware:
                self._turns.add(member, now)
        self._next_master(now)

    def _retire(self, member: Member, outcome: str, now: float, text: str = "") -> None:
        self._roster.retire(member)
        self._turns.remove(member)
        self._out.append(MemberDone(self.group[0], *member.address, outcome, text))
        if self._election.vacate(member):
            self._stream.unseat()
            self._next_master(now)
        self._close_when_empty(now)

    def _close_when_empty(self, now: float) -> None:
        if len(self._roster) == 0 and not self.closed:
            self._close("finished", now)

    def _close(self, reason: str, now: float) -> None:
        self.closed = True
        seconds = round(now - self._opened_at, 6)
        self._out.append(SessionClosed(*self.group, reason, self._stream.datagrams, seconds))

    def _send_oack(self, member: Member, is_master: bool, ranges: str | None) -> None:
        if member.exhausted:
            return
        member.repeats += 1
        self._out.append(Datagram(member.plan.oack(self.group, is_master, ranges), member.address))
