"""How to repair what boards miss at the least cost of air (PROTOCOL.md section 8).

Costs are bytes on the air: what a datagram costs is its payload and HEADERS_BYTES.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gapcast.protocol.types import HEADERS_BYTES

OACK_BYTES = 70 + HEADERS_BYTES
RANGES_A_PAGE = 45  # what a request of 512 octets holds of scattered gaps
LOSS_MAX = 0.5  # beyond, no estimate helps

Lacks = Sequence[int]  # missing blocks of generation 0, 1, ...


@dataclass(frozen=True, slots=True)
class Costs:
    """Air bytes of the two ways, for all the boards that are expected."""

    unicast_bytes: float
    multicast_bytes: float

    @property
    def multicast_is_cheaper(self) -> bool:
        """Whether the boards should listen together."""
        return self.multicast_bytes < self.unicast_bytes


def loss_of(lacks: Lacks, blocks: int) -> float:
    """The share of blocks a board missed: what it will miss of the next ones too."""
    return min(sum(lacks) / blocks, LOSS_MAX) if blocks else 0.0


def costs(reports: Sequence[Lacks], expected: int, blocks: int, blksize: int) -> Costs:
    """Air bytes of repairing by unicast `ranges`, and by repair symbols to a group.

    Args:
        reports: what each board that reported lacks of each generation; at least one.
        expected: boards that will ask altogether, those that reported included.
        blocks: of the file.
        blksize: bytes.
    """
    frame = blksize + 4 + HEADERS_BYTES
    boards = max(expected, len(reports))
    mean_blocks = sum(map(sum, reports)) / len(reports)
    pages = math.ceil(mean_blocks / RANGES_A_PAGE)
    unicast = boards * (mean_blocks * frame + pages * OACK_BYTES)
    loss = sum(loss_of(lacks, blocks) for lacks in reports) / len(reports)
    symbols = sum(
        _expected_most([lacks[generation] for lacks in reports], boards)
        for generation in range(len(reports[0]))
    )
    return Costs(unicast, symbols * frame / (1 - loss) + boards * OACK_BYTES)


def _expected_most(counts: Sequence[int], boards: int) -> float:
    """The most that any of `boards` misses of one generation, when only some have told.

    Losses scatter like Poisson's: the largest of n lies about sqrt(2 ln n) deviations above the mean.
    """
    most = float(max(counts))
    if boards > len(counts):
        mean = sum(counts) / len(counts)
        most = max(most, mean + math.sqrt(2 * math.log(boards) * mean))
    return most
