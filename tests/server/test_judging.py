"""What the needs of boards together come to (protocol/judging.py)."""

from __future__ import annotations

import pytest

from gapcast.protocol.judging import LAST_GENERATIONS, is_pair_cheaper, symbols_needed
from gapcast.protocol.needs import Needs
from gapcast_core.plan import Plan, alone, whole

PLAN = Plan(20 * 64, 64)


def board(loss: float, known: list[int]) -> Needs:
    return Needs(0.0, loss=loss, lessons=1, known=known, base=[0] * len(known))


def needed(boards: list[Needs], sent: int, ended: bool, generation: int = 0) -> int:
    return symbols_needed(boards, PLAN, alone(generation), sent, ended)


def test_one_board_that_lacks_a_symbol_gets_one() -> None:
    assert needed([board(0.1, [1])], 0, ended=False) == 1
    assert needed([board(0.1, [1])], 0, ended=True) == 1, "a second one would seldom be of use"


def test_after_the_stream_several_boards_get_one_more() -> None:
    boards = [board(0.1, [1]) for _ in range(3)]
    assert needed(boards, 0, ended=False) == 1
    assert needed(boards, 0, ended=True) == 2
    assert needed(boards, 2, ended=True) == 0, "until one says that it still lacks some"


def test_without_loss_there_is_no_spare_symbol() -> None:
    assert needed([board(0.0, [2]) for _ in range(50)], 0, ended=True) == 2


def test_boards_with_nothing_lacking_want_nothing() -> None:
    assert needed([board(0.3, [0]) for _ in range(50)], 0, ended=True) == 0


@pytest.mark.parametrize("count", [2, 10, 50])
def test_after_the_stream_more_is_sent_to_boards_that_did_not_tell(count: int) -> None:
    boards = [board(0.1, []) for _ in range(count)]
    assert needed(boards, 0, ended=True) > needed(boards, 0, ended=False) > 0


def test_boards_that_lose_the_same_are_sent_less_before_they_report() -> None:
    boards = [board(0.1, []) for _ in range(10)]
    expected = needed(boards, 0, ended=False)
    for each, lost in zip(boards, (60, 60, 61, 60, 60, 60, 61, 60, 60, 60), strict=True):
        each.total, each.lost = 600, lost
    assert 0 < needed(boards, 0, ended=False) < expected


def test_the_last_generations_are_not_paired() -> None:
    boards = [board(0.02, []) for _ in range(10)]
    paired = [is_pair_cheaper(boards, PLAN, generation) for generation in range(0, PLAN.count, 2)]
    assert paired == [True] * ((PLAN.count - LAST_GENERATIONS) // 2 + 1) + [False]
    mixed = Plan(20 * 64, 64)
    mixed.mix()
    assert is_pair_cheaper([board(0.02, [1] * 20)] * 10, mixed, 18)


def test_a_pair_is_counted_as_a_whole() -> None:
    assert symbols_needed([board(0.0, [2, 3])], PLAN, whole(0), 0, False) == 5
