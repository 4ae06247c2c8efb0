"""Losses in bursts: interleaved generations, from when it shows (PROTOCOL.md section 11)."""

from __future__ import annotations

import random

import pytest

from gapcast.protocol.needs import Needs
from gapcast.protocol.planner import pair_is_cheaper
from gapcast.protocol.release import HOLD_GENERATIONS, released
from gapcast.protocol.scatter import are_bursty
from gapcast_core import generations, wire
from gapcast_core.plan import Plan

from . import mended_bench
from .mended_bench import RATE, REPAIR, Bench, outcomes
from .virtual import Link

BURST_BLOCKS = 8
SLOT_S = 1070 * 8 / RATE


def bursty_radio(bench: Bench, loss: float, seed: object) -> Link:
    """Gilbert and Elliott's: good or bad, and a bad time lasts as long as 8 blocks on average."""
    rng = random.Random(f"{seed}")
    keep = 1 - 1 / BURST_BLOCKS - loss / BURST_BLOCKS / (1 - loss)
    is_bad = False
    seen_at = bench.net.now

    def drop(data: bytes) -> bool:
        nonlocal is_bad, seen_at
        if data[1] != wire.OP_DATA:
            return False
        slots = max((bench.net.now - seen_at) / SLOT_S, 1.0)
        seen_at = bench.net.now
        is_bad = rng.random() < loss + ((1 - loss) if is_bad else -loss) * keep ** min(slots, 500)
        return is_bad

    return Link(delay=(0.0005, 0.0015), drop=drop)


def bench_of(
    blocks: int, boards: int, loss: float, seed: int, monkeypatch: pytest.MonkeyPatch, **kind: bool
) -> Bench:
    bench = Bench(blocks, seed)
    monkeypatch.setattr(mended_bench, "radio", lambda loss, seed: bursty_radio(bench, loss, seed))
    bench.boards(boards, loss, **kind)
    return bench


def mixed_symbols(bench: Bench) -> int:
    numbers = [data[2] << 8 | data[3] for _when, _from, to, data in bench.net.sent if to == REPAIR]
    return sum((number & 0xC000) == 0xC000 for number in numbers)


@pytest.mark.parametrize(("boards", "loss", "air", "time"), [(10, 0.1, 1.36, 1.43), (20, 0.05, 1.26, 1.33)])
def test_the_air_that_bursts_cost(
    boards: int, loss: float, air: float, time: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without interleaving 1.60 for the first, and 1.44."""
    for seed in (1, 2, 3):
        bench = bench_of(2057, boards, loss, seed, monkeypatch)
        bench.play()
        bench.over()
        assert outcomes(bench) == {"complete"}
        assert bench.air < air
        assert bench.finished * RATE / 8 / len(bench.data) < time
        assert mixed_symbols(bench)


@pytest.mark.parametrize("blocks", [300, 520])
def test_every_byte_is_decoded(blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_of(blocks, 6, 0.15, 1, monkeypatch, decode=True)
    bench.play()
    bench.over()
    assert outcomes(bench) == {"complete"}
    assert mixed_symbols(bench)


@pytest.mark.parametrize("loss", [0.02, 0.1, 0.2])
def test_independent_losses_are_not_taken_for_bursts(loss: float) -> None:
    for seed in (1, 2, 3):
        bench = Bench(700, seed)
        bench.boards(10, loss)
        bench.play()
        assert mixed_symbols(bench) == 0


def test_a_board_that_hears_the_last_of_a_mixed_stream_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts in the old way until it hears an interleaved symbol."""
    bench = bench_of(700, 8, 0.12, 2, monkeypatch)
    board = bench.boards(1, 0.1)[0]
    radio = board.link.drop
    board.link.drop = lambda data: radio(data) or (data[1] == 3 and data[2] >= 0xC0 and bench.net.now < 101.2)
    bench.play()
    bench.over()
    assert outcomes(bench) == {"complete"}


def lessons(board: Needs, lost: list[int], blocks: int = 64) -> None:
    place = heard = 0
    for each in lost:
        place += blocks
        heard += blocks - each
        board.learn(place, heard)


def test_what_scatters_too_much_is_bursty() -> None:
    even, odd = Needs(0.0), Needs(0.0)
    lessons(even, [6, 8, 5, 7, 6, 9, 4, 6, 7, 5])
    lessons(odd, [0, 20, 1, 0, 17, 2, 0, 24, 0, 1])
    assert not are_bursty([even])
    assert are_bursty([odd])
    assert not are_bursty([])
    assert not are_bursty([Needs(0.0)])


def test_boards_of_different_loss_are_not_bursty() -> None:
    boards = [Needs(0.0) for _board in range(6)]
    for number, board in enumerate(boards):
        lessons(board, [number * 5] * 4)
    assert not are_bursty(boards)


def test_units_are_released_one_by_one() -> None:
    plan = Plan(2057, 64)
    assert released(plan, 2, 190, False) == 0, "it may turn out that losses come in bursts"
    assert released(plan, HOLD_GENERATIONS, 64 * HOLD_GENERATIONS, False) == 1
    assert released(plan, 10, 640, False) == 10
    plan.mix()
    assert [released(plan, 24, top, False) for top in (1536, 1542, 1552, 1900)] == [0, 1, 2, 23]
    assert [released(plan, 30, top, False) for top in (1920, 1926)] == [24, 25]
    assert released(plan, 33, 2057, True) == 33


def test_a_pair_by_what_was_told() -> None:
    assert pair_is_cheaper([(9, 3), (3, 9)])
    assert not pair_is_cheaper([(15, 15), (14, 15), (15, 14), (15, 13)]), "the surplus of each"
    assert generations.POOL_BLOCKS == 20
