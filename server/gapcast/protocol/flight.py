"""What was sent when, so that a report is not taken to know of symbols that are on their way."""

from __future__ import annotations

from bisect import bisect_right

MAX_S = 0.25  # what was sent longer ago has arrived, or is lost,
# unless so many were sent then, not one of which is known: that board still works through its queue,
BEHIND = 16
BEHIND_MAX_S = 1.0  # for so long at most
LOST = 3  # datagrams in a row that a board may have lost: at a slow rate each is a long time


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

    def seen(self, place: int, now: float) -> int:
        """How many datagrams a report may know of that comes now, and says that it knows of `place`."""
        old = bisect_right(self._times, now - MAX_S)
        if old > place + BEHIND:
            old = bisect_right(self._times, now - BEHIND_MAX_S)
        return max(place, old)

    def lag(self, place: int, now: float) -> float:
        """For how long there has been more to know of beyond that place than loss explains, in seconds."""
        first = place + LOST
        return now - self._times[first] if first < len(self._times) else 0.0

    def flying(self, unit: int, seen: int) -> int:
        """Symbols of a unit that were sent after so many datagrams."""
        places = self._symbols[unit]
        if not places or places[-1] < seen:
            return 0
        return len(places) - bisect_right(places, seen - 1)
