"""Which way of repair costs the least air."""

from __future__ import annotations

import random

import pytest

from gapcast.protocol.planner import costs, pairs_are_cheaper, should_mend

BLKSIZE = 1024


def losses(boards: int, generations: int, loss: float, seed: int = 1) -> list[list[int]]:
    """For each generation of 64 what each board missed."""
    rng = random.Random(seed)
    return [[sum(rng.random() < loss for _ in range(64)) for _ in range(boards)] for _ in range(generations)]


@pytest.mark.parametrize("loss", [0.01, 0.1, 0.4])
def test_one_board_alone_is_never_mended(loss: float) -> None:
    assert not should_mend(losses(1, 33, loss), 1, loss, BLKSIZE)


@pytest.mark.parametrize("boards", [2, 3, 5])
def test_a_few_gaps_stay_plain_tftp(boards: int) -> None:
    missing = [[0] * boards for _ in range(33)]
    for board in range(boards):
        missing[board * 5][board] = 3
    assert not should_mend(missing, boards, 0.002, BLKSIZE)


def test_no_loss_is_not_mended() -> None:
    assert not should_mend([[0] * 50] * 33, 50, 0.0, BLKSIZE)
    assert not should_mend([], 50, 0.0, BLKSIZE)
    assert not should_mend([[]] * 33, 50, 0.0, BLKSIZE)


@pytest.mark.parametrize(("boards", "loss"), [(3, 0.1), (10, 0.02), (10, 0.2), (50, 0.1), (200, 0.01)])
def test_many_gaps_of_many_boards_are_mended(boards: int, loss: float) -> None:
    assert should_mend(losses(boards, 3, loss), boards, loss, BLKSIZE)


def test_the_cost_of_unicast_is_what_all_miss() -> None:
    found = costs([[5, 3]], 2, 0.0, BLKSIZE)
    assert 8 * 1070 <= found.unicast_bytes < 8 * 1070 + 1000
    assert 5 * 1070 <= found.multicast_bytes < 6 * 1070


def test_boards_that_have_not_told_count_as_the_others() -> None:
    some = costs([[6, 7]], 40, 0.1, BLKSIZE)
    all_told = costs([[6, 7] * 20], 40, 0.1, BLKSIZE)
    assert some.unicast_bytes == pytest.approx(all_told.unicast_bytes)
    assert some.multicast_bytes > all_told.multicast_bytes, "the worst of forty is worse than of two"


def test_pairs_pay_while_their_losses_fit_a_board() -> None:
    assert pairs_are_cheaper([0.1] * 50, 64)
    assert pairs_are_cheaper([0.08] * 10, 64)
    assert pairs_are_cheaper([0.1] * 200, 64)
    assert not pairs_are_cheaper([0.2] * 10, 64)
    assert not pairs_are_cheaper([0.14] * 50, 64)
    assert not pairs_are_cheaper([0.05] * 25 + [0.22] * 25, 64), "half of them would need a surplus each"
    assert not pairs_are_cheaper([0.0] * 10, 64)
    assert not pairs_are_cheaper([0.1], 64), "one board alone has no neediest"
