"""What several kinds of tests need."""

from __future__ import annotations

import os

import pytest

from gapcast_tools.upy import Micropython, search


@pytest.fixture(scope="session")
def micropython() -> Micropython:
    """MicroPython; without one the tests are skipped, but not in CI, where that would hide a failure."""
    found, reasons = search(fetch=True, progress=lambda _text: None)
    if found is None:
        why = f"no MicroPython: {'; '.join(reasons)}"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return found
