"""Who is in a multicast session, what may be said to whom, and when it is over."""

from __future__ import annotations

from abc import ABC, abstractmethod

from gapcast.protocol import events as ev
from gapcast.protocol.credit import UNPROVEN_S
from gapcast.protocol.mastery import Mastery
from gapcast.protocol.members import Member, Roster
from gapcast.protocol.turns import Turns
from gapcast.protocol.types import Address, Datagram

LATE_PROOF_S = 1.0  # several round trips, and one repeat of a board


class Membership(ABC):
    """The part of a session that knows its members.

    Args:
        blocks: the gap-aware total.
    """

    def __init__(self, group: Address, blocks: int, turns: int, now: float) -> None:
        self.group = group
        self.closed = False
        self._opened_at = now
        self._roster = Roster()
        self._mastery = Mastery(self._roster, blocks)
        self._turns = Turns(turns)
        self._out: list[object] = []

    @abstractmethod
    def _next_master(self, now: float) -> None:
        """The master, or the candidate, is gone."""

    @abstractmethod
    def _lacks_answer(self) -> str | None:
        """What an OACK says about repair symbols to those that asked; None: there are none."""

    def take(self) -> list[object]:
        out = self._out
        self._out = []
        return out

    def has_member(self, address: Address) -> bool:
        """Whether an active member has that address."""
        return self._roster.get(address) is not None

    def may_join(self, address: Address) -> bool:
        """Whether there is room for one more, or it is here already."""
        return self.has_member(address) or self._roster.has_room(address[0])

    @property
    def has_proven(self) -> bool:
        """Whether any client here has proven its address."""
        return self._roster.proven > 0

    def evict(self, now: float) -> None:
        """Another session needs the place of this one, where nobody has proven his address."""
        self._close("evicted", now)

    def leave(self, address: Address, now: float) -> None:
        """The client at `address` asked for something else from the same port."""
        self._drop_out(address, "replaced", now)

    def refused(self, peer: Address, now: float) -> None:
        self._drop_out(peer, "gone", now)

    def _drop_out(self, address: Address, outcome: str, now: float) -> None:
        member = self._roster.get(address)
        if member is not None:
            member.left = True
            self._retire(member, outcome, now)

    def touch(self, host: str, now: float) -> None:
        """Repair traffic with `host`, proven there: its members are alive and use their turns."""
        for member in self._roster.at_host(host):
            self._note_heard(member, now)
            self._turns.progress(member, now)

    def _note_heard(self, member: Member, now: float) -> None:
        """Only now may it get its turn, or the chair of a master that nobody else can take."""
        if not self._roster.prove(member):
            return
        if member.gap_aware and not self._mastery.streaming:
            self._turns.add(member, now)
        if self._mastery.idle and self._mastery.eligible(member):
            self._mastery.election.nominate(member, now)

    def _answer_join(self, member: Member, is_master: bool) -> None:
        """OACK. A stock listener is first told that it is master: only then all of them answer with an ACK.

        RFC 2090 wants an ACK of every OACK, but atftp and iPXE send one only as masters. It proves the
        address; the listener is told better at once.
        """
        member.told_master = not (is_master or member.gap_aware or member.heard)
        self._send_oack(member, is_master or member.told_master, "")

    def _retire(self, member: Member, outcome: str, now: float, text: str = "") -> None:
        self._roster.retire(member)
        self._turns.remove(member, now)
        self._out.append(ev.MemberDone(self.group[0], *member.address, outcome, text))
        if self._mastery.vacate(member):
            self._next_master(now)
        self._close_if_over(now)

    @property
    def ending(self) -> bool:
        """After the stream, with none but addresses that may be forged: new clients get a new session."""
        return not self._mastery.streaming and self._mastery.idle and self._roster.proven == 0

    def _close_if_over(self, now: float) -> None:
        """Nobody is left, or none that could still prove itself: the ACK of a late one is on its way."""
        newest = self._roster.newest_unproven
        over = newest is None or now >= newest.asked_at + LATE_PROOF_S
        if not self.closed and (len(self._roster) == 0 or (self.ending and over)):
            self._close("finished", now)

    def _membership_deadline(self) -> float | None:
        if self.ending:
            newest = self._roster.newest_unproven
            return newest.asked_at + LATE_PROOF_S if newest is not None else None
        oldest = self._roster.oldest_unproven
        return oldest.asked_at + UNPROVEN_S if oldest is not None else None

    def _expire(self, now: float) -> None:
        """Give up those that had time enough to prove themselves."""
        while (oldest := self._roster.oldest_unproven) is not None and oldest.given_up(now):
            self._retire(oldest, "silent", now)
        self._close_if_over(now)

    def _close(self, reason: str, now: float) -> None:
        self.closed = True
        outcome = "silent" if reason == "finished" else reason
        for member in self._roster:
            self._out.append(ev.MemberDone(self.group[0], *member.address, outcome, ""))
        seconds = round(now - self._opened_at, 6)
        self._out.append(ev.SessionClosed(*self.group, reason, self._mastery.stream.datagrams, seconds))

    def _send_oack(self, member: Member, is_master: bool, ranges: str | None) -> None:
        lacks = self._lacks_answer() if ranges == "" else None
        oack = member.plan.oack(self.group, is_master, ranges, lacks)
        if not member.heard and not member.credit.covers(len(oack)):
            oack = member.plan.oack(self.group, is_master, ranges)  # a short request: no mending for it
        if member.heard or member.credit.spend(len(oack)):
            self._out.append(Datagram(oack, member.address))
        else:
            self._out.append(ev.Dropped("no_credit"))
