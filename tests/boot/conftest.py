"""The helpers beside these tests are importable by name."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from boot_world import MiniServer, World, files_of, make_container, open_world
from shipped import FACTORY, Board
from watch_bench import Watching

_watched = itertools.count()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A simulated board inside this process: boards/SIM and the boot client, imported afresh."""
    yield from open_world(tmp_path, monkeypatch)


@pytest.fixture
def board(world: World) -> Iterator[Board]:
    world.program("ota_0", FACTORY)
    with MiniServer(files_of(make_container())).running() as server:
        yield Board(world, server)


@pytest.fixture
def watching(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watching]:
    """The factory's image runs, and the server has none. Its name is this test's own: the group is not."""
    with MiniServer({}).running() as server:
        bench = Watching(world, server, f"w{os.getpid()}-{next(_watched)}", monkeypatch)
        bench.boot()
        server.requests.clear()
        yield bench
