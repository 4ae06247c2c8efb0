"""A simulated board inside this process, and what is needed to start real ones."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gapcast_sim.runtime import Runtime, find_runtime
from gapcast_tools.upy import Micropython

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "boot")]

from boot_world import World, open_world  # noqa: E402
from sim_help import ENVIRONMENT  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def environment() -> Iterator[None]:
    """Processes that a test starts find Gapcast in this checkout, wherever they run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
        yield


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(time, "ticks_us", lambda: time.monotonic_ns() // 1000, raising=False)
    yield from open_world(tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def runtime(micropython: Micropython) -> Runtime:
    """MicroPython with the client compiled for it."""
    return find_runtime(lambda _text: None)
