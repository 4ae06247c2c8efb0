"""The clients of a multicast session, in order of arrival (RFC 2090: the oldest is the master)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gapcast.protocol.negotiate import JoinPlan
from gapcast.protocol.types import Address

MAX_MEMBERS = 1024  # forged RRQs from many addresses: about 1 KiB each, a megabyte a session
MAX_RETIRED = 1024  # remembered, so that their last words are not answered with ERROR 5

REPEATS_UNVERIFIED = 16  # OACKs that an address which never answered can cause, all reasons together
WAITS_UNVERIFIED = 8  # the same for "wait, your turn comes"
SHUSH_EVERY_S = 0.2  # an old master sends several ACKs before an OACK mc=0 can reach it
SHUSHES = 5


@dataclass(slots=True, eq=False)
class Member:
    """One client. repeats: OACKs sent to it since it was last heard."""

    address: Address
    plan: JoinPlan
    total: int  # its ACK of this number says "I have everything" or "I am at the end"
    joined_at: float
    heard: bool = False  # ever, apart from its RRQ: the address is not forged
    was_master: bool = False
    at_end: bool = False  # as a master it had all the rest already: it cannot clock it for the others
    skips: int = 0  # how often it did not answer as a master
    repeats: int = 0
    shushes: int = 0
    shushed_at: float = field(default=float("-inf"))

    @property
    def gap_aware(self) -> bool:
        """It knows `ranges`."""
        return self.plan.gap_aware

    @property
    def exhausted(self) -> bool:
        """It never answered, and has had as many OACKs as a forged address may cause."""
        return not self.heard and self.repeats >= REPEATS_UNVERIFIED

    def shush(self, now: float) -> str:
        """It takes itself for the master: "tell" it (OACK mc=0) or nothing, and at last "expel" it."""
        if now - self.shushed_at < SHUSH_EVERY_S:
            return ""
        self.shushed_at = now
        self.shushes += 1
        return "tell" if self.shushes <= SHUSHES else "expel"

    def note_heard(self) -> None:
        """A datagram came from it."""
        self.heard = True
        self.repeats = 0


class Roster:
    """Members by address, in order of arrival."""

    def __init__(self) -> None:
        self._members: dict[Address, Member] = {}
        self._retired: dict[Address, Member] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._members.values()))

    @property
    def full(self) -> bool:
        """No room for another one."""
        return len(self._members) >= MAX_MEMBERS

    def add(self, member: Member) -> None:
        """A client joined; it may be one that was retired before."""
        self._retired.pop(member.address, None)
        self._members[member.address] = member

    def get(self, address: Address) -> Member | None:
        """The active member at `address`."""
        return self._members.get(address)

    def was_here(self, address: Address) -> bool:
        """Whether a retired member had that address."""
        return address in self._retired

    def retire(self, member: Member) -> None:
        """It is done, or gone."""
        self._members.pop(member.address, None)
        self._retired[member.address] = member
        if len(self._retired) > MAX_RETIRED:
            del self._retired[next(iter(self._retired))]

    def at_host(self, host: str) -> Iterator[Member]:
        """The active members at one IP address."""
        return (member for member in list(self._members.values()) if member.address[0] == host)

    def any(self, test: Callable[[Member], bool]) -> bool:
        """Whether the test holds for some active member."""
        return any(map(test, self._members.values()))
