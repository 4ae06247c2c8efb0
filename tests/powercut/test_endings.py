"""Power cuts while an image goes back, flips in every chunk, and an image of full size at random points."""

from __future__ import annotations

import random

import pytest
from boot_world import World
from rig import CHUNK, Rig, Tally, cut_points

BIG_IMAGE = 1536 * 1024
BIG_POINTS = 500
PARTS = 5  # so that each test stays well below the time limit


def assert_rolled_back(rig: Rig) -> None:
    """The old application runs, the new one is known to be bad, and is not taken again."""
    assert not rig.runs_new(rig.world.esp32._running_slot)
    assert "gapcast.trial" not in rig.nvs()
    assert "gapcast.failed" in rig.nvs()
    fetched = rig.fetched_bytes
    life = rig.live()
    assert (life.cut, life.boots, rig.told.outcome) == (False, 1, "refused")
    assert rig.told.detail.startswith("rolled_back_before")
    assert rig.fetched_bytes == fetched


@pytest.mark.parametrize("app", ["exception", "hang"])
def test_cuts_while_an_image_goes_back(world: World, tally: Tally, app: str) -> None:
    """From the moment that the new image is complete: a trial, its end, and what is remembered of it."""
    rig = Rig(world, 16 * 1024)
    rig.app = app
    start = rig.snapshot()
    life = rig.live()
    assert life.outcomes == ["updated reset", "on_trial reset", "rolled_back"]
    assert_rolled_back(rig)
    states = [told.state for told in rig.reports]
    assert states == [1, 3]  # installed, rolled back
    assert ("ZeroDivisionError" if app == "exception" else "alive") in rig.reports[-1].reason
    worst = 0
    points = cut_points(life.ops)
    for at, half in points:
        rig.restore(start)
        rig.forget_counts()
        assert rig.live(at, half).cut, (at, half)
        assert not rig.live().cut
        assert_rolled_back(rig)
        assert rig.reports[-1].state == 3
        worst = max(worst, rig.again_bytes())
        assert worst <= CHUNK
    assert len(points) >= 2 * (5 * 4 + 15)
    tally.tell(f"16 KiB, rolled back by {app}, once", len(points), worst)


@pytest.mark.parametrize("chunk", range(16))
def test_a_flip_in_any_chunk_is_found_repaired_and_counted(world: World, chunk: int) -> None:
    rig = Rig(world, 64 * 1024)
    assert rig.new.header.chunks == 16
    for block in range(2 + 4 * chunk, 6 + 4 * chunk):
        rig.world.power.reset()
        rig.restore(rig.factory)
        rig.forget_counts()
        rig.flips.add(block)
        rig.live()
        rig.assert_updated()
        assert rig.bad_chunks == [1], block
        assert rig.again_bytes() == CHUNK
        rig.bad_chunks.clear()


def test_a_flip_in_the_digest_table_is_found(world: World) -> None:
    rig = Rig(world, 64 * 1024)
    rig.flips.add(len(rig.new.data) // 1024)
    rig.live()
    rig.assert_updated()
    assert rig.bad_chunks == [1]


def test_a_chunk_that_changes_in_flash_between_two_boots_is_found(world: World) -> None:
    """Damage that comes after the block was written: found at the next boot, and fetched alone."""
    rig = Rig(world, 64 * 1024)
    assert rig.live(cut_at=60).cut
    damaged = rig.snapshot()
    data = bytearray(damaged.flash["ota_1"])
    data[3 * CHUNK + 77] = 0
    damaged.flash["ota_1"] = bytes(data)
    rig.restore(damaged)
    rig.live()
    rig.assert_updated()
    assert rig.again_bytes() <= 2 * CHUNK


@pytest.mark.parametrize("part", range(PARTS))
def test_random_cuts_of_a_big_image(world: World, tally: Tally, part: int) -> None:
    rig = Rig(world, BIG_IMAGE, loss=0.05 * (part % 3))
    life = rig.live()
    rig.assert_updated()
    extra = rig.again_bytes()
    dice = random.Random(part)
    worst = 0
    tried = BIG_POINTS // PARTS
    for _point in range(tried):
        rig.restore(rig.factory)
        rig.forget_counts()
        at, half = dice.randint(1, life.ops), dice.random() < 0.5
        assert rig.live(at, half).cut
        assert not rig.live().cut
        rig.assert_updated()
        worst = max(worst, rig.again_bytes() - extra)
        assert worst <= CHUNK, (at, half)
    tally.tell(f"1.5 MiB, {rig.loss:.0%} of the blocks lost, random", tried, worst)
