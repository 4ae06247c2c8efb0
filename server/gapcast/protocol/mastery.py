"""Is the master alive, and who comes next: PROTOCOL.md sections 7.4 and 7.6."""

from __future__ import annotations

from gapcast.protocol.election import MAX_SKIPS, Election
from gapcast.protocol.members import Member, Roster
from gapcast.protocol.stream import DEAD_S, Stream
from gapcast.protocol.types import earliest

LONE_S = 10.0  # a silent master is waited for so long when nobody else is there
LONE_END_S = 2.0  # the same when only its last ACK may be missing
STUCK_S = 5.0  # a master that ACKs but never moves holds the others up no longer
LAST_PROBES = 3  # unanswered ones after the last block end the stream

ALIVE = ""
END = "end"  # the stream is over: only the last ACK is missing
SKIP = "skip"  # somebody else shall clock the stream
LOST = "lost"  # nobody else is there


class Mastery:
    """The master's chair: Election says who sits on it, Stream what it asks for.

    Args:
        blocks: the gap-aware total.
    """

    def __init__(self, roster: Roster, blocks: int) -> None:
        self.election = Election(roster)
        self.stream = Stream()
        self.streaming = True  # False: the turns have come, only stock clients still become masters
        self._roster = roster
        self._blocks = blocks

    @property
    def idle(self) -> bool:
        """Nobody is, or is asked to be, master."""
        return self.election.master is None and self.election.candidate is None

    def eligible(self, member: Member) -> bool:
        """Whether `member` may be asked at all."""
        return not member.gap_aware or (self.streaming and not member.at_end)

    def others(self, master: Member) -> bool:
        """Whether somebody else could be master."""
        return self._roster.any(
            lambda member: (
                member is not master
                and self.eligible(member)
                and member.skips < MAX_SKIPS
                and member.can_be_asked
            )
        )

    def given_up(self, member: Member) -> bool:
        """Whether it should have been master and did not answer, often enough."""
        return self.eligible(member) and member.skips >= MAX_SKIPS

    def vacate(self, member: Member) -> bool:
        """`member` is no longer master or candidate; True when it was."""
        was = self.election.vacate(member)
        if was:
            self.stream.unseat()
        return was

    def nominate_next(self, now: float) -> bool:
        """Offer mastership to the next in order; False when nobody is left to ask."""
        member = self.election.next_candidate(self.eligible)
        if member is not None:
            self.election.nominate(member, now)
        return member is not None

    def hand_over(self, member: Member, request: int, now: float) -> Member:
        """`member` clocks the running stream from now on. Gives the master before it."""
        before = self.election.master
        assert before is not None
        self.election.relieve(member)
        self.stream.take_over(request, member.plan.windowsize, member.total, now)
        return before

    def resume(self) -> None:
        """Blocks were never sent, and somebody came who may want them."""
        self.streaming = True

    def end_stream(self) -> None:
        """From now on turns are given."""
        self.streaming = False
        self.election.clear()
        self.stream.unseat()

    def deadline(self) -> float | None:
        """When the stream, the election or the master's silence needs a look."""
        soonest = earliest(self.stream.deadline(), self.election.deadline())
        master = self.election.master
        since = self.stream.waiting_since
        # The shortest patience first: who is patient with whom is worked out only near its end.
        if master is not None and since is not None and (soonest is None or since + DEAD_S < soonest):
            return earliest(soonest, since + self._patience(master))
        return soonest

    def check(self, now: float) -> str:
        """ALIVE, END, SKIP or LOST, for the master that sits there."""
        master = self.election.master
        if master is None or self.stream.waiting_since is None:
            return ALIVE
        silent = now >= self.stream.waiting_since + self._patience(master)
        if not silent and self.stream.stuck(now) < (STUCK_S if self.others(master) else LONE_S):
            return ALIVE
        if self._at_last_block(master):
            return END
        return SKIP if self.others(master) else LOST

    def _at_last_block(self, master: Member) -> bool:
        if not (self.streaming and master.gap_aware):
            return False
        return self.stream.top >= self._blocks and self.stream.probes >= LAST_PROBES

    def _patience(self, master: Member) -> float:
        """Seconds of silence after which something must happen."""
        if self._at_last_block(master) or self.others(master):
            return self.stream.patience()
        return LONE_END_S if self.stream.top >= self._blocks else LONE_S
