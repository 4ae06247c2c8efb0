"""How fast a session may send: what its boards say they need for a block (PROTOCOL.md section 8).

The slowest board sets the rate, down to a floor. One below the floor is left behind: it hears what it can
of the stream and fetches the rest in its turn, which takes it no longer, as its flash is what it waits for.
"""

from __future__ import annotations

from dataclasses import dataclass

from gapcast.protocol.types import HEADERS_BYTES, Address
from gapcast_core.wire import HEADER_BYTES

MARGIN = 0.98  # of what the slowest board can take: a queue that is emptied no faster than it fills overflows
FLOOR = 2.0  # times the median board's time, or the air's: so much a slower board may cost the others
# A host that claims to be slow, from 64 addresses or as the only one, slows a session no more than this.
SLOWEST_S = 0.05
FORGET_S = 10.0  # a board says it every 4 s at least; a dead one slows nobody for longer
NEVER_LESS_S = 0.00025  # four DATA a millisecond: faster boards are no limit

LATE_S = 0.0015  # an event loop wakes so late: what was missed meanwhile is sent at once
LATE_DATAGRAMS = 3  # but not more: never more than four back to back

START_S = 0.005  # between two blocks while not all have said a word,
START_AT_ONCE = 4  # after these, of which they take their measure
START_BLOCKS = 12  # then the others are not waited for


@dataclass(slots=True)
class _Word:
    seconds: float
    said_at: float


class Paces:
    """What the members said. air_s: seconds that a block takes at the operator's rate, 0 is no limit."""

    def __init__(self, air_s: float) -> None:
        self.air_s = max(air_s, NEVER_LESS_S)
        self._words: dict[Address, _Word] = {}  # of members only: at most MAX_MEMBERS
        self._floor_s = float("inf")
        self.slowest: Address | None = None  # that is not below the floor; None: nobody is a limit
        self.interval_s = 0.0  # between two datagrams, for the slowest

    def __contains__(self, address: Address) -> bool:
        """Whether that member has said how fast it is."""
        return address in self._words

    def say(self, address: Address, seconds: float, now: float) -> None:
        """The board at `address` needs so long for a block."""
        word = self._words.get(address)
        self._words[address] = _Word(seconds, now)
        # What was no limit, and is none, changes nothing: most of what a large fleet says.
        if word is None or max(word.seconds, seconds) > self.air_s or self._is_old(self.slowest, now):
            self._work_out(now)

    def _is_old(self, address: Address | None, now: float) -> bool:
        return address is None or self._words[address].said_at < now - FORGET_S

    def drop(self, address: Address) -> None:
        """It is done, or gone. The others speak soon."""
        self._words.pop(address, None)
        if address == self.slowest:
            self._work_out(max((word.said_at for word in self._words.values()), default=0.0))

    def seconds(self, address: Address) -> float:
        """What a member said; 0 when it said nothing."""
        word = self._words.get(address)
        return word.seconds if word is not None else 0.0

    def is_left_behind(self, address: Address) -> bool:
        """Whether a member is below the floor."""
        return self.seconds(address) > self._floor_s

    def _work_out(self, now: float) -> None:
        for address in [one for one in self._words if self._is_old(one, now)]:
            del self._words[address]
        hosts: dict[str, float] = {}  # one vote each, however many ports it has
        for address, word in self._words.items():
            hosts[address[0]] = max(hosts.get(address[0], 0.0), word.seconds)
        self.slowest, self.interval_s = None, 0.0
        if not hosts:
            return
        ranked = sorted(hosts.values())
        self._floor_s = FLOOR * max(ranked[(len(ranked) - 1) // 2], self.air_s)
        limits = [one for one in self._words if not self.is_left_behind(one)]
        self.slowest = max(limits, key=self.seconds)
        seconds = min(self.seconds(self.slowest) / MARGIN, SLOWEST_S)
        if seconds > self.air_s:
            self.interval_s = seconds


class Gate:
    """Deadlines for the datagrams of one session, `interval_s` apart; lost time is not made up."""

    def __init__(self) -> None:
        self.interval_s = 0.0
        self._next_s = float("-inf")

    def is_open(self, now: float) -> bool:
        """Whether a datagram may leave now."""
        return now >= self._next_s

    def next_at(self) -> float:
        """From when the next one may leave."""
        return self._next_s

    def spend(self, now: float) -> None:
        """A datagram left."""
        late_s = min(max(LATE_S, self.interval_s), LATE_DATAGRAMS * self.interval_s)
        self._next_s = max(self._next_s, now - late_s) + self.interval_s


def air_seconds(rate_bps: float | None, blksize: int) -> float:
    """What a DATA of `blksize` takes at a rate; None: no limit."""
    return (blksize + HEADER_BYTES + HEADERS_BYTES) * 8 / rate_bps if rate_bps else 0.0
