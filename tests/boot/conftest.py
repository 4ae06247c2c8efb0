"""The helpers beside these tests are importable by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from boot_world import MiniServer, World, files_of, make_container, open_world
from shipped import FACTORY, Board


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A simulated board inside this process: boards/SIM and the boot client, imported afresh."""
    yield from open_world(tmp_path, monkeypatch)


@pytest.fixture
def board(world: World) -> Iterator[Board]:
    world.program("ota_0", FACTORY)
    with MiniServer(files_of(make_container())).running() as server:
        yield Board(world, server)
