"""Nothing boots that is not complete, and no power cut costs more than a chunk (DESIGN.md section 1.5).

The power is cut at every operation on flash, otadata and NVS, with nothing of it done and with half of it
done; once, and twice in a row. GAPCAST_ALL_CUTS=1 tries every pair (minutes); otherwise a part of them.
"""

from __future__ import annotations

import os

import pytest
from boot_world import World
from rig import CHUNK, Rig, Snapshot, Tally, container_of, cut_points

IMAGE = 64 * 1024
ALL = bool(os.environ.get("GAPCAST_ALL_CUTS"))
PAIR_STRIDE = 1 if ALL else 37  # a prime: it wanders through all kinds of operations


def stale_slot() -> bytes:
    """What an older image left in the other slot."""
    return bytes(container_of(72 * 1024, "1.5.0", seed=9).data[1024:])


def same_slot(rig: Rig) -> bytes:
    """The new image itself, but for one chunk."""
    data = bytearray(rig.new.data[1024:])
    data[5 * CHUNK : 6 * CHUNK] = bytes(CHUNK)
    return bytes(data)


def make_rig(world: World, kind: str) -> Rig:
    rig = Rig(world, IMAGE, loss=0.3 if "loss" in kind else 0.0)
    rig.is_stock = "stock" in kind
    start = rig.snapshot()
    if "stale" in kind:
        start.flash["ota_1"] = stale_slot()
    if "same" in kind:
        start.flash["ota_1"] = same_slot(rig)
    rig.restore(start)
    return rig


KINDS = ["blank", "stale", "loss", "stale loss", "same", "stock", "stock stale loss"]


def finish(rig: Rig, cuts: int, limit: int) -> int:
    """The power stays; image bytes fetched again, per cut."""
    assert not rig.live().cut
    rig.assert_updated()
    again = rig.again_bytes() - limit
    assert again <= CHUNK * cuts, f"{again} bytes again after {cuts} cuts"
    return max(again, 0) // cuts


def baseline(rig: Rig, start: Snapshot) -> tuple[int, int]:
    """(operations of an update without a cut, image bytes that it fetches beyond the image's)."""
    rig.restore(start)
    rig.forget_counts()
    life = rig.live()
    assert not life.cut
    rig.assert_updated()
    return life.ops, rig.again_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_one_cut_at_every_operation(world: World, tally: Tally, kind: str) -> None:
    rig = make_rig(world, kind)
    start = rig.snapshot()
    ops, extra = baseline(rig, start)
    worst = 0
    points = cut_points(ops)
    for at, half in points:
        rig.restore(start)
        rig.forget_counts()
        assert rig.live(at, half).cut, (at, half)
        worst = max(worst, finish(rig, 1, extra))
    assert len(points) >= 2 * (rig.new.header.chunks * (4 if kind != "same" else 0) + 10)
    tally.tell(f"64 KiB, {kind}, once", len(points), worst)


@pytest.mark.timeout(3 * 3600 if ALL else 120)
@pytest.mark.parametrize("kind", ["blank", "stale loss"])
def test_two_cuts_in_a_row(world: World, tally: Tally, kind: str) -> None:
    rig = make_rig(world, kind)
    start = rig.snapshot()
    ops, extra = baseline(rig, start)
    worst = tried = number = 0
    for at, half in cut_points(ops):
        rig.restore(start)
        rig.forget_counts()
        rig.live(at, half)
        middle, fetched, reports = rig.snapshot(), rig.fetched_bytes, list(rig.reports)
        # How many operations there are for the second cut is known when it does not come any more.
        second = 0
        while True:
            number += 1
            second += 1
            if number % PAIR_STRIDE:
                if second > 2 * ops + 100:
                    break
                continue
            rig.restore(middle)
            rig.fetched_bytes = fetched
            rig.reports[:] = reports
            if not rig.live((second + 1) // 2, bool(second % 2)).cut:
                break
            tried += 1
            worst = max(worst, finish(rig, 2, extra))
    assert tried >= (ops * ops // 2 if ALL else ops)
    tally.tell(f"64 KiB, {kind}, {'every pair' if ALL else 'some pairs'}", tried, worst)
