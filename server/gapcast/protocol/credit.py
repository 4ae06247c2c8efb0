"""How much may be said to an address that has not proven itself: no amplifier for forged requests.

Proof is a datagram to the right TID: whoever forges a source address does not learn that port. Until then
every request pays for its answers, and a client that repeats its request earns more (PROTOCOL.md section 9).
"""

from __future__ import annotations

from gapcast_core.wire import HEADER_BYTES, pack_error

ANSWER_RATIO = 1.5  # bytes of UDP payload to an unproven address for each byte from it
UNPROVEN_S = 10.0  # how long a proof is waited for; stock clients repeat a request within 1 to 5 s
_ERROR_BYTES = HEADER_BYTES + 1  # with an empty text


class Credit:
    """Bytes that may still be sent to one address."""

    __slots__ = ("_left",)

    def __init__(self, received_bytes: int) -> None:
        self._left = received_bytes * ANSWER_RATIO

    def earn(self, received_bytes: int) -> None:
        """Another request came from it."""
        self._left += received_bytes * ANSWER_RATIO

    def covers(self, count: int) -> bool:
        """Whether `count` bytes may be sent."""
        return count <= self._left

    def spend(self, count: int) -> bool:
        """Take `count` bytes; False when there are not so many, and nothing may be sent."""
        if count > self._left:
            return False
        self._left -= count
        return True


class PerSecond:
    """Permissions of which there are only so many a second: for all, and for each host.

    The table of hosts lasts a second and has no more entries than `limit_all`.
    """

    def __init__(self, limit_all: int, limit_each: int) -> None:
        self._limit_all = limit_all
        self._limit_each = limit_each
        self._since = float("-inf")
        self._all = 0
        self._each: dict[str, int] = {}

    def may(self, host: str, now: float) -> bool:
        """Whether there is one left for this host; it is taken."""
        if now - self._since >= 1.0:
            self._since = now
            self._all = 0
            self._each.clear()
        taken = self._each.get(host, 0)
        if self._all >= self._limit_all or taken >= self._limit_each:
            return False
        self._all += 1
        self._each[host] = taken + 1
        return True


class Recent:
    """Hosts that proved their address within the last `kept_s` seconds, the last `limit` of them."""

    def __init__(self, limit: int, kept_s: float) -> None:
        self._limit = limit
        self._kept_s = kept_s
        self._at: dict[str, float] = {}  # the one noted longest ago first

    def note(self, host: str, now: float) -> None:
        """It did so just now."""
        self._at.pop(host, None)
        if len(self._at) >= self._limit:
            del self._at[next(iter(self._at))]
        self._at[host] = now

    def has(self, host: str, now: float) -> bool:
        """Whether it did."""
        return now - self._at.get(host, float("-inf")) < self._kept_s


def error_within(code: int, text: str, received_bytes: int) -> bytes | None:
    """An ERROR that is no longer than its cause allows: the text is cut, or nothing is said at all."""
    room = int(received_bytes * ANSWER_RATIO) - _ERROR_BYTES
    if room < 0:
        return None
    answer: bytes = pack_error(code, text.encode()[:room].decode(errors="ignore"))
    return answer
