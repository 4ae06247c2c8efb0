"""A file's bytes, read piece by piece into memory (server/gapcast/content.py)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gapcast import content, store
from gapcast.protocol.types import ContentChangedError
from gapcast.store import Store

PIECE = content.PIECE_BYTES


@pytest.fixture
def pieces(tmp_path: Path) -> bytes:
    """A file of three pieces and a half."""
    data = b"".join(bytes([number]) * PIECE for number in (1, 2, 3)) + bytes([4]) * (PIECE // 2)
    (tmp_path / "pieces").write_bytes(data)
    return data


def test_what_is_read_piece_by_piece_is_all_there(tmp_path: Path, pieces: bytes) -> None:
    opened = Store(tmp_path).open("pieces").content
    assert opened.read(3 * PIECE - 10, 20) == pieces[3 * PIECE - 10 : 3 * PIECE + 10]
    assert opened.read(len(pieces) - 5, 99) == pieces[-5:]
    assert opened.read(len(pieces) + 3 * PIECE, 9) == b""
    assert opened.read(0, len(pieces)) == pieces


def test_a_large_file_is_soon_in_memory_and_then_survives_any_change(tmp_path: Path, pieces: bytes) -> None:
    before = len(os.listdir("/proc/self/fd"))
    opened = Store(tmp_path).open("pieces").content
    for block in range(3):  # one piece is there; each read brings one more
        assert opened.read(block * 1024, 1024) == bytes([1]) * 1024
    assert len(os.listdir("/proc/self/fd")) == before
    (tmp_path / "pieces").write_bytes(b"changed")
    assert opened.read(0, len(pieces)) == pieces


def test_pieces_of_two_versions_never_mix(tmp_path: Path, pieces: bytes) -> None:
    opened = Store(tmp_path).open("pieces").content
    os.truncate(tmp_path / "pieces", len(pieces) - 1)
    with pytest.raises(ContentChangedError):
        opened.read(0, 1024)
    with pytest.raises(ContentChangedError):
        opened.read(PIECE, 1024)


def test_a_file_that_shrinks_before_it_is_read_is_no_content(tmp_path: Path, pieces: bytes) -> None:
    descriptor = os.open(tmp_path / "pieces", os.O_RDONLY)
    stamp = content.Stamp.of(os.fstat(descriptor))
    os.truncate(tmp_path / "pieces", 2)
    with pytest.raises(ContentChangedError):
        content.FileContent(descriptor, stamp, True)


@pytest.mark.parametrize(("read", "in_memory"), [("preadv", True), ("pread", False)])
def test_a_failing_disk_ends_the_transfer(
    tmp_path: Path, pieces: bytes, monkeypatch: pytest.MonkeyPatch, read: str, in_memory: bool
) -> None:
    if not in_memory:
        monkeypatch.setattr(store, "WHOLE_MAX_BYTES", 0)
    opened = Store(tmp_path).open("pieces").content

    def fail(*_what: object) -> int:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, read, fail)
    with pytest.raises(ContentChangedError):
        opened.read(0, 6)
