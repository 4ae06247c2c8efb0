"""Places for a limited number of peers, which forged requests cannot take away from real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from gapcast.protocol.types import Address
from gapcast_core.errors import PeerError


class Occupant(Protocol):
    """What sits in a slot."""

    @property
    def verified(self) -> bool:
        """Whether the peer has proven its address: then it keeps its place."""

    @property
    def finished(self) -> bool:
        """Whether it only waits in case its last word was lost: then it leaves before anybody else."""


T = TypeVar("T", bound=Occupant)


class Slots(Generic[T]):
    """Occupants by address of the peer.

    Those that have not proven their address have a pool of their own. When it is full the one that came
    first has to go: a forged request waits for a proof in vain, a real one proves itself in milliseconds.

    Args:
        limit: of those that have proven their address, and again of those that have not.
        per_host: of both together, for one IP address.
        evict: called with an occupant that has to leave; it must call remove() in the end.
    """

    def __init__(self, limit: int, per_host: int, evict: Callable[[T], None]) -> None:
        self._limit = limit
        self._per_host = per_host
        self._evict = evict
        self._proven: dict[Address, T] = {}
        self._unproven: dict[Address, T] = {}  # in order of arrival; some have proven themselves meanwhile
        self._hosts: dict[str, dict[Address, T]] = {}

    def __len__(self) -> int:
        return len(self._proven) + len(self._unproven)

    def get(self, source: Address) -> T | None:
        """The occupant for that peer."""
        return self._proven.get(source) or self._unproven.get(source)

    def has_proven(self, host: str) -> bool:
        """Whether one of this host's has proven its address."""
        return any(one.verified for one in self._hosts.get(host, {}).values())

    def all(self) -> list[T]:
        """Everyone."""
        return [*self._proven.values(), *self._unproven.values()]

    def make_room(self, source: Address) -> None:
        """Before add(): let one go if it must be. Raises PeerError `busy`."""
        host = self._hosts.get(source[0], {})
        if len(host) >= self._per_host:
            leaving = _finished(host) or next((one for one in host.values() if not one.verified), None)
            if leaving is None:
                raise PeerError("busy")
            self._evict(leaving)
        while len(self._unproven) >= self._limit:
            oldest = next(iter(self._unproven.items()))
            first, occupant = next((one for one in self._unproven.items() if one[1].verified), oldest)
            if occupant.finished or not occupant.verified:
                self._evict(occupant)
                continue
            del self._unproven[first]
            self._proven[first] = occupant
        if len(self._proven) >= self._limit:
            finished = _finished(self._proven)
            if finished is None:
                raise PeerError("busy")
            self._evict(finished)

    def add(self, source: Address, occupant: T) -> None:
        """A new one, after make_room()."""
        self._unproven[source] = occupant
        self._hosts.setdefault(source[0], {})[source] = occupant

    def remove(self, source: Address, occupant: T) -> None:
        """It is gone; nothing happens when another one has its place by now."""
        if self.get(source) is not occupant:
            return
        self._proven.pop(source, None)
        self._unproven.pop(source, None)
        host = self._hosts[source[0]]
        del host[source]
        if not host:
            del self._hosts[source[0]]


def _finished(occupants: dict[Address, T]) -> T | None:
    return next((one for one in occupants.values() if one.finished), None)
