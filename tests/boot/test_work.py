"""How a board measures its own speed, and when it says so (gapcast_boot/work.py)."""

from __future__ import annotations

import pytest
from boot_world import World


class Bench:
    """A Work with a clock of its own."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        from gapcast_boot import work

        self.us = 0
        self.said: list[int] = []
        monkeypatch.setattr(world.port, "ticks_us", lambda: self.us)
        self.work = work.Work()
        self.work.begin(self.said.append)

    def blocks(self, count: int, write_us: int, between_us: int = 100) -> None:
        for _ in range(count):
            self.us += between_us
            self.work.start()
            self.us += write_us
            self.work.done(self.us // 1000)


@pytest.fixture
def bench(world: World, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(world, monkeypatch)


def test_the_third_block_is_when_the_server_hears_of_it(bench: Bench) -> None:
    bench.blocks(1, 0)  # a header, which is not written to flash
    bench.blocks(1, 2400)
    assert bench.said == []
    bench.blocks(1, 2400)
    assert bench.said == [2500]


def test_waiting_is_no_work(bench: Bench) -> None:
    bench.blocks(64, 2400, 50_000)
    assert max(bench.said) <= 2400 * 9 / 8 + 125
    bench.work.begin(bench.said.append)
    bench.blocks(4, 2400, 200)
    assert bench.said[-1] == 2600


def test_it_is_said_again_when_it_changed_or_after_two_seconds(bench: Bench) -> None:
    bench.blocks(320, 2400)  # 0.8 s
    assert len(bench.said) == 1
    bench.blocks(640, 2400)
    assert bench.said == [2500, 2500]
    bench.blocks(320, 4800)
    assert len(bench.said) > 2
    assert bench.said[-1] == pytest.approx(4900, rel=0.05)


def test_one_long_pause_changes_little(bench: Bench) -> None:
    bench.blocks(100, 2400)
    bench.blocks(1, 200_000)
    bench.blocks(100, 2400)
    assert max(bench.said) < 2400 * 1.1


def test_a_change_of_microseconds_is_not_worth_a_word(bench: Bench) -> None:
    """A board whose flash takes next to nothing (RAM, a simulated one) is always quicker than the air."""
    bench.blocks(3, 20, 5)
    bench.blocks(640, 60, 5)
    assert bench.said == [25]
    bench.blocks(96, 400, 5)
    assert bench.said[-1] > 300


def test_a_flash_that_takes_milliseconds_is_slow(bench: Bench) -> None:
    bench.blocks(64, 400)
    assert not bench.work.is_slow
    bench.blocks(320, 2400)
    assert bench.work.is_slow
