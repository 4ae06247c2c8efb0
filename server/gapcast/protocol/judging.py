"""What the needs of all boards together say about their mending (PROTOCOL.md section 11)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

from gapcast.protocol.needs import Needs, generations_of
from gapcast.protocol.planner import pair_is_cheaper, pairs_are_cheaper, should_mend
from gapcast.protocol.scatter import are_alike
from gapcast_core.plan import Plan

CAUTION = -0.3  # of the spread between boards, how much more than expected is sent before they report
# The same after the stream, where the air would else be idle until they do.
END_CAUTION = 0.8
ALIKE_CAUTION = -1.0  # when all lose the same: what one has no use for, none has
SPARE_LOSSES = 0.1  # so many symbols expected to be lost by boards that need them are worth one more then
LAST_GENERATIONS = 3  # not paired: nothing else is done while a board solves them, twice as long for a pair


def are_worth_mending(boards: Collection[Needs], passed: int, blksize: int) -> bool:
    """By what was reported of the generations gone by; nothing was sent yet, so it is what boards lost."""
    if not boards:
        return False
    missing = [
        [board.known[generation] for board in boards if generation < len(board.known)]
        for generation in range(passed)
    ]
    loss = sum(board.loss for board in boards) / len(boards)
    return should_mend(missing, len(boards), loss, blksize)


def is_pair_cheaper(boards: Collection[Needs], plan: Plan, generation: int) -> bool:
    """Whether this generation and the next, if there is one, are better mended as one. Some loss is known.

    Of interleaved generations most boards have told before their symbols are due.
    """
    if generation + 1 >= plan.count or (not plan.mixed and generation + LAST_GENERATIONS >= plan.count):
        return False
    told = [board.known[generation : generation + 2] for board in boards]
    needs = [(pair[0], pair[1]) for pair in told if len(pair) == 2]
    if plan.mixed and 2 * len(needs) >= len(told):
        return pair_is_cheaper(needs)
    return pairs_are_cheaper([board.loss for board in boards if board.lessons], plan.k)


def neediest(boards: Collection[Needs], plan: Plan, has_symbols: Callable[[int], bool]) -> int:
    """A generation that some board lacks; the last one tells who has not told of all that the end is near."""
    last = plan.count - 1
    if not (has_symbols(last) and any(len(board.known) <= last for board in boards)):
        for generation in range(last):
            if has_symbols(generation) and any(board.lacks(generation) for board in boards):
                return generation
    return int(last)


def symbols_needed(boards: Collection[Needs], plan: Plan, unit: int, sent: int, ended: bool) -> int:
    """Symbols to send of a unit for the neediest board.

    Args:
        sent: of this unit, so far.
        ended: the stream is over: nothing is sent while reports of one more symbol lost come in.
    """
    caution = END_CAUTION if ended else ALIKE_CAUTION if are_alike(boards) else CAUTION
    caution *= math.sqrt(2 * math.log(len(boards) or 1))
    generations = generations_of(plan, unit)
    blocks = [plan.blocks(generation) for generation in generations]
    first, last = generations[0], generations[-1]
    lacking = [board for board in boards if board.lacks(first) or board.lacks(last)]
    spare = None
    if ended:
        spare = sum(board.loss * board.told(generations) for board in lacking) > SPARE_LOSSES
    wants = (board.wants(generations, blocks, sent, caution, spare) for board in lacking)
    return math.floor(max(wants, default=0.0) + 0.5)
