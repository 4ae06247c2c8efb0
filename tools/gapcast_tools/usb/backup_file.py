"""A backup on disk: the whole flash in FILE, and beside it FILE.json says of which board."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from gapcast.errors import OperatorError
from gapcast.image.files import read_bounded, sync_directory
from gapcast_tools.usb.esptool_text import Identity

MAX_FLASH_BYTES = 128 << 20
MAX_NOTE_BYTES = 4096
_MAC = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Note:
    """What FILE.json says.

    chip, mac, flash_bytes: of the board, as Identity has them.
    sha256: of FILE, 64 hex digits.
    made_at: when, ISO 8601 in UTC.
    """

    chip: str
    mac: str
    flash_bytes: int
    sha256: str
    made_at: str


def note_path(path: Path) -> Path:
    """FILE.json for FILE."""
    return path.with_name(path.name + ".json")


def check_new(path: Path) -> None:
    """Raise OperatorError unless a backup can be made as `path` and overwrites nothing."""
    for one in (path, note_path(path)):
        if os.path.lexists(one):
            raise OperatorError(f"{one} exists already", "give another name: a backup overwrites nothing")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise OperatorError(f"there is no folder {folder}", "make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OperatorError(f"cannot write into {folder}", "give a file elsewhere")


@contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """A name beside `path`, of a file that is gone at the end of the block whatever happens."""
    name = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        yield name
    finally:
        name.unlink(missing_ok=True)


def keep(read: Path, path: Path, identity: Identity) -> Note:
    """Make `read`, the whole flash of a board, the backup `path`: on disk, with its note, 0600.

    Raises:
        OperatorError: `path` has come into being meanwhile, or the disk is full.
    """
    digest = hashlib.sha256(read.read_bytes()).hexdigest()
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    note = Note(identity.chip, identity.mac, identity.flash_bytes, digest, made_at)
    try:
        with temporary(note_path(path)) as written:
            _write_private(written, json.dumps(asdict(note), indent=2) + "\n")
            _sync(read)
            _place(written, note_path(path))
            try:
                _place(read, path)
            except BaseException:
                note_path(path).unlink()
                raise
            sync_directory(path.absolute().parent)
    except FileExistsError as error:
        raise OperatorError(f"{error.filename} exists already", "give another name") from error
    except OSError as error:
        raise OperatorError(f"cannot write {path}: {error.strerror}") from error
    return note


def load(path: Path) -> tuple[Note, bytes]:
    """A backup and its note.

    Raises:
        OperatorError: One of them is missing, damaged, or no backup of ours.
    """
    data = read_bounded(path, MAX_FLASH_BYTES)
    beside = note_path(path)
    if not beside.exists():
        hint = f"`gapcast backup` writes both; put the two beside each other as {path.name} and {beside.name}"
        raise OperatorError(f"there is no {beside}, which says whose flash this is", hint)
    note = _parse(beside, read_bounded(beside, MAX_NOTE_BYTES))
    if len(data) != note.flash_bytes or hashlib.sha256(data).hexdigest() != note.sha256:
        raise OperatorError(
            f"{path} is not what was read from the board: it was cut or changed", "take another"
        )
    return note, data


def _parse(path: Path, data: bytes) -> Note:
    try:
        found = json.loads(data)
        note = Note(**{name: found[name] for name in Note.__dataclass_fields__})
        if not _is_right(asdict(note)):
            raise ValueError
    except (ValueError, TypeError, KeyError):
        hint = "restore takes what backup has made"
        raise OperatorError(f"{path} is no note of `gapcast backup`", hint) from None
    return note


def _is_right(found: dict[str, object]) -> bool:
    flash_bytes = found["flash_bytes"]
    if type(flash_bytes) is not int or not 0 < flash_bytes <= MAX_FLASH_BYTES:
        return False
    texts = [found[name] for name in ("chip", "mac", "sha256", "made_at")]
    return all(isinstance(text, str) for text in texts) and _MAC.fullmatch(str(found["mac"])) is not None


def _write_private(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _place(source: Path, target: Path) -> None:
    """Rename, but not over what has come into being meanwhile: FileExistsError.

    The name is claimed by an empty file first: no hard link, which a USB stick's FAT does not have.
    """
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        source.replace(target)
    except BaseException:
        target.unlink()
        raise


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
