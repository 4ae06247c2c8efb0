"""The files that are served: names, virtual names, and contents that never mix (PROTOCOL.md section 5)."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from gapcast.content import BytesContent, FileContent, Stamp
from gapcast.protocol.types import ContentChangedError
from gapcast_core.container import HEADER_BYTES, content_id, parse_header
from gapcast_core.errors import PeerError
from gapcast_core.wire import ERR_ACCESS, ERR_NOT_FOUND, ERR_UNDEFINED

WHOLE_MAX_BYTES = 64 << 20  # larger files are read piece by piece
# Requests for many large files at once must not fill the memory: beyond this, contents are read by pieces.
MEMORY_MAX_BYTES = 512 << 20
NAME_MAX_BYTES = 500  # an RRQ has 512
SCAN_MAX_ENTRIES = 20_000  # a root like / must not stop the server for a request of gap/<id>
RESCAN_S = 1.0  # a container that was overwritten in place is found after this time
LOOKS_AT_ONCE = 4  # a bench that publishes and flashes at once need not wait
_MTIME_GRAIN_NS = 50_000_000  # a folder that changed just before a scan may change again in the same tick
_ABSENT = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENXIO,
    errno.ENODEV,
    errno.EINVAL,
)

Identity = tuple[Stamp, str]  # version, part of the file
HEADER_PART = "hdr"


@dataclass(frozen=True, slots=True)
class Opened:
    """An opened name: transfers of one identity may share it."""

    identity: Identity
    content: FileContent | BytesContent


class Store:
    """The regular files below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._prefix = self._root.rstrip("/") + "/"
        self._shared: WeakValueDictionary[Identity, FileContent] = WeakValueDictionary()
        self._index = GapIndex(self)

    @property
    def root(self) -> str:
        """The folder, links resolved."""
        return self._root

    @property
    def scan_truncated(self) -> bool:
        """Whether the last look for gap/<id> ended at SCAN_MAX_ENTRIES."""
        return self._index.truncated

    def open(self, name: str) -> Opened:
        """The content that `name` stands for (PROTOCOL.md section 5).

        Raises PeerError: `bad_name`, `outside_root`, `not_found`, `not_a_file`, `no_permission`,
        `file_changed`, `busy`.
        """
        relative = check_name(name)
        try:
            return self._open_file(relative)
        except PeerError as error:
            if error.reason != "not_found":
                raise
        if relative.startswith("gap/"):
            opened = self._open_container(relative[4:])
            if opened is not None:
                return opened
        if relative.endswith(".hdr"):
            return self._open_header(relative[:-4] + ".gap")
        raise PeerError("not_found", ERR_NOT_FOUND)

    def read_header(self, relative: str) -> tuple[Identity, bytes]:
        """The first 1024 bytes of a file and its identity. Raises PeerError."""
        descriptor, stamp = self._descriptor(relative)
        try:
            data = os.pread(descriptor, HEADER_BYTES, 0)
        except OSError as error:
            raise _peer_error(error) from error
        finally:
            os.close(descriptor)
        return (stamp, HEADER_PART), data

    def _open_container(self, wanted: str) -> Opened | None:
        """The container with that id; what was opened is looked at, the path may have a new file by now."""
        for _attempt in range(2):
            path = self._index.find(wanted)
            if path is None:
                return None
            try:
                opened = self._open_file(path)
                if content_id(opened.content.read(0, HEADER_BYTES)) == wanted:
                    return opened
            except ContentChangedError:
                continue
            except PeerError as error:
                if error.code == ERR_UNDEFINED and error.reason == "busy":
                    raise
        return None

    def _open_header(self, relative: str) -> Opened:
        identity, data = self.read_header(relative)
        if not _is_whole(identity, data):
            raise PeerError("not_found", ERR_NOT_FOUND)
        return Opened(identity, BytesContent(data))

    def _open_file(self, relative: str) -> Opened:
        descriptor, stamp = self._descriptor(relative)
        identity = (stamp, "")
        shared = self._shared.get(identity)
        if shared is not None:
            os.close(descriptor)
            return Opened(identity, shared)
        held = sum(content.held_bytes for content in self._shared.values())
        in_memory = stamp.size <= WHOLE_MAX_BYTES and held + stamp.size <= MEMORY_MAX_BYTES
        try:
            content = FileContent(descriptor, stamp, in_memory)
        except ContentChangedError as error:
            raise PeerError("file_changed", ERR_UNDEFINED) from error
        except OSError as error:
            raise _peer_error(error) from error
        self._shared[identity] = content
        return Opened(identity, content)

    def _descriptor(self, relative: str) -> tuple[int, Stamp]:
        """An open regular file below the root. Never blocks: a FIFO or device is not even opened."""
        try:
            path = os.path.realpath(self._prefix + relative)
            if not path.startswith(self._prefix):
                raise PeerError("outside_root", ERR_ACCESS)
            if not stat.S_ISREG(Path(path).stat().st_mode):
                raise PeerError("not_a_file", ERR_ACCESS)
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except (OSError, ValueError) as error:
            raise _peer_error(error) from error
        try:
            # Somebody may have exchanged the path between the check and the open.
            status = os.fstat(descriptor)
            inside = str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith(self._prefix)
            if not stat.S_ISREG(status.st_mode) or not inside:
                raise PeerError("outside_root", ERR_ACCESS)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError):  # no /proc: nothing can be checked
                raise PeerError("busy", ERR_UNDEFINED) from error
            raise
        return descriptor, Stamp.of(status)


class GapIndex:
    """content id -> container below the root, kept until a folder changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._paths: dict[str, str] = {}
        self._known: dict[str, tuple[Identity, str]] = {}
        self._folders: dict[str, int] = {}  # path: mtime in ns when it was scanned
        self._scanned_at = float("-inf")
        self._scanned_ns = 0
        self._look_at = float("-inf")
        self.truncated = False

    def find(self, wanted: str) -> str | None:
        """The relative path of the container with that id (32 hex digits), or None."""
        if len(wanted) != 32:
            return None
        path = self._known_path(wanted)
        if path is None and self._may_look() and self._is_stale():
            self._scan()
            path = self._known_path(wanted)
        return path

    def _known_path(self, wanted: str) -> str | None:
        path = self._paths.get(wanted)
        return path if path is not None and self._id_of(path) == wanted else None

    def _may_look(self) -> bool:
        """Checks and scans: LOOKS_AT_ONCE, then one a RESCAN_S. Requests for invented ids cost no more."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = max(self._look_at, now - (LOOKS_AT_ONCE - 1) * RESCAN_S) + RESCAN_S
        return True

    def _id_of(self, path: str) -> str | None:
        try:
            identity, data = self._store.read_header(path)
            known = self._known.get(path)
            if known is not None and known[0] == identity:
                return known[1]
        except PeerError:
            return None
        if not _is_whole(identity, data):
            return None
        found: str = content_id(data)
        self._known[path] = (identity, found)
        return found

    def _is_stale(self) -> bool:
        if time.monotonic() - self._scanned_at > RESCAN_S:
            return True
        for folder, mtime_ns in self._folders.items():
            try:
                changed = Path(folder).stat().st_mtime_ns
            except OSError:
                return True
            if changed != mtime_ns or changed > self._scanned_ns - _MTIME_GRAIN_NS:
                return True
        return False

    def _scan(self) -> None:
        self._scanned_ns = time.time_ns()
        self._paths = {}
        self._folders = {}
        known = self._known
        self._known = {}
        for path in self._containers():
            if path in known:
                self._known[path] = known[path]
            found = self._id_of(path)
            if found is not None:
                self._paths.setdefault(found, path)
        self._scanned_at = time.monotonic()

    def _containers(self) -> Iterator[str]:
        """Relative paths of *.gap, folders that are links left out, SCAN_MAX_ENTRIES looked at."""
        pending = [""]
        left = SCAN_MAX_ENTRIES
        self.truncated = False
        while pending:
            relative = pending.pop()
            folder = f"{self._store.root}/{relative}"
            try:
                self._folders[folder] = Path(folder).stat().st_mtime_ns
                with os.scandir(folder) as listing:
                    some = itertools.islice(listing, left + 1)
                    found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in some)
            except OSError:
                continue
            for name, is_folder in found:
                if left == 0:
                    self.truncated = True
                    return
                left -= 1
                if is_folder:
                    pending.append(f"{relative}{name}/")
                elif name.endswith(".gap"):
                    yield relative + name


def check_name(name: str) -> str:
    """The relative path in a request's name.

    Raises PeerError `bad_name`: empty, `.` and `..` components, backslashes, control characters, too long.
    """
    relative = name[1:] if name.startswith("/") else name
    if len(relative.encode()) > NAME_MAX_BYTES:
        raise PeerError("bad_name", ERR_NOT_FOUND)
    if "\\" in relative or any(ord(char) < 32 or 127 <= ord(char) < 160 for char in relative):
        raise PeerError("bad_name", ERR_ACCESS)
    if any(part in ("", ".", "..") for part in relative.split("/")):
        raise PeerError("bad_name", ERR_ACCESS)
    return relative


def _is_whole(identity: Identity, header: bytes) -> bool:
    """Whether this is the header of a container, and the file as long as it says: copying may not be done."""
    try:
        return bool(identity[0].size == parse_header(header).container_bytes)
    except PeerError:
        return False


def _peer_error(error: Exception) -> PeerError:
    if isinstance(error, PermissionError):
        return PeerError("no_permission", ERR_ACCESS)
    if isinstance(error, OSError) and error.errno == errno.EISDIR:
        return PeerError("not_a_file", ERR_ACCESS)
    if isinstance(error, OSError) and error.errno not in _ABSENT:
        return PeerError("busy", ERR_UNDEFINED)  # EMFILE, EIO: a board must not believe there is no such file
    return PeerError("not_found", ERR_NOT_FOUND)
