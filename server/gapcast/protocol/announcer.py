"""When boards whose application runs are told of an image (PROTOCOL.md section 13).

Pure: told what is in the store, and the time; gives datagrams and the next deadline.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from gapcast.protocol.events import Announced
from gapcast_core.announcement import pack_announcement
from gapcast_core.errors import UsageError

SETTLE_S = 2.0  # a file that is being copied over another may be whole by its size, and change still
# A board in modem sleep may miss one; at 20 % loss one in 3000 misses all five.
BURST_AT_S = (0.0, 0.8, 1.8, 3.0, 4.5)
MEET_S = 6.0  # after the first: when the boards that heard any of them come in
AGAIN_S = 60.0  # for boards that were away, or ask but once in hours
SPACING_S = 0.05  # at most 20 a second in all, of 512 bytes: 11 kB/s with headers
MAX_IMAGES = 256  # announced; a root of thousands would take minutes for each round


@dataclass(frozen=True, slots=True)
class Found:
    """A container in the store. version: changes whenever the file does. content_id: 32 hex digits."""

    version: Hashable
    content_id: str


@dataclass(slots=True)
class _Image:
    """What is known of one name."""

    found: Found
    seen_at: float  # first so
    settled: bool = False
    sent: int = 0  # announcements of this content
    first_at: float = 0.0
    order: int = field(default=0)


class Announcer:
    """Announcements of the images in one store."""

    def __init__(self, now: float) -> None:
        self._images: dict[str, _Image] = {}
        self._due: list[tuple[float, int, str]] = []  # when, order (a stale entry has another), name
        self._count = 0
        self._quiet_until = now  # the last datagram's time, and SPACING_S
        self._first_look = True
        self._out: list[bytes | Announced] = []

    def look(self, found: Mapping[str, Found], now: float) -> None:
        """What is in the store now, by the name boards ask for. At the first look nothing is new."""
        for name in [name for name in self._images if name not in found]:
            del self._images[name]
        for name, one in found.items():
            image = self._images.get(name)
            if image is None or image.found.content_id != one.content_id:
                if image is None and len(self._images) >= MAX_IMAGES:
                    continue
                self._images[name] = image = _Image(one, now, settled=self._first_look)
                if self._first_look:
                    image.sent = len(BURST_AT_S)
                    self._plan(name, image, now + AGAIN_S)
            elif image.found != one:  # the same bytes written anew, so far
                image.found = one
                image.seen_at = now
            elif not image.settled and now - image.seen_at >= SETTLE_S:
                image.settled = True
                image.first_at = now
                self._out.append(Announced(name, one.content_id))
                self._plan(name, image, now)
        self._first_look = False

    def deadline(self) -> float | None:
        """When to call on_time; None: there is nothing to announce."""
        self._forget_stale()
        return max(self._due[0][0], self._quiet_until) if self._due else None

    def on_time(self, now: float) -> None:
        """At most one datagram."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return
        _when, _order, name = heapq.heappop(self._due)
        image = self._images[name]
        left_s = image.first_at + MEET_S - now if image.sent < len(BURST_AT_S) else 0.0
        image.sent += 1
        try:
            self._out.append(pack_announcement(name, image.found.content_id, round(max(left_s, 0.0) * 1000)))
        except UsageError:  # a name too long for a datagram: boards ask by themselves
            return
        self._quiet_until = now + SPACING_S
        if image.sent < len(BURST_AT_S):
            self._plan(name, image, image.first_at + BURST_AT_S[image.sent])
        else:
            self._plan(name, image, now + AGAIN_S)

    def take(self) -> list[bytes | Announced]:
        """Datagrams for the group, and events, since the last call."""
        out = self._out
        self._out = []
        return out

    def _plan(self, name: str, image: _Image, when: float) -> None:
        self._count += 1
        image.order = self._count
        heapq.heappush(self._due, (when, self._count, name))

    def _forget_stale(self) -> None:
        """Entries of images that are gone, or others by now."""
        while self._due:
            _when, order, name = self._due[0]
            image = self._images.get(name)
            if image is not None and image.order == order:
                return
            heapq.heappop(self._due)
