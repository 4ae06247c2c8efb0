"""A compiled import root as one ROMFS image: mapped into memory, its bytecode runs in place."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

from mpremote import romfs


def rom_image(root: Path) -> Path:
    """The image of the compiled folder `root`, beside it; one that is there is used only if it is right.

    Whoever maps the old file keeps it: a new one takes its name, whole or not at all.
    """
    image = root.with_suffix(".rom")
    with contextlib.redirect_stdout(io.StringIO()):  # make_romfs() prints a tree
        data = bytes(romfs.make_romfs(str(root), mpy_cross=None))
    if not (image.is_file() and image.read_bytes() == data):
        with tempfile.TemporaryDirectory(prefix=".rom-", dir=root.parent) as name:
            draft = Path(name) / image.name
            draft.write_bytes(data)
            draft.replace(image)
    return image
