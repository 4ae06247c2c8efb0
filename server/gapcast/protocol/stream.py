"""The stream of a multicast session: which block goes to the group next (PROTOCOL.md section 7.3).

One client, the master, clocks it. An ACK n is a request for n+1 (RFC 2090). A stock master is the
case of a window of one block; a gap-aware one lets the server run `window` blocks ahead, and what
it misses stays a hole in its gap list: there is no go-back for the whole group.
"""

from __future__ import annotations

from gapcast.protocol.timing import FLOOR_S, RoundTrip, SendTimes

DEAD_S = 0.4  # silence of a master that counts as death while others wait
DEAD_SLOW_S = 0.8  # the same on a path with a long round trip


class Stream:
    """Position, window and probe timer of one session's stream."""

    def __init__(self) -> None:
        self.top = 0  # highest block ever sent
        self.datagrams = 0
        self.probes = 0  # sent since the master was last heard
        self.lead = 0  # blocks that may be sent beyond the master's window
        self.waiting_since: float | None = None  # since when the master owes an ACK
        self._progress_at = 0.0  # when an ACK moved the position, or a block was sent for the first time
        self._position = 0  # the master's latest request is for the block after this one
        self._next = 1
        self._last = 0  # the master's window ends with this block
        self._latest = 0
        self._window = 1
        self._total = 0
        self._seated = False
        self._seated_at = 0.0
        self._probing = False
        self._due: float | None = None
        self._trip = RoundTrip(FLOOR_S)
        self._times = SendTimes()

    @property
    def seated(self) -> bool:
        """Whether a master clocks the stream."""
        return self._seated

    @property
    def round_trip(self) -> float:
        """Smoothed, in seconds: from a block's departure to the master's ACK."""
        return self._trip.smoothed

    def seat(self, request: int, window: int, total: int, now: float) -> None:
        """A new master's first ACK: it asks for the block after `request`, which may be one sent before."""
        self._seated = True
        self._seated_at = now
        self._position = request
        self._next = request + 1
        self._window = window
        self._total = total
        self._last = min(request + window, total)
        self._heard(now)
        self._progress_at = now

    def take_over(self, request: int, window: int, total: int, now: float) -> None:
        """As seat, but the stream goes on: blocks that the new master has not seen yet are on their way."""
        following = self._next
        self.seat(request, window, total, now)
        if following > self._next:
            self._next = following
            self._heard(now)

    def unseat(self) -> None:
        """The master is gone."""
        self._seated = False
        self._probing = False
        self._due = None
        self.waiting_since = None

    def request(self, number: int, now: float) -> bool:
        """The master's ACK; True when it moved the position.

        A repeated or older ACK causes no DATA (RFC 1123 section 4.2.3.1): the timer repeats a lost block.
        """
        if number < self._position:
            return False  # overtaken on its way: says nothing about now
        if number == self._position:
            self.probes = 0
            if self.waiting_since is not None:
                self.waiting_since = now
            return False
        sent_at = self._times.at(number)
        # A block from before this mastership measures nothing: the master only skips what it has.
        if sent_at >= self._seated_at:
            self._trip.sample(now - sent_at)
        self._position = number
        self._last = min(number + self._window, self._total)
        if self._next <= number:
            self._next = number + 1
        self._heard(now)
        self._progress_at = now
        return True

    def wants_data(self) -> bool:
        """Whether the master's window has room, or a probe is due."""
        return self._seated and (self._probing or self._next <= self._reach())

    def _reach(self) -> int:
        """The last block that may be sent before the master's next word."""
        return min(self._last + self.lead, self._total)

    def next_block(self, now: float) -> int:
        """The number of the block that is sent now; call it only when wants_data()."""
        if self._probing:
            self._probing = False
            self.probes += 1
            number = self._latest
        else:
            number = self._next
            self._next += 1
            self._latest = number
            self._progress_at = now
        self._times.sent(number, now)
        if self.top < number:
            self.top = number
        self.datagrams += 1
        if not self.wants_data():
            if self.waiting_since is None:
                self.waiting_since = now
            self._due = now + self._trip.timeout(self.probes)
        return number

    def deadline(self) -> float | None:
        """When the next probe is due."""
        return self._due if self._seated and not self.wants_data() else None

    def on_time(self, now: float) -> None:
        """Ask for a probe when it is due."""
        due = self.deadline()
        if due is not None and now >= due and self._latest > 0:
            self._probing = True

    def stuck(self, now: float) -> float:
        """Seconds for which the master has had all it may get, and still asked for nothing new."""
        return 0.0 if self.waiting_since is None else now - self._progress_at

    def patience(self) -> float:
        """How long a silence of the master is no sign of its death: longer on a slow path, in seconds."""
        return min(max(DEAD_S, 3 * self._trip.timeout()), DEAD_SLOW_S)

    def _heard(self, now: float) -> None:
        self.probes = 0
        self._probing = False
        if self._next <= self._reach():
            self.waiting_since = None  # nothing is overdue before the next DATA
        else:
            self.waiting_since = now
            self._due = now + self._trip.timeout()
