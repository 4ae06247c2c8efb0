"""When generations that have gone by are mended (PROTOCOL.md section 11)."""

from __future__ import annotations

from gapcast_core.plan import Plan

HOLD_GENERATIONS = 5  # until then it shows whether losses come in bursts
CATCH_UP_BLOCKS = 32  # of the stream for each generation that was held back
REPORTS_BLOCKS = 6  # within so many blocks of the stream boards tell what they need of a group


def released(plan: Plan, passed: int, top: int, ended: bool) -> int:
    """How many generations may be mended now.

    A board keeps symbols of one or two units, and takes as long to solve one as half of it takes to be
    sent. So those of an interleaved group, which go by all at once, are mended one by one while the next
    group is streamed.

    Args:
        passed: generations that have gone by. top: the last block that the stream has sent.
        ended: the stream is over.
    """
    if ended:
        return passed
    if not plan.mixed:
        k: int = plan.k
        return min(passed, max((top - HOLD_GENERATIONS * k) // CATCH_UP_BLOCKS + 1, 0))
    if not passed or passed == plan.count:
        return passed
    begin: int = plan.begin(passed - 1)
    end: int = plan.last(begin)
    gone = top - end
    streaming: int = plan.last(passed) - end
    if gone < REPORTS_BLOCKS:
        return begin
    return min(passed, begin + gone * (passed - begin) // streaming + 1)
