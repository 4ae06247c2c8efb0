"""Groups for sessions: 239.192.0.0/14, the organization-local scope of RFC 2365, a port each.

The lower half is for streams. In the upper half each has its twin, for the repair symbols of its session.
"""

from __future__ import annotations

from collections import OrderedDict

from gapcast.protocol.types import Address

FIRST_PORT = 20000  # below Linux's ephemeral ports (32768), below atftpd's signed 16-bit trouble
QUARANTINE_S = 30.0  # late DATA of an old session, and switches' memories, must not meet a new one
MAX_QUARANTINED = 4096  # opening and closing sessions quickly costs no more memory than this

_BASE = 239 << 24 | 192 << 16
_GROUPS = 1 << 17
_SAFE_BLOCK = 256


def _is_flooded(number: int) -> bool:
    """Whether the group maps to the MAC of a 224.0.0.x, which switches flood in spite of snooping."""
    return (number & 0x7FFFFF) < _SAFE_BLOCK


class GroupPool:
    """Hands out (group, port) pairs, each to one session at a time.

    Args:
        start: where in the pool to begin, e.g. random: two servers on one net hardly meet.
        limit: sessions at most.
    """

    def __init__(self, start: int, limit: int = 64) -> None:
        self._cursor = start % _GROUPS
        self._limit = limit
        self._used: set[int] = set()
        self._resting: OrderedDict[int, float] = OrderedDict()  # released: when it may be used again

    def acquire(self, now: float) -> Address | None:
        """A free (group, port), or None."""
        if len(self._used) >= self._limit:
            return None
        for number, until in list(self._resting.items()):
            if until > now and len(self._resting) <= MAX_QUARANTINED:
                break
            del self._resting[number]
        while (
            self._cursor in self._used or self._cursor in self._resting or _is_flooded(_BASE | self._cursor)
        ):
            self._cursor = (self._cursor + 1) % _GROUPS
        number = self._cursor
        self._cursor = (self._cursor + 1) % _GROUPS
        self._used.add(number)
        return _address(number)

    def release(self, group: Address, now: float) -> None:
        """The session that used `group` is over."""
        octets = [int(octet) for octet in group[0].split(".")]
        number = (octets[0] << 24 | octets[1] << 16 | octets[2] << 8 | octets[3]) - _BASE
        self._used.remove(number)
        self._resting[number] = now + QUARANTINE_S


def repair_group(group: Address) -> Address:
    """The twin of a session's group: the same port, so that one socket of a board hears both."""
    octets = group[0].split(".")
    octets[1] = str(int(octets[1]) + 2)
    return ".".join(octets), group[1]


def _address(number: int) -> Address:
    value = _BASE | number
    text = f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
    return text, FIRST_PORT + number % 8192
