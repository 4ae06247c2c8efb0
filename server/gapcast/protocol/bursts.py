"""Whether losses come in bursts, by how much boards lost between their reports (PROTOCOL.md section 11)."""

from __future__ import annotations

from collections.abc import Iterable

from gapcast.protocol.needs import Needs

MIN_FREEDOM = 8  # degrees of it: lessons of all boards, less two a board
MIN_DISPERSION = 6.0  # times the variance of independent losses; bursts of 8 blocks have 8 and more


def are_bursty(boards: Iterable[Needs]) -> bool:
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
