"""What a sans-IO machine is, and what it hands to its shell.

A machine owns one TID (RFC 1350 section 4). The shell feeds it datagrams and the time, drains
`take()` after each call, and asks `next_data` for one DATA whenever the pacer allows one.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

Address = tuple[str, int]  # IPv4 address and UDP port

HEADERS_BYTES = 42  # Ethernet, IPv4 and UDP: what a datagram costs on the air besides its payload


class Datagram(NamedTuple):
    """One UDP payload for one address (which may be a group)."""

    data: bytes
    to: Address


class ContentChangedError(Exception):
    """The file behind a Content is no longer the one that was opened."""


class Content(Protocol):
    """The bytes of one file, as they were when it was opened."""

    @property
    def size(self) -> int:
        """Bytes."""

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`, fewer at the end. Raises ContentChangedError."""


class Machine(Protocol):
    """One TID. Every method may append effects, which the shell drains with take()."""

    gentle: bool  # a board hears it: never more than four DATA back to back
    lock_step: bool  # one DATA, one ACK
    closed: bool

    @property
    def lone(self) -> bool:
        """Lock-step with one client. What is called now moves the deadline at least FLOOR_S from now."""

    def receive(self, data: bytes, source: Address, now: float) -> None:
        """A datagram arrived at this TID."""

    def refused(self, peer: Address, now: float) -> None:
        """ICMP says that nobody listens at `peer` any more."""

    def on_time(self, now: float) -> None:
        """The deadline has come."""

    def deadline(self) -> float | None:
        """When to call on_time; None: nothing is waited for."""

    def wants_data(self, now: float) -> bool:
        """True when next_data would give a datagram."""

    def next_data(self, now: float) -> Datagram | None:
        """One DATA, which the shell sends at once."""

    def take(self) -> list[object]:
        """The Datagrams (control: send at once) and events since the last call, in order."""


def earliest(*times: float | None) -> float | None:
    """The earliest of some deadlines; None: none of them."""
    found: float | None = None
    for time in times:
        if time is not None and (found is None or time < found):
            found = time
    return found
