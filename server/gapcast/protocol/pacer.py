"""The one token bucket that all DATA of a server passes (PROTOCOL.md section 8).

It is kept as a deadline: the time from which the next datagram may leave. An event loop wakes a
millisecond late, so the deadline lags behind the clock by up to three datagrams, which are then sent
back to back; a longer lag is forgotten. An ESP32 queues six datagrams.
"""

from __future__ import annotations

from gapcast.protocol.types import HEADERS_BYTES

BURST_DATAGRAMS = 4


class Pacer:
    """Deadlines for DATA at a rate in bits per second; None: unlimited."""

    def __init__(self, rate_bps: float | None) -> None:
        self._seconds_per_byte = 8.0 / rate_bps if rate_bps else 0.0
        self._next_s = float("-inf")

    @property
    def unlimited(self) -> bool:
        """True when every datagram may leave at once."""
        return self._seconds_per_byte == 0.0

    def next_at(self) -> float:
        """From when the next datagram may leave."""
        return self._next_s

    def may_send(self, now: float) -> bool:
        """Whether a datagram may leave now."""
        return now >= self._next_s

    def spend(self, payload_bytes: int, now: float) -> None:
        """A datagram of `payload_bytes` left."""
        if self._seconds_per_byte == 0.0:
            return
        seconds = (payload_bytes + HEADERS_BYTES) * self._seconds_per_byte
        earliest = now - (BURST_DATAGRAMS - 1) * seconds
        self._next_s = max(self._next_s, earliest) + seconds

    def hold_until(self, when: float) -> None:
        """Nothing leaves before `when`."""
        self._next_s = max(self._next_s, when)
