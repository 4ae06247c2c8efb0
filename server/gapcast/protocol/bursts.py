"""Whether losses come in bursts, by how much boards lost between their reports (PROTOCOL.md section 11)."""

from __future__ import annotations

from collections.abc import Iterable

from gapcast.protocol.needs import Needs

MIN_FREEDOM = 8  # degrees of it: lessons of all boards, less one a board
MIN_DISPERSION = 3.0  # times the variance of independent losses; bursts of 8 blocks have some 10


def are_bursty(boards: Iterable[Needs]) -> bool:
    """Whether the losses of boards scatter far more than independent ones would.

    The index of dispersion: of n datagrams with a loss p, n p (1 - p) is the variance. Each board has its p.
    """
    freedom = 0
    scatter = expected = 0.0
    for board in boards:
        if board.lessons > 1:
            loss = board.lost / board.total
            freedom += board.lessons - 1
            scatter += board.squares - board.lost * loss
            expected += (board.lessons - 1) * loss * (1 - loss)
    return freedom >= MIN_FREEDOM and scatter > MIN_DISPERSION * expected
