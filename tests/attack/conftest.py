"""Fixtures: labs, and a key whose signatures the boards of these tests trust."""

from __future__ import annotations

import pytest

from gapcast.image.keys import make_key
from interop import needs
from interop.conftest import labs, root

from .images import Signer

__all__ = ["labs", "root", "signer"]


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """The operator's key."""
    return Signer(make_key(tmp_path_factory.mktemp("key") / "operator.pem"))


@pytest.fixture
def real_boards() -> None:
    """Boards need MicroPython."""
    needs.micropython()
