"""An adaptive timeout (RFC 1123 section 4.2.3.2, the arithmetic of RFC 6298), in seconds.

RFC 2349's `timeout` has whole seconds, and one lost packet a second is what makes stock multicast
TFTP collapse. Our timers follow the measured round trip instead.
"""

from __future__ import annotations

INITIAL_S = 0.25  # before the first measurement
FLOOR_S = 0.02  # least timeout on a LAN; one lost packet must not cost more
_RING = 256  # blocks; more than two windows of 64
CEILING_S = 1.0  # back-off stops here: sub-second recovery is the point


class RoundTrip:
    """Smoothed round trip and the timeout that follows from it."""

    __slots__ = ("_floor_s", "_smoothed_s", "_timeout_s", "_varies_s")

    def __init__(self, floor_s: float) -> None:
        self._floor_s = floor_s
        self._smoothed_s = -1.0
        self._varies_s = 0.0
        self._timeout_s = INITIAL_S

    def sample(self, seconds: float) -> None:
        """A round trip that was measured on a datagram sent only once (Karn's rule)."""
        if self._smoothed_s < 0:
            self._smoothed_s = seconds
            self._varies_s = seconds / 2
        else:
            self._varies_s += (abs(seconds - self._smoothed_s) - self._varies_s) / 4
            self._smoothed_s += (seconds - self._smoothed_s) / 8
        timeout = self._smoothed_s + 4 * self._varies_s
        self._timeout_s = min(max(timeout, self._floor_s), CEILING_S)

    @property
    def smoothed(self) -> float:
        """The smoothed round trip in seconds; the initial timeout while nothing was measured."""
        return self._smoothed_s if self._smoothed_s >= 0 else INITIAL_S

    def timeout(self, tries: int = 0) -> float:
        """Seconds to wait after `tries` timeouts in a row: doubled each time, up to CEILING_S."""
        if tries == 0:
            return self._timeout_s
        return min(self._timeout_s * float(1 << min(tries, 8)), CEILING_S)


class SendTimes:
    """When the latest blocks were sent, and whether only once: Karn's rule forbids to time the others."""

    __slots__ = ("_at", "_number")

    def __init__(self) -> None:
        self._number = [-1] * _RING
        self._at = [0.0] * _RING

    def sent(self, number: int, now: float) -> None:
        """Block `number` left."""
        slot = number % _RING
        again = self._number[slot] == number
        self._number[slot] = number
        self._at[slot] = float("-inf") if again else now

    def at(self, number: int) -> float:
        """When block `number` was sent; -inf when it was sent twice, or too long ago to know."""
        slot = number % _RING
        return self._at[slot] if self._number[slot] == number else float("-inf")
