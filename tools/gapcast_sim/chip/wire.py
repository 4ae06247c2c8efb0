"""The time that bytes take on a serial line: ten bits each, with start and stop bit, in one direction."""

from __future__ import annotations

from collections import deque

_BITS = 10


class Wire:
    """Bytes on their way. Times are seconds of a monotonic clock."""

    def __init__(self, pacing: bool) -> None:
        self._pacing = pacing
        self._queue: deque[tuple[float, bytes]] = deque()
        self._free_at = 0.0
        self.pending_bytes = 0

    def push(self, data: bytes, now: float, baud: int) -> None:
        """Send after what is on its way already."""
        start = max(self._free_at, now)
        self._free_at = start + len(data) * _BITS / baud if self._pacing else now
        self._queue.append((self._free_at, data))
        self.pending_bytes += len(data)

    def due_at(self) -> float | None:
        """When the next piece has arrived whole."""
        return self._queue[0][0] if self._queue else None

    def pop(self, now: float) -> bytes:
        """The next piece that has arrived; b"" if there is none."""
        if not self._queue or self._queue[0][0] > now:
            return b""
        _, data = self._queue.popleft()
        self.pending_bytes -= len(data)
        return data

    def clear(self) -> None:
        self._queue.clear()
        self.pending_bytes = 0
        self._free_at = 0.0
