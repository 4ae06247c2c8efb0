"""Hears announcements (PROTOCOL.md section 13) while the application runs, and counts what they may cost."""

from gapcast_core import announcement
from gapcast_core.errors import PeerError

from . import health, port

REJOIN_MS = 1000  # from one try to join the group to the next
MAX_HEARD = 4  # datagrams at one look: a flood must not hold the application up


class Hearing:
    """The group's socket, there while the network is.

    on_hint: called with the content id that was announced for this board's image, the wait in ms, and now.
    tell: called with an OSError when the group cannot be joined.
    """

    def __init__(self, on_hint, tell):
        self.group = None
        self._on_hint = on_hint
        self._tell = tell
        self._join_ms = 0  # not to be tried before

    def look(self, nic, now_ms):
        """Take what has come. nic: connected. Allocates nothing when nothing has come."""
        if self.group is None:
            if now_ms < self._join_ms:
                return
            self._join_ms = now_ms + REJOIN_MS
            self._join(nic)
            if self.group is None:
                return
        for _waiting in range(MAX_HEARD):
            data = self.group.read()
            if data is None:
                break
            self._take(data, now_ms)
        if self.group.deaf:
            self.leave()

    def leave(self):
        """Let go of the socket; the next look() joins anew."""
        if self.group is not None:
            self.group.close()
            self.group = None

    def _join(self, nic):
        try:
            sock = port.open_public(announcement.GROUP, announcement.PORT, nic.ifconfig()[0])
        except OSError as exc:  # the board hears of nothing then, but asks all the same
            self._tell(exc)
            return
        self.group = port.ControlPort(sock)

    def _take(self, data, now_ms):
        try:
            name, content_id, wait_ms = announcement.parse_announcement(data)
        except PeerError:
            return
        if name == health.settings()["image"]:
            self._on_hint(content_id, wait_ms, now_ms)


class Budget:
    """Of so many at once, and then one more in `refill_ms`."""

    def __init__(self, burst, refill_ms):
        self._burst = burst
        self._left = burst
        self._refill_ms = refill_ms
        self._next_ms = refill_ms

    def take(self, now_ms):
        """One of them; False when there is none left."""
        if now_ms >= self._next_ms:
            refills = 1 + (now_ms - self._next_ms) // self._refill_ms
            self._next_ms += refills * self._refill_ms
            self._left = min(self._left + refills, self._burst)
        if not self._left:
            return False
        self._left -= 1
        return True
