"""The clients of a multicast session, in order of arrival (RFC 2090: the oldest is the master)."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gapcast.protocol.credit import UNPROVEN_S, Credit
from gapcast.protocol.negotiate import JoinPlan
from gapcast.protocol.types import Address

MAX_MEMBERS = 1024  # that have proven their address: about 1 KiB each, a megabyte a session
MAX_UNPROVEN = (
    256  # forged RRQs from many addresses: the oldest goes, a real one proves itself in milliseconds
)
MAX_PER_HOST = 64  # one host that opens ports without end
MAX_RETIRED = 1024  # remembered, so that their last words are not answered with ERROR 5

SHUSH_EVERY_S = 0.2  # an old master sends several ACKs before an OACK mc=0 can reach it
SHUSHES = 5


@dataclass(slots=True, eq=False)
class Member:
    """One client. asked_at: its latest RRQ. offer_bytes: of the OACK that offers mastership or a turn."""

    address: Address
    plan: JoinPlan
    total: int  # its ACK of this number says "I have everything" or "I am at the end"
    asked_at: float
    credit: Credit
    offer_bytes: int = 0
    heard: bool = False  # ever, apart from its RRQ: the address is not forged
    left: bool = False  # by itself
    told_master: bool = False  # its first OACK said so, only to make it answer
    was_master: bool = False
    at_end: bool = False  # as a master it had all the rest already: it cannot clock it for the others
    skips: int = 0  # how often it did not answer as a master
    shushes: int = 0
    shushed_at: float = field(default=float("-inf"))

    @property
    def gap_aware(self) -> bool:
        """It knows `ranges`."""
        return self.plan.gap_aware

    @property
    def can_be_asked(self) -> bool:
        """Whether an OACK to it is allowed: it was heard, or its requests have paid for one (credit.py)."""
        return self.heard or self.credit.covers(self.offer_bytes)

    def given_up(self, now: float) -> bool:
        """It never proved its address, and had time enough."""
        return not self.heard and now >= self.asked_at + UNPROVEN_S

    def shush(self, now: float) -> str:
        """It takes itself for the master: "tell" it (OACK mc=0) or nothing, and at last "expel" it."""
        if now - self.shushed_at < SHUSH_EVERY_S:
            return ""
        self.shushed_at = now
        self.shushes += 1
        return "tell" if self.shushes <= SHUSHES else "expel"


class Roster:
    """Members by address, in order of arrival."""

    def __init__(self) -> None:
        self._members: dict[Address, Member] = {}
        self._retired: dict[Address, Member] = {}
        self._unproven: OrderedDict[Address, Member] = OrderedDict()  # the one that asked longest ago first
        self._per_host: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._members.values()))

    @property
    def proven(self) -> int:
        """How many have proven their address."""
        return len(self._members) - len(self._unproven)

    @property
    def oldest_unproven(self) -> Member | None:
        """The one that asked longest ago and was never heard."""
        return next(iter(self._unproven.values()), None)

    @property
    def newest_unproven(self) -> Member | None:
        """The one that asked last and was never heard."""
        return next(reversed(self._unproven.values()), None)

    def has_room(self, host: str) -> bool:
        """Whether one more from `host` may join."""
        return self.proven < MAX_MEMBERS and not (self._is_full(host) and self._displaced(host) is None)

    def _is_full(self, host: str) -> bool:
        return self._per_host[host] >= MAX_PER_HOST

    def _displaced(self, host: str) -> Member | None:
        """The unproven one that leaves when one more from `host` comes."""
        if self._is_full(host):
            return next((one for one in self._unproven.values() if one.address[0] == host), None)
        return self.oldest_unproven if len(self._unproven) >= MAX_UNPROVEN else None

    def add(self, member: Member) -> Member | None:
        """A client joined; it may be one that was retired before. Gives the one that has to leave for it."""
        displaced = self._displaced(member.address[0])
        self._retired.pop(member.address, None)
        self._members[member.address] = member
        self._unproven[member.address] = member
        self._per_host[member.address[0]] += 1
        return displaced

    def asked_again(self, member: Member, received_bytes: int, now: float) -> None:
        """The same RRQ: it pays for more answers, and prolongs the wait for a proof."""
        member.asked_at = now
        member.credit.earn(received_bytes)
        if not member.heard:
            self._unproven.move_to_end(member.address)

    def prove(self, member: Member) -> bool:
        """A datagram came from it; True for the first time."""
        if member.heard:
            return False
        member.heard = True
        del self._unproven[member.address]
        return True

    def get(self, address: Address) -> Member | None:
        """The active member at `address`."""
        return self._members.get(address)

    def readmit(self, address: Address) -> Member | None:
        """One that had to make room before it could prove its address, and has sent something now.

        When hundreds of boards ask at once, there are more than MAX_UNPROVEN for a moment.
        """
        member = self._retired.get(address)
        if member is None or member.heard or member.left:
            return None
        if self.proven >= MAX_MEMBERS or self._is_full(address[0]):
            return None
        self.add(member)
        return member

    def was_here(self, address: Address) -> bool:
        """Whether a retired member had that address."""
        return address in self._retired

    def retire(self, member: Member) -> None:
        """It is done, or gone."""
        if self._members.pop(member.address, None) is None:
            return
        self._unproven.pop(member.address, None)
        host = member.address[0]
        self._per_host[host] -= 1
        if not self._per_host[host]:
            del self._per_host[host]
        self._retired[member.address] = member
        if len(self._retired) > MAX_RETIRED:
            del self._retired[next(iter(self._retired))]

    def at_host(self, host: str) -> Iterator[Member]:
        """The active members at one IP address."""
        return (member for member in list(self._members.values()) if member.address[0] == host)

    def any(self, test: Callable[[Member], bool]) -> bool:
        """Whether the test holds for some active member."""
        return any(map(test, self._members.values()))
