"""What several kinds of tests need."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from gapcast_tools.upy import Micropython, search


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Servers that tests start keep their reports here, and not where this machine's own server does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


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
