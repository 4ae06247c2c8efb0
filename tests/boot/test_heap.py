"""How the client keeps a small heap in one piece (firmware/lib/gapcast_boot/port.py)."""

from __future__ import annotations

import gc
import sys

import pytest
from boot_world import MiniServer, World

OFTEN_BYTES = 4096 if sys.maxsize < 1 << 32 else 8192


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What gc.threshold was told; the heap is of 112 KiB."""
    told: list[int] = []

    def threshold(*value: int) -> int:
        told.extend(value)
        return told[-1] if told else -1

    monkeypatch.setattr(gc, "threshold", threshold, raising=False)
    monkeypatch.setattr(gc, "mem_alloc", lambda: 60_000, raising=False)
    monkeypatch.setattr(gc, "mem_free", lambda: 50_000, raising=False)
    return told


def test_a_board_collects_often_until_the_application_starts(world: World, told: list[int]) -> None:
    with MiniServer({}).running() as server:
        world.agent.run(config=world.config(server.port))
    assert told[0] == OFTEN_BYTES
    assert told[-1] == -1


def test_it_does_not_while_a_session_goes_on(world: World, told: list[int]) -> None:
    port = world.agent.port
    port.collect_often(True)
    often = port.collect_often(False)
    assert often
    port.collect_often(often)
    assert told == [OFTEN_BYTES, -1, OFTEN_BYTES]


def test_with_external_memory_it_does_not(
    world: World, told: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a collection takes a tenth of a second and more."""
    monkeypatch.setattr(gc, "mem_free", lambda: 4_000_000, raising=False)
    world.agent.port.collect_often(True)
    assert told == []
