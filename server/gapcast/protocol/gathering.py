"""How long a stream waits for more boards before its first DATA (PROTOCOL.md section 7.2)."""

from __future__ import annotations

from collections.abc import Callable

from gapcast.protocol.askers import Seen
from gapcast.protocol.members import Roster
from gapcast.protocol.settings import Settings

QUIET_S = 0.04  # boards switched on together are that close: who comes later joins the running stream
# The same when it is known who asked for the header: a board has to look at its flash before it joins.
ASKED_QUIET_S = 0.02
# While boards come in so close behind one another the stream waits longer: who joins during the first
# generations costs all of them as many blocks more as it missed.
LONGEST_S = 0.6


class Gathering:
    """until: no DATA before this time, or None.

    expected: tells who asked for this image's header lately, and will come for the image; None: nobody knows.
    """

    def __init__(self, settings: Settings, opened_at: float) -> None:
        self.until: float | None = None
        self._settings = settings
        self.expected: Callable[[float], Seen] | None = None
        self._opened_at = opened_at
        self._joined_at = opened_at
        self._came_at = opened_at  # the last of the proven hosts: forged addresses put off nothing
        self._here: set[str] = set()  # proven hosts, as long as it lasts

    def begin(self) -> None:
        """The first client is a board."""
        self.until = self._latest_start()

    def _latest_start(self) -> float:
        latest = self._opened_at + self._settings.gather_s
        if not self._settings.eager:
            return latest
        return max(latest, min(self._came_at + QUIET_S, self._opened_at + LONGEST_S))

    def joined(self, roster: Roster, now: float) -> None:
        """One more."""
        self._joined_at = now
        self._look(roster, now)

    def heard(self, host: str, roster: Roster, now: float) -> None:
        """A member at `host` was heard: it has joined the group."""
        if self.until is not None:
            if host not in self._here:
                self._here.add(host)
                self._came_at = now
            self._look(roster, now)

    def on_time(self, roster: Roster, now: float) -> None:
        """The stream may start, unless somebody new has asked for the header meanwhile."""
        if self.until is not None and now >= self.until:
            self._look(roster, now)
            if now >= self.until:
                self.until = None
                self._here.clear()

    def _look(self, roster: Roster, now: float) -> None:
        if self.until is not None:
            self.until = min(self._latest_start(), self._start(roster, now))

    def _start(self, roster: Roster, now: float) -> float:
        """When all that are known to come are here, and nobody new showed up for a while."""
        if not self._settings.eager or roster.proven < len(roster):
            return self._latest_start()
        seen = self.expected(now) if self.expected is not None else None
        if seen is None or not seen.hosts:
            return self._joined_at + QUIET_S
        return seen.latest + ASKED_QUIET_S if seen.hosts <= self._here else self._latest_start()
