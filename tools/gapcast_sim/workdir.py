"""The temporary folder of a simulation, and the removal of those whose simulation was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "gapcast-sim-"
STALE_AFTER_S = 600  # younger ones may be about to be locked


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder that is gone at the end. SIGKILL leaves it: the next simulation removes it."""
    remove_stale(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it when we die, whatever kills us
            yield folder
        finally:
            os.close(lock)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_stale(base: Path) -> None:
    """Remove our own old folders that no living process has locked."""
    for folder in base.glob(PREFIX + "*"):
        with suppress(OSError):  # another user's, or another simulation was faster
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                found = os.fstat(handle)
                if found.st_uid == os.geteuid() and time.time() - found.st_mtime > STALE_AFTER_S:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)
