"""Cutting the power: the rig, and a line at the end that says how many cuts were tried."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "boot"), str(HERE)]

from boot_world import World, open_world  # noqa: E402 - as tests/boot has it
from rig import Tally  # noqa: E402

_TALLY = pytest.StashKey[list[str]]()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    yield from open_world(tmp_path, monkeypatch)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    return Tally(request.config.stash.setdefault(_TALLY, []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash.get(_TALLY, [])
    if lines:
        terminalreporter.section("power cuts")
        for line in lines:
            terminalreporter.write_line(line)
