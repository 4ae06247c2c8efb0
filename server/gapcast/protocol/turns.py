"""Turns: gap-aware clients are invited to repair, a few at once (PROTOCOL.md section 7.5).

How many is what they show: as many as are served within WAVE_S, so that boards with few gaps do not wait for
round trips of others, and those with many share the air with few.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from gapcast.protocol.members import Member

INVITE_EVERY_S = 0.25
INVITES = 4  # unanswered ones
WAIT_EVERY_S = 1.0  # "wait, your turn comes": a board goes on by itself after 1.5 s of silence
SILENT_S = 3.0  # without an ACK or repair traffic: ask again
WAVE_S = 0.5  # an invited board should be done by then, at the rate of the last ones
MOST = 64  # at once: each has a socket, and all of them answer at the same moment
MEASURED = 16  # turns that the rate is taken from
# A client that only repeats its ACK, and fetches nothing, holds its turn no longer than this.
IDLE_S = 30.0

INVITE = "invite"
REMIND = "remind"
WAIT = "wait"
LOST = "lost"


@dataclass(slots=True)
class _Turn:
    member: Member
    invites: int
    due: float
    answered: bool
    progress_at: float


class Turns:
    """At most `least` turns at once, or more when they are over soon; the others wait in order."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._served: deque[float] = deque(maxlen=MEASURED)  # when the latest turns were over
        self._active: dict[Member, _Turn] = {}
        self._queue: OrderedDict[Member, float] = OrderedDict()  # member: when it is told to wait

    def __len__(self) -> int:
        return len(self._active) + len(self._queue)

    def __contains__(self, member: Member) -> bool:
        return member in self._active or member in self._queue

    def is_active(self, member: Member) -> bool:
        """Whether it is this member's turn."""
        return member in self._active

    def add(self, member: Member, now: float) -> None:
        """`member` waits for its turn."""
        if member not in self:
            self._queue[member] = now

    def remove(self, member: Member, now: float) -> None:
        """It is done, or gone."""
        if self._active.pop(member, None) is not None:
            self._served.append(now)
        self._queue.pop(member, None)

    @property
    def limit(self) -> int:
        """How many turns there may be at once."""
        if len(self._served) < MEASURED:
            return self._least
        seconds = self._served[-1] - self._served[0]
        served = (MEASURED - 1) * WAVE_S / seconds if seconds > 0 else MOST
        return max(self._least, min(int(served), MOST))

    def heard(self, member: Member, now: float) -> None:
        """An ACK of a member whose turn it is: a sign of life."""
        turn = self._active.get(member)
        if turn is not None:
            turn.answered = True
            turn.invites = 0
            turn.due = min(now + SILENT_S, turn.progress_at + IDLE_S)

    def progress(self, member: Member, now: float) -> None:
        """Repair traffic with that member's host."""
        turn = self._active.get(member)
        if turn is not None:
            turn.progress_at = now
            self.heard(member, now)

    def renew(self, member: Member, now: float) -> None:
        """It sent its RRQ again: it did not get the invitation, or forgot it. The limits go on counting."""
        turn = self._active.get(member)
        if turn is not None and turn.answered:
            turn.answered = False
            turn.due = min(turn.due, now + INVITE_EVERY_S)

    def deadline(self) -> float | None:
        """When on_time has something to do."""
        times = [turn.due for turn in self._active.values()]
        if self._queue:
            times.append(float("-inf") if self._has_room() else min(self._queue.values()))
        return min(times) if times else None

    def on_time(self, now: float) -> list[tuple[str, Member]]:
        """What to do for whom: INVITE and REMIND (OACK mc=1), WAIT (OACK mc=0), LOST (it does not answer)."""
        actions = [(self._overdue(turn, now), turn.member) for turn in list(self._active.values())]
        while self._queue and self._has_room():
            member, _ = self._queue.popitem(last=False)
            self._active[member] = _Turn(member, 1, now + INVITE_EVERY_S, False, now)
            actions.append((INVITE, member))
        for member, due in list(self._queue.items()):
            if now >= due:
                self._queue[member] = now + WAIT_EVERY_S
                actions.append((WAIT, member))
        return [action for action in actions if action[0]]

    def _overdue(self, turn: _Turn, now: float) -> str:
        if now < turn.due:
            return ""
        idle = now >= turn.progress_at + IDLE_S
        if idle or turn.invites >= INVITES:
            del self._active[turn.member]
            return LOST
        turn.invites += 1
        turn.answered = False
        turn.due = now + INVITE_EVERY_S
        return REMIND

    def _has_room(self) -> bool:
        return len(self._active) < self.limit
