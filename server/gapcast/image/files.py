"""Reading and writing whole files safely, and sizes as people type them."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gapcast.errors import OperatorError

_PRIVATE_KEY = b"PRIVATE KEY-----"
_KEY_HEAD_BYTES = 4096  # PEM may have text before it
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20}


def read_bounded(path: Path, limit_bytes: int) -> bytes:
    """The bytes of a file.

    Raises:
        OperatorError: It cannot be read, or has more than `limit_bytes` bytes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise OperatorError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > limit_bytes:
        raise OperatorError(
            f"{path} is larger than {limit_bytes} bytes", "no board takes an image that large"
        )
    return data


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` at the end of the block, whole and on disk, or not at all.

    A reader, or a power cut, finds the old file or the new one and nothing between. A symbolic link stays,
    and its target is replaced.

    Raises:
        OperatorError: The directory is missing or cannot be written, or `path` is a directory, a device or
            the like; also for an OSError in the block.
    """
    try:
        target = _replaceable(path)
        # Not tempfile: its files are 0600, which would hide an image from a server of another user.
        temporary = target.parent / f".{secrets.token_hex(8)}.tmp"
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(target.parent)
    except OSError as error:
        raise OperatorError(f"cannot write {path}: {error.strerror}") from error


def write_atomically(path: Path, parts: Iterable[bytes]) -> int:
    """Write `path` by atomic_file, and return the number of bytes.

    Raises:
        OperatorError: The directory is missing or cannot be written.
    """
    with atomic_file(path) as file:
        return sum(file.write(part) for part in parts)


def parse_size(text: str) -> int:
    """Bytes of `4096`, `64k` or `2M` (powers of 1024).

    Raises:
        OperatorError: Anything else.
    """
    cleaned = text.strip().lower().removesuffix("ib").removesuffix("b")
    unit = cleaned[-1:] if cleaned[-1:] in ("k", "m") else ""
    number = cleaned[: len(cleaned) - len(unit)]
    if not (number.isascii() and number.isdigit()) or len(number) > 12:
        raise OperatorError(f"{text!r} is not a size", "bytes, or with k or M: 4096, 64k, 2M")
    return int(number) * _UNITS[unit]


def _replaceable(path: Path) -> Path:
    """What `path` names, links followed: a regular file, or nothing yet.

    Raises:
        OperatorError: It is anything else, which a rename would destroy, or a private key.
        OSError: It cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return path.resolve()
    if stat.S_ISDIR(mode):
        raise OperatorError(f"{path} is a directory", "give the name of a file in it")
    if not stat.S_ISREG(mode):
        raise OperatorError(f"{path} is a device, a pipe or a socket", "give the name of a file")
    with path.open("rb") as file:
        if _PRIVATE_KEY in file.read(_KEY_HEAD_BYTES):
            raise OperatorError(f"{path} is a private key", "give another name: there may be no copy of it")
    return path.resolve()


def sync_directory(directory: Path) -> None:
    """Have the names in a directory on disk; raises OSError."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)  # the rename itself is on disk only now
    finally:
        os.close(handle)
