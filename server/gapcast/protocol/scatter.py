"""How losses scatter: in bursts or not, and from board to board (PROTOCOL.md section 11)."""

from __future__ import annotations

from collections.abc import Collection

from gapcast.protocol.needs import Needs

MIN_FREEDOM = 8  # degrees of it: lessons of all boards, less two a board
MIN_DISPERSION = 6.0  # times the variance of independent losses; bursts of 8 blocks have 8 and more
ALIKE_DISPERSION = 0.2  # of the same; of ten boards that have nothing in common one bench in 150 has less


def are_bursty(boards: Collection[Needs]) -> bool:
    """Whether the losses of boards scatter far more than independent ones would.

    The index of dispersion: of n datagrams with a loss p, n p (1 - p) is the variance. Each board has its p.
    The worst lesson of each board does not count: a board that was busy once, or late, has no bursts on its
    air. (Of 50 boards on two cores each is: 13 and more with it, 5 at most without.)
    """
    freedom = 0
    scatter = expected = 0.0
    for board in boards:
        if board.lessons > 2:
            gone, blocks = board.worst
            lost, total = board.lost - gone, board.total - blocks
            loss = lost / total
            freedom += board.lessons - 2
            scatter += board.squares - gone * gone / blocks - lost * loss
            expected += (board.lessons - 2) * loss * (1 - loss)
    return freedom >= MIN_FREEDOM and scatter > MIN_DISPERSION * expected


def are_alike(boards: Collection[Needs]) -> bool:
    """Whether boards lost so equal shares that they must have lost the same DATA, most of it.

    Then the neediest board lacks no more than others, and what it lacks is not more certain for their number.
    """
    told = [board for board in boards if board.total]
    total = sum(board.total for board in told)
    loss = sum(board.lost for board in told) / total if total else 0.0
    scatter = sum((board.lost - loss * board.total) ** 2 / board.total for board in told)
    return len(told) > 1 and scatter < ALIKE_DISPERSION * (len(told) - 1) * loss * (1 - loss)
