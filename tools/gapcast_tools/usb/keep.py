"""The user's own files, kept here while flashing moves or erases the file system they are in."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from gapcast.errors import OperatorError
from gapcast.fleet.schema import default_path
from gapcast.image.files import sync_directory
from gapcast_tools.usb import bootfile
from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.install import Progress, write_files
from gapcast_tools.usb.look import BOOT, FOLDERS, OWN_NAMES, SETTINGS, file_contents, on
from gapcast_tools.usb.mpremote import Mpremote
from gapcast_tools.usb.scripts import NEW, read_script
from gapcast_tools.usb.settings import pack_settings, read_settings

INDEX = "index.json"  # path on the board -> SHA-256; there once the files are
FILES = "files"


def saved_folder(mac: str) -> Path:
    """Where the files of the board with this MAC are kept: beside the fleet's state file."""
    return default_path().parent / "provision" / mac


def save_files(port: str | Mpremote, folder: Path) -> list[str]:
    """Copy the user's own files off a board into `folder` (0700), checked by their SHA-256; their paths.

    Our files are not saved but for gapcast.json, and of boot.py the user's part. What was saved before and
    not put back is kept: a file that the board has goes over it, unless that is MicroPython's own boot.py, by
    which a file system that was made anew is known.

    Raises:
        PortFault: As Mpremote.run; `damaged`: a file did not arrive as it is.
        OperatorError: `folder` cannot be written.
    """
    found = _read_all(on(port))
    try:
        saved = _load(folder)
        kept = {
            **saved,
            **{path: data for path, data in found.items() if not _is_new_boot(path, data, saved)},
        }
        if kept != saved or not (folder / INDEX).exists():
            _store(folder, kept)
    except OSError as error:
        raise OperatorError(f"{folder} cannot be written: {error.strerror}", "see $XDG_STATE_HOME") from error
    return sorted(kept)


def put_back(port: str | Mpremote, folder: Path, progress: Progress | None = None) -> list[str]:
    """Bring what save_files() kept back onto the board, and remove `folder`; the paths that were written.

    boot.py comes first, with our lines if the board's has them; gapcast.json only where there is none.

    Raises:
        PortFault: As Mpremote.run, and `full` before anything was written. The call can be repeated.
        OperatorError: `folder` cannot be read, or is not as it was stored.
    """
    try:
        saved = _load(folder)
    except OSError as error:
        raise OperatorError(f"{folder} cannot be read: {error.strerror}") from error
    if SETTINGS in saved:
        saved[SETTINGS] = _without_key(saved[SETTINGS])
    written = write_files(on(port), saved, progress) if saved else []
    discard(folder)
    return written


def discard(folder: Path) -> None:
    """Forget what was saved there. Raises OSError."""
    for leftover in (_old(folder), folder):
        if leftover.exists():
            shutil.rmtree(leftover)


def _without_key(data: bytes) -> bytes:
    """gapcast.json without its report key: flashing may have erased the counter that goes with it.

    A run that was cut off does not know any more whether it did, and with the old key and a counter that
    begins again the server would take the board's reports for replayed ones.
    """
    try:
        settings = read_settings(data)
    except PortFault:
        return data  # told when it is on the board
    if settings is None or settings.pop("report_key", None) is None:
        return data
    return pack_settings(settings)


def _is_new_boot(path: str, data: bytes, saved: Mapping[str, bytes]) -> bool:
    return path == BOOT and path in saved and bootfile.is_default(data)


def _read_all(board: Mpremote) -> dict[str, bytes]:
    """Path -> content of the user's files. Raises PortFault."""
    answers = board.run([read_script([*FOLDERS, *(name for name in OWN_NAMES if name != SETTINGS)])])
    try:
        data = file_contents(answers)
        sums = {str(answer[1]): str(answer[3]) for answer in answers if answer[0] == "file"}
    except (ValueError, LookupError):
        sums, data = {"": ""}, {}
    files = {path: data.get(path, b"") for path in sums}
    for path, content in files.items():
        if hashlib.sha256(content).hexdigest() != sums[path]:
            hint = "run the command again; does the application print from a thread or a timer?"
            raise PortFault("damaged", f"{path or 'the list of files'} did not arrive as it is", hint)
    if BOOT in files:
        own = bootfile.without_block(files.pop(BOOT))
        files |= {} if own is None else {BOOT: own}
    return {path: content for path, content in files.items() if not path.endswith(NEW)}


def _load(folder: Path) -> dict[str, bytes]:
    """What was stored; {} if nothing was, or not to its end. Raises OSError, OperatorError."""
    old = _old(folder)
    if old.exists() and not folder.exists():  # interrupted in _store
        old.rename(folder)
    try:
        sums = json.loads((folder / INDEX).read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        sums = None
    hint = f"look into it, and move it away: {folder}"
    if not isinstance(sums, dict):
        raise OperatorError(f"{folder / INDEX} is damaged", hint)
    files = {}
    for path, digest in sums.items():
        files[path] = _place(folder / FILES, path).read_bytes()
        if hashlib.sha256(files[path]).hexdigest() != digest:
            raise OperatorError(f"the saved {path} was changed", hint)
    return files


def _store(folder: Path, files: Mapping[str, bytes]) -> None:
    """Replace what is in `folder`; the index comes last, on disk. Raises OSError."""
    work = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(work, ignore_errors=True)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    work.mkdir(mode=0o700)
    for path, data in files.items():
        _write(_place(work / FILES, path), data)
    sums = {path: hashlib.sha256(data).hexdigest() for path, data in sorted(files.items())}
    _write(work / INDEX, json.dumps(sums, indent=1).encode())
    if folder.exists():
        old = _old(folder)
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        work.rename(folder)
        shutil.rmtree(old)
    else:
        work.rename(folder)
    sync_directory(folder.parent)


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _place(root: Path, path: str) -> Path:
    """The file for a path on the board, which is whatever the board says. Raises OSError."""
    parts = PurePosixPath(path).parts[1:]
    if not path.startswith("/") or not parts or ".." in parts or "\0" in path:
        raise OSError(0, f"{path!r} is no path of a file on a board")
    return root.joinpath(*parts)
