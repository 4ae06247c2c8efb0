"""How to repair what boards miss at the least cost of air (PROTOCOL.md section 11).

Costs are bytes on the air: what a datagram costs is its payload and HEADERS_BYTES.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gapcast.protocol.types import HEADERS_BYTES
from gapcast_core.generations import MAX_SURPLUS_BLOCKS, POOL_BLOCKS
from gapcast_core.wire import HEADER_BYTES

OACK_BYTES = 70 + HEADERS_BYTES
RANGES_A_PAGE = 45  # what a request of 512 octets holds of scattered gaps
MARGIN_FRAMES = 16  # so much must be saved: a few gaps stay plain TFTP
MIN_BOARDS = 2  # a symbol for one board is no better than its block


@dataclass(frozen=True, slots=True)
class Costs:
    """Air bytes of the two ways, for all the boards that are expected."""

    unicast_bytes: float
    multicast_bytes: float


def costs(missing: Sequence[Sequence[int]], boards: int, loss: float, blksize: int) -> Costs:
    """Air bytes of repairing by unicast `ranges`, and by repair symbols to a group.

    Args:
        missing: for each generation the blocks missing, one count a board that reported it.
        boards: all that are expected to report.
        loss: the share of symbols that a board will miss too.
        blksize: bytes.
    """
    blocks = 0.0  # that one board lacks
    symbols = 0.0  # so that each board has enough
    for counts in missing:
        if counts:
            blocks += sum(counts) / len(counts)
            symbols += _expected_most(counts, boards)
    frame = blksize + HEADER_BYTES + HEADERS_BYTES
    pages = 1 + math.ceil(blocks / RANGES_A_PAGE)  # the turn, and each request, are answered by an OACK
    unicast = boards * (blocks * frame + pages * OACK_BYTES) if blocks else 0.0
    return Costs(unicast, symbols * frame / (1 - loss))


def should_mend(missing: Sequence[Sequence[int]], boards: int, loss: float, blksize: int) -> bool:
    """Whether repair symbols are the cheaper way, by enough; see costs()."""
    if boards < MIN_BOARDS:
        return False
    found = costs(missing, boards, loss, blksize)
    return found.multicast_bytes + MARGIN_FRAMES * blksize < found.unicast_bytes


def is_cheaper_to_all(boards: int, blocks: int) -> bool:
    """Whether all of so many blocks are better sent to the group than to each of so many boards.

    Each of them lacks more than symbols, and some blocks one by one, can give it.
    """
    return boards * (POOL_BLOCKS + MAX_SURPLUS_BLOCKS) > blocks


def pairs_are_cheaper(losses: Sequence[float], k: int) -> bool:
    """Whether symbols made of two generations together cost less air than symbols of each.

    The neediest of n boards lacks about sqrt(2 ln n) deviations more than the mean, and the deviation of a
    pair is less than that of two generations one by one. But a board can solve for POOL_BLOCKS only: its
    surplus has to be sent as it is. That of the neediest board costs no more than symbols would; that of
    others is of no use to it.

    Args:
        losses: of each board that has reported; from few blocks, so they are taken half way to their mean.
        k: blocks of a generation.
    """
    mean = sum(losses) / len(losses)
    extreme = math.sqrt(2 * math.log(len(losses)))
    deviation = math.sqrt(k * mean * (1 - mean))
    saved = (2 - math.sqrt(2)) * extreme * deviation
    neediest = 2 * k * mean + extreme * math.sqrt(2) * deviation - POOL_BLOCKS
    surplus = sum(_surplus(2 * k, (mean + loss) / 2) for loss in losses)
    return surplus - max(neediest, 0.0) < saved


def pair_is_cheaper(needs: Sequence[tuple[int, int]]) -> bool:
    """The same as pairs_are_cheaper, when boards have told what they need of each generation of a pair."""
    pair = _unit_cost([first + second for first, second in needs])
    return pair <= _unit_cost([first for first, _ in needs]) + _unit_cost([second for _, second in needs])


def _unit_cost(needs: Sequence[int]) -> int:
    """Symbols and single blocks for one unit."""
    surplus = sum(max(need - POOL_BLOCKS, 0) for need in needs)
    return surplus + max(min(need, POOL_BLOCKS) for need in needs)


def _surplus(blocks: int, loss: float) -> float:
    """How many blocks beyond POOL_BLOCKS a board is expected to lose of so many (normal distribution)."""
    mean = blocks * loss
    deviation = math.sqrt(mean * (1 - loss))
    if not deviation:
        return 0.0
    above = (mean - POOL_BLOCKS) / deviation
    density = math.exp(-above * above / 2) / math.sqrt(2 * math.pi)
    return deviation * (density + above * (1 + math.erf(above / math.sqrt(2))) / 2)


def _expected_most(counts: Sequence[int], boards: int) -> float:
    """The most that any of `boards` misses of one generation, when only some have told.

    Losses scatter like Poisson's: the largest of n lies about sqrt(2 ln n) deviations above the mean.
    """
    most = float(max(counts))
    if boards > len(counts):
        mean = sum(counts) / len(counts)
        most = max(most, mean + math.sqrt(2 * math.log(boards) * mean))
    return most
