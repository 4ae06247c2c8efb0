"""Boards that lose the same datagrams (PROTOCOL.md section 11): no more is sent than they report."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from gapcast.protocol import judging
from gapcast.protocol.needs import Needs
from gapcast.protocol.scatter import are_alike
from gapcast_core import wire

from . import mended_bench
from .mended_bench import Bench
from .virtual import Link


def fleet(*lost: list[int]) -> list[Needs]:
    """Boards, by what each lost of 64 datagrams between two reports."""
    boards = [Needs(0.0) for _board in lost]
    for board, each in zip(boards, lost, strict=True):
        for lesson, gone in enumerate(each, 1):
            board.learn(64 * lesson, board.count + 64 - gone)
    return boards


def test_boards_that_lose_the_same_are_alike() -> None:
    assert are_alike(fleet([6, 9, 4], [6, 9, 4], [6, 8, 5]))
    assert are_alike(fleet([6, 9, 4] * 4, [6, 9, 4] * 3)), "one reports later"
    assert not are_alike(fleet([6, 9, 4], [12, 1, 10], [3, 5, 4]))
    assert not are_alike(fleet([6, 9, 4], [6, 9, 4], [0, 0, 0]))


def test_of_too_few_nothing_is_known() -> None:
    assert not are_alike([])
    assert not are_alike(fleet([6, 9, 4]))
    assert not are_alike([*fleet([6, 9, 4]), Needs(0.0)])
    assert not are_alike(fleet([0, 0], [0, 0])), "nothing is lost"


def same_radio(loss: float, seed: int) -> Callable[[float, object], Link]:
    """For mended_bench.radio. Of a datagram that is repeated each one has its own fate."""
    rng = random.Random(seed)
    fate: dict[tuple[bytes, int], bool] = {}

    def radio(_loss: float, _seed: object) -> Link:
        heard: Counter[bytes] = Counter()

        def drop(data: bytes) -> bool:
            if data[1] != wire.OP_DATA:
                return False
            heard[data[:12]] += 1
            what = data[:12], heard[data[:12]]
            if what not in fate:
                fate[what] = rng.random() < loss
            return fate[what]

        return Link(delay=(0.0005, 0.0015), drop=drop)

    return radio


def air(seed: int, monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(mended_bench, "radio", same_radio(0.1, seed))
    bench = Bench(2057, seed)
    bench.boards(10, 0.1)
    bench.play()
    return bench.air


def test_the_air_that_the_same_loss_for_all_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of 1070 bytes and one in ten lost are 1.161 images, without headers, offers and turns."""
    known = sum(air(seed, monkeypatch) for seed in range(6)) / 6
    assert known < 1.175
    monkeypatch.setattr(judging, "are_alike", lambda _boards: False)
    assert sum(air(seed, monkeypatch) for seed in range(6)) / 6 > known + 0.003
