"""Fixtures: labs that are taken down again, and a folder of files to serve."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import needs
from .lab import Lab

Labs = Callable[[int], Lab]


@pytest.fixture
def labs() -> Iterator[Labs]:
    """Make labs of so many hosts; host 0 is the server's."""
    needs.network()
    made: list[Lab] = []

    def make(hosts: int) -> Lab:
        made.append(Lab(hosts))
        return made[-1]

    yield make
    for lab in made:
        lab.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder that the server serves."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes in which a wrong order shows."""
    return random.Random(seed).randbytes(size)
