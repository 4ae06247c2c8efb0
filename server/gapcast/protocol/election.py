"""Who clocks the stream: offers of mastership, one candidate at a time (PROTOCOL.md section 7.6)."""

from __future__ import annotations

from collections.abc import Callable

from gapcast.protocol.members import Member, Roster

OFFER_TRIES = 3
OFFER_EVERY_S = 0.1
OPENING_TRIES = 5  # the first OACK and four repeats
OPENING_FIRST_S = 0.25
MAX_SKIPS = 2  # a skipped client is tried again last, once


class Election:
    """The master, or the candidate that was offered mastership and has not answered yet."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self.master: Member | None = None
        self.candidate: Member | None = None
        self._tries = 0
        self._due: float | None = None

    def open(self, member: Member, now: float) -> None:
        """The first client: the OACK that answered its RRQ was the first offer."""
        self.candidate = member
        self._tries = 1
        self._due = now + self._interval(member)

    def accept(self, now: float) -> Member | None:
        """The candidate answered: it is the master now."""
        self.master, self.candidate = self.candidate, None
        self._due = None
        return self.master

    def relieve(self, member: Member) -> None:
        """`member` is the master now, in the place of the one that there is."""
        self.clear()
        self.master = member

    def vacate(self, member: Member) -> bool:
        """`member` can no longer be master or candidate; True when it was."""
        was = member is self.master or member is self.candidate
        if was:
            self.clear()
        return was

    def clear(self) -> None:
        """Nobody is, or is asked to be, master."""
        self.master = self.candidate = None
        self._due = None

    def next_candidate(self, eligible: Callable[[Member], bool]) -> Member | None:
        """The next one to ask: in order of arrival, those that were skipped before last.

        Those that were never heard come after all others, and only when their requests pay for it.
        """
        found: Member | None = None
        for member in self._roster:
            if not eligible(member) or member.skips >= MAX_SKIPS or not member.can_be_asked:
                continue
            if found is None or (not member.heard, member.skips) < (not found.heard, found.skips):
                found = member
        return found

    def nominate(self, member: Member, now: float) -> None:
        """Offer mastership to `member`; the caller sends the OACK when offer_due() says so."""
        self.master = None
        self.candidate = member
        self._tries = 0
        self._due = now

    def reopen(self, member: Member, now: float) -> None:
        """The master asked again with a new RRQ: it lost its place, its next ACK sets it."""
        self.nominate(member, now)
        self._tries = 1
        self._due = now + self._interval(member)

    def deadline(self) -> float | None:
        """When on_time has something to do."""
        return self._due

    def on_time(self, now: float) -> tuple[Member, bool] | None:
        """(candidate, True): send it the offer now; (candidate, False): it did not answer, it is skipped."""
        member = self.candidate
        if member is None or self._due is None or now < self._due:
            return None
        limit = OPENING_TRIES if self._is_alone() else OFFER_TRIES
        if self._tries >= limit:
            member.skips = MAX_SKIPS if self._is_alone() else member.skips + 1
            self.candidate = None
            self._due = None
            return member, False
        self._tries += 1
        self._due = now + self._interval(member)
        return member, True

    def _is_alone(self) -> bool:
        return not self._roster.any(lambda member: member is not self.candidate and member.can_be_asked)

    def _interval(self, member: Member) -> float:
        """Seconds until the next offer: quick while others wait, backed off for a lone client."""
        if not self._is_alone():
            return OFFER_EVERY_S
        return OPENING_FIRST_S * float(1 << min(max(self._tries - 1, 0), 3))
