"""One small file for many boards at once: an OACK each, its DATA once to a group (PROTOCOL.md section 12).

There is no master, and no turn is given. DATA goes out in rounds; who has it all sends ACK `total`, and a
round is repeated while somebody has not. Who misses all of them asks again without `multicast`.
"""

from __future__ import annotations

from gapcast.protocol import events as ev
from gapcast.protocol.blocks import WholeFile, blocks_with_bytes
from gapcast.protocol.credit import Credit
from gapcast.protocol.foreign import Strangers
from gapcast.protocol.members import Member, Roster
from gapcast.protocol.negotiate import JoinPlan
from gapcast.protocol.types import Address, Content, ContentChangedError, Datagram
from gapcast_core.errors import PeerError
from gapcast_core.wire import pack_data, parse_ack, parse_error

GATHER_S = 0.03  # from a round's first request to its DATA, and between two rounds: 40 kB/s at most
QUIET_S = 0.005  # less when all have answered, and nobody came for so long
REPEAT_S = 0.05  # for an ACK: a fleet answers all at once, and each of its ACKs takes its time on the air
DONE_S = 0.01  # less when some have answered, and none for so long
FEW = 8  # less, too, when no more boards than these are left
ROUNDS = 5  # for one board: with 20 % loss one in 3000 misses all; a board waits 300 ms for them
IDLE_S = 1.0  # a fleet's stragglers find the group again; then it is free for others


class Handout:
    """All that shares one TID and one group. See types.Machine for the methods that the shell calls."""

    gentle = True
    lock_step = False
    lone = False
    ending = False  # new clients may always join

    def __init__(self, name: str, content: Content, blksize: int, group: Address, now: float) -> None:
        self.group = group
        self.closed = False
        self._name = name
        self._file = WholeFile(content, blksize)
        self._total = blocks_with_bytes(content.size, blksize)
        self._roster = Roster()
        self._rounds: dict[Member, int] = {}  # proven, and not complete: how many rounds each still gets
        self._next = 0  # the block to send now; 0 between two rounds
        self._gather_from: float | None = None  # the first request since the last round
        self._joined_at = now
        self._round_at = float("-inf")
        self._complete_at = float("-inf")
        self._heard_at = now
        self._total_joined = self._total_complete = self._total_rounds = 0
        self._strangers = Strangers()
        self._out: list[object] = []

    # ---- requests ----

    def has_member(self, address: Address) -> bool:
        """Whether that client waits for DATA."""
        return self._roster.get(address) is not None

    def may_join(self, address: Address) -> bool:
        """Whether there is room for one more, or it is here already."""
        return self.has_member(address) or self._roster.has_room(address[0])

    @property
    def has_proven(self) -> bool:
        """Whether any client here has proven its address."""
        return self._roster.proven > 0

    def join(self, address: Address, plan: JoinPlan, now: float) -> None:
        """A request; a repeated one gets the same answer again."""
        self._heard_at = now
        member = self._roster.get(address)
        if member is None:
            member = Member(address, plan, self._total, now, Credit(plan.received_bytes))
            displaced = self._roster.add(member)
            if displaced is not None:
                self._retire(displaced)
            self._total_joined += 1
            self._joined_at = now
            if self._gather_from is None:
                self._gather_from = now
        else:
            self._roster.asked_again(member, plan.received_bytes, now)
        oack = member.plan.oack(self.group, False, "")
        if member.heard or member.credit.spend(len(oack)):
            self._out.append(Datagram(oack, address))
        else:
            self._out.append(ev.Dropped("no_credit"))

    def leave(self, address: Address, now: float) -> None:
        """The client at `address` asked for something else from the same port."""
        self.refused(address, now)

    def refused(self, peer: Address, now: float) -> None:
        member = self._roster.get(peer)
        if member is not None:
            member.left = True
            self._retire(member)

    def touch(self, host: str, now: float) -> None:
        """Repair traffic with `host` says nothing here."""

    def evict(self, now: float) -> None:
        """Another session needs the group of this one, where nobody has proven his address."""
        self._close()

    def _retire(self, member: Member) -> None:
        self._roster.retire(member)
        self._rounds.pop(member, None)

    # ---- what arrives ----

    def receive(self, data: bytes, source: Address, now: float) -> None:
        if self.closed:
            return
        member = self._roster.get(source) or self._roster.readmit(source)
        try:
            if member is None:
                self._out += self._strangers.answer(data, source, now, self._roster.was_here(source))
            elif data[:2] == b"\x00\x05":
                parse_error(data)
                self._retire(member)
            else:
                self._on_ack(member, parse_ack(data), now)
        except PeerError as error:
            self._out.append(ev.Dropped(error.reason))

    def _on_ack(self, member: Member, number: int, now: float) -> None:
        if number > self._total:
            self._out.append(ev.Dropped("ack_beyond_end"))
            return
        self._heard_at = now
        if self._roster.prove(member):
            self._rounds[member] = ROUNDS
        if number == self._total:
            self._total_complete += 1
            self._complete_at = now
            self._retire(member)

    # ---- rounds ----

    def wants_data(self, now: float) -> bool:
        return not self.closed and self._next > 0

    def next_data(self, now: float) -> Datagram | None:
        if not self.wants_data(now):
            return None
        number = self._next
        try:
            data = pack_data(number, self._file.payload(number))
        except ContentChangedError:  # who waits asks again soon, and gets the new file
            self._close()
            return None
        self._next = number + 1
        if number == self._total:
            self._end_round(now)
        return Datagram(data, self.group)

    def _end_round(self, now: float) -> None:
        self._next = 0
        self._round_at = now
        self._total_rounds += 1
        for member in self._rounds:
            self._rounds[member] -= 1

    def deadline(self) -> float | None:
        if self.closed or self._next:
            return None
        return self._due() if self._rounds else self._heard_at + IDLE_S

    def _due(self) -> float:
        """When the next round begins. Only those that were heard count: nobody is sent DATA unproven."""
        if self._gather_from is None:
            due = self._round_at + (REPEAT_S if len(self._rounds) > FEW else GATHER_S)
            if self._complete_at > self._round_at:  # there are answers: who has none by then has lost it
                due = min(due, max(self._round_at + GATHER_S, self._complete_at + DONE_S))
            return due
        due = self._gather_from + GATHER_S
        if self._roster.proven == len(self._roster):
            due = min(due, self._joined_at + QUIET_S)
        return max(due, self._round_at + GATHER_S)

    def on_time(self, now: float) -> None:
        due = self.deadline()
        if due is None or now < due:
            return
        if not self._rounds:
            self._close()
            return
        for member in [member for member, rounds in self._rounds.items() if not rounds]:
            self._retire(member)
        if self._rounds:
            self._gather_from = None
            self._next = 1

    def take(self) -> list[object]:
        out = self._out
        self._out = []
        return out

    def _close(self) -> None:
        self.closed = True
        self._next = 0
        counts = self._total_joined, self._total_complete, self._total_rounds
        self._out.append(ev.HandedOut(*self.group, self._name, *counts))
