"""How the client keeps a small heap in one piece (firmware/lib/gapcast_boot/port.py)."""

from __future__ import annotations

import gc

import pytest
from boot_world import MiniServer, World


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What gc.threshold was told; the heap is of 112 KiB."""
    told: list[int] = []
    monkeypatch.setattr(gc, "threshold", told.append, raising=False)
    monkeypatch.setattr(gc, "mem_alloc", lambda: 60_000, raising=False)
    monkeypatch.setattr(gc, "mem_free", lambda: 50_000, raising=False)
    return told


def test_a_board_collects_often_until_the_application_starts(world: World, told: list[int]) -> None:
    with MiniServer({}).running() as server:
        world.agent.run(config=world.config(server.port))
    assert told[0] == 6144
    assert told[-1] == -1


def test_not_while_a_pool_is_made(world: World, told: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it stays, so a collection would find nothing."""
    from gapcast_boot import mending

    at_pool: list[int] = []
    monkeypatch.setattr(mending.fec, "Pool", lambda *_what: at_pool.append(told[-1]))
    mending._make_pool(1024)
    assert at_pool == [-1]
    assert told[-1] == 6144


def test_with_external_memory_it_does_not(
    world: World, told: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a collection takes a tenth of a second and more."""
    monkeypatch.setattr(gc, "mem_free", lambda: 4_000_000, raising=False)
    world.agent.port.collect_often(True)
    assert told == []
