"""What a board is and has, by one script on it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from dataclasses import dataclass, field

from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.mpremote import Answer, Mpremote
from gapcast_tools.usb.scripts import NEW, look_script
from gapcast_tools.usb.settings import SETTINGS_NAME, Settings, read_settings

OLDEST = (1, 23, 0)  # its .mpy format is 6.3, which mpy-cross writes (gapcast_tools/upy_compile.py)
# The client's folders; those in "/" are of who copied it by hand, and would be imported first.
FOLDERS = ("/lib/gapcast_boot", "/lib/gapcast_core", "/gapcast_boot", "/gapcast_core")
NAMES = 40  # that one script asks for: heaps are small
BOOT = "/boot.py"
SETTINGS = f"/{SETTINGS_NAME}"
OFF = f"{BOOT}.off{NEW}"  # boot.py without our lines, while the client is changed
OWN_NAMES = (SETTINGS, SETTINGS + NEW, BOOT + NEW, OFF)


@dataclass(frozen=True)
class BoardRuntime:
    """The MicroPython of a board.

    version: (1, 25, 0); mpy: sys.implementation._mpy; machine: for people, "Generic ESP32 module with ESP32";
    unique_id: hex, of an ESP32 its MAC; frozen_client: the client is in the firmware, so none is installed.
    """

    version: tuple[int, int, int]
    mpy: int
    machine: str
    unique_id: str
    frozen_client: bool


@dataclass(frozen=True)
class OnBoard:
    """One file of a board. data: only of boot.py and gapcast.json."""

    size_bytes: int
    sha256: str
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Look:
    """A board as it is. files: path -> our files, boot.py and what an interrupted installation left.

    folders: FOLDERS and those below that are there, parents first. The blocks are those of the file system.
    """

    runtime: BoardRuntime
    block_bytes: int
    free_blocks: int
    files: dict[str, OnBoard]
    folders: tuple[str, ...]

    @property
    def boot(self) -> bytes | None:
        """The content of boot.py; None: there is none."""
        found = self.files.get(BOOT)
        return None if found is None else found.data

    @property
    def settings(self) -> Settings | None:
        """gapcast.json; None: there is none. Raises PortFault `damaged`."""
        found = self.files.get(SETTINGS)
        return None if found is None else read_settings(found.data)


def look(port: str | Mpremote, names: Collection[str] = ()) -> Look:
    """Ask a board what it is and has; nothing on it is written, and the application on it is stopped.

    Args:
        names: further files that are asked for.

    Raises:
        PortFault: As Mpremote.run; also `no_micropython` (CircuitPython, say) and `old_micropython`.
    """
    further = sorted({*names, *(name + NEW for name in names)} - {BOOT, *OWN_NAMES})
    scripts = [look_script(FOLDERS, (BOOT, *OWN_NAMES), (BOOT, SETTINGS))]
    scripts += [look_script((), further[at : at + NAMES], ()) for at in range(0, len(further), NAMES)]
    answers = on(port).run(scripts)
    try:
        return _parsed(answers)
    except (ValueError, TypeError, LookupError, binascii.Error):
        hint = "run the command again; does the application print from a thread or a timer?"
        raise PortFault("garbage", "the board's answer is not complete", hint) from None


def ask(port: str | Mpremote) -> BoardRuntime:
    """What MicroPython runs there. Raises PortFault, as look()."""
    return look(port).runtime


def settings_on(port: str | Mpremote) -> Settings | None:
    """The board's gapcast.json, with secrets as Secret; None: it has none. Raises PortFault, as look()."""
    return look(port).settings


def on(port: str | Mpremote) -> Mpremote:
    """A port as Mpremote."""
    return port if isinstance(port, Mpremote) else Mpremote(port)


def _parsed(answers: list[Answer]) -> Look:
    by_kind: dict[object, list[Answer]] = {}
    for answer in answers:
        by_kind.setdefault(answer[0], []).append(answer)
    runtime = _runtime(by_kind)
    space = by_kind["space"][0]
    data = file_contents(answers)
    shown = (BOOT, SETTINGS)
    files = {}
    for _, path, size_bytes, digest in by_kind.get("file", []):
        content = data.get(str(path), b"") if path in shown else None
        if content is not None and len(content) != size_bytes:
            raise ValueError(path)
        files[str(path)] = OnBoard(int(str(size_bytes)), str(digest), content)
    folders = tuple(str(answer[1]) for answer in by_kind.get("dir", []))
    return Look(runtime, int(str(space[1])), int(str(space[2])), files, folders)


def _runtime(by_kind: dict[object, list[Answer]]) -> BoardRuntime:
    _, name, version, mpy, machine = by_kind["implementation"][0]
    if not isinstance(version, list):
        raise ValueError(version)
    numbers = tuple(int(number) for number in version[:3])
    text = ".".join(map(str, numbers))
    hint = "write a newer one: `gapcast provision` with --firmware; what is on the board is saved before"
    if name != "micropython":
        raise PortFault("no_micropython", f"the board runs {str(name)[:30]!r}, not MicroPython", hint)
    if numbers < OLDEST:
        oldest = ".".join(map(str, OLDEST[:2]))
        raise PortFault("old_micropython", f"MicroPython {text} is older than {oldest}", hint)
    unique_id = str(by_kind["id"][0][1]) if "id" in by_kind else ""
    frozen = bool(by_kind["fixed"][0][1])
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return BoardRuntime((major, minor, patch), int(str(mpy)), str(machine), unique_id, frozen)


def file_contents(answers: list[Answer]) -> dict[str, bytes]:
    """Path -> content, of the ["data", ...] lines. Raises ValueError for lines that are no base64."""
    found: dict[str, bytearray] = {}
    for answer in answers:
        if answer[0] == "data":
            _, path, text = answer
            found.setdefault(str(path), bytearray()).extend(base64.b64decode(str(text), validate=True))
    return {path: bytes(data) for path, data in found.items()}
