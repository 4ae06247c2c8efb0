"""What was sent when, so that a report is not taken to know of symbols that are on their way."""

from __future__ import annotations

from bisect import bisect_right

MAX_S = 0.25  # what was sent longer ago has arrived, or is lost


class Flight:
    """All DATA of a session, in the order in which it was sent."""

    def __init__(self, units: int) -> None:
        self._times: list[float] = []  # of each datagram; a session sends at most some 100,000
        self._place: dict[int, int] = {}  # of the last datagram with a block number
        self._symbols: list[list[int]] = [[] for _ in range(units)]  # places, by unit

    def sent(self, number: int, now: float, unit: int | None = None) -> None:
        """DATA with a block number went out; `unit` is that of a repair symbol."""
        place = len(self._times)
        self._times.append(now)
        self._place[number] = place
        if unit is not None:
            self._symbols[unit].append(place)

    def forget(self) -> None:
        """Units are made of other blocks from now on."""
        self._symbols = [[] for _ in self._symbols]

    @property
    def datagrams(self) -> int:
        """Sent so far."""
        return len(self._times)

    def place(self, number: int) -> int | None:
        """How many datagrams had been sent with the last one of that number."""
        place = self._place.get(number)
        return None if place is None else place + 1

    def seen(self, place: int | None, now: float) -> int:
        """How many datagrams a report may know of that comes now, and says that it knows of `place`."""
        return max(place or 0, bisect_right(self._times, now - MAX_S))

    def flying(self, unit: int, seen: int) -> int:
        """Symbols of a unit that were sent after so many datagrams."""
        places = self._symbols[unit]
        if not places or places[-1] < seen:
            return 0
        return len(places) - bisect_right(places, seen - 1)
