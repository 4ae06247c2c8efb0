"""Install the client on a board that runs MicroPython, and take it away again.

Files are compared by their SHA-256 on the board; what differs is written beside under a name of its own.
When all of it is there and whole, one script on the board renames: first boot.py loses our lines, then the
client's files come into place, then gapcast.json, and boot.py gets our lines last. So whenever the cable is
pulled, the board starts a complete client or none, and what was written is not written again by the next run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gapcast_tools.usb import bootfile
from gapcast_tools.usb.client import boot_lines
from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.look import (
    BOOT,
    FOLDERS,
    OFF,
    OWN_NAMES,
    SETTINGS,
    BoardRuntime,
    Look,
    ask,
    look,
    on,
    settings_on,
)
from gapcast_tools.usb.mpremote import Answer, Mpremote, full_fault
from gapcast_tools.usb.scripts import NEW, Move, Remove, Step, apply_scripts, write_scripts
from gapcast_tools.usb.settings import pack_settings, same_settings

__all__ = ["BoardRuntime", "Look", "ask", "install", "look", "settings_on", "uninstall", "write_files"]

SPARE_BLOCKS = 8  # littlefs moves its metadata to new blocks before it gives the old ones up
Progress = Callable[[str, int, int], None]  # (what, bytes done, bytes in all)


@dataclass
class Plan:
    """What is to be done. writes: path -> content, first; steps: then, in this order; changed: for people."""

    writes: dict[str, bytes] = field(repr=False)  # with secrets
    steps: list[Step]
    changed: list[str]

    def put(self, source: str, path: str, data: bytes | None) -> None:
        """`path` gets this content, by way of the file `source`; None: it goes."""
        if data is None:
            self.steps.append(Remove(path))
        else:
            self.writes[source] = data
            self.steps.append(Move(source, path, _sha256(data)))
        self.changed += [] if path in self.changed else [path]

    def take(self, paths: Sequence[str]) -> None:
        """Files that go."""
        self.steps += [Remove(path) for path in paths]
        self.changed += [f"{path} (removed)" for path in paths if path not in self.writes]

    def prune(self, now: Look, wanted: Mapping[str, bytes]) -> None:
        """Folders of ours that hold nothing any more go, and /lib if it is empty then."""
        empty = [
            folder for folder in now.folders if not any(path.startswith(f"{folder}/") for path in wanted)
        ]
        self.steps += [Remove(folder, is_folder=True) for folder in reversed(empty)]
        self.changed += [f"{folder} (removed)" for folder in empty]
        if empty and not wanted:
            self.steps.append(Remove("/lib", is_folder=True))


def install(
    port: str | Mpremote,
    client: Path,
    settings: Mapping[str, object],
    progress: Progress | None = None,
    *,
    found: Look | None = None,
) -> list[str]:
    """Bring the client, gapcast.json and the start in boot.py onto a board. It has to be reset afterwards.

    Args:
        client: an import root compiled for this board (compile_client).
        settings: the whole gapcast.json (build_settings).
        progress: told ("install", bytes done, bytes in all).
        found: the board as it is, where that is known.

    Returns:
        What was changed, for people: a path each. Nothing is written to a board where that is nothing.

    Raises:
        PortFault: As Mpremote.run, and `full` before anything was written. The call can be repeated.
    """
    board = on(port)
    now = found or look(board)
    plan = plan_install(now, _client_files(client), settings, boot_lines())
    if plan.steps:
        _carry_out(board, now, plan, progress, "install")
    return plan.changed


def uninstall(port: str | Mpremote, *, found: Look | None = None, reset: bool = False) -> list[str]:
    """Take the client, gapcast.json and our lines in boot.py off a board; the user's files stay as they are.

    Args:
        reset: restart the board in the end, in any case.

    Returns:
        What was taken off, a path each.

    Raises:
        PortFault: As Mpremote.run. The call can be repeated.
    """
    board = on(port)
    now = found or look(board)
    plan = plan_uninstall(now)
    if plan.steps:
        scripts = [*write_scripts(plan.writes.items())] if plan.writes else []
        if now.free_blocks < SPARE_BLOCKS:  # makes room, and a client without settings does nothing
            scripts[:0] = list(apply_scripts([Remove(SETTINGS)]))
        board.run([*scripts, *apply_scripts(plan.steps)], reset=reset)
    elif reset:
        board.reset()
    return plan.changed


def write_files(
    port: str | Mpremote, files: Mapping[str, bytes], progress: Progress | None = None
) -> list[str]:
    """Bring the user's files (path on the board -> content) onto a board; the paths that were written.

    boot.py comes first, and keeps our lines if the board's has them; gapcast.json only where there is none.

    Args:
        progress: told ("files", bytes done, bytes in all).

    Raises:
        PortFault: As Mpremote.run, and `full` before anything was written. The call can be repeated.
    """
    board = on(port)
    now = look(board, files)
    plan = Plan({}, [], [])
    for path in sorted(files, key=lambda path: (path != BOOT, path)):
        data = files[path]
        if path == BOOT and bootfile.has_block(now.boot):
            data = bootfile.with_block(data, boot_lines())
        if _digest_on(now, path) != _sha256(data) and not (path == SETTINGS and path in now.files):
            plan.put(path + NEW, path, data)
    if plan.steps:
        _carry_out(board, now, plan, progress, "files")
    return plan.changed


def plan_install(
    now: Look, client: Mapping[str, bytes], settings: Mapping[str, object], start: bytes
) -> Plan:
    """What has to be done to the board `now`. client: path on the board -> content. Raises PortFault."""
    frozen = now.runtime.frozen_client
    wanted = {} if frozen else dict(client)
    boot = bootfile.without_block(now.boot) if frozen else bootfile.with_block(now.boot, start)
    plan = Plan({}, [], [])
    new = {path: data for path, data in wanted.items() if _digest_on(now, path) != _sha256(data)}
    gone = [path for path in now.files if path.startswith(FOLDERS) and path not in wanted]
    disarmed = bool(new or any(not path.endswith(NEW) for path in gone)) and bootfile.has_block(now.boot)
    if disarmed:
        plan.put(OFF, BOOT, bootfile.without_block(now.boot))
    for path, data in new.items():
        plan.put(path + NEW, path, data)
    plan.take([path for path in gone if path.removesuffix(NEW) not in new])
    plan.prune(now, wanted)
    if not same_settings(_content(now, SETTINGS), settings):
        plan.put(SETTINGS + NEW, SETTINGS, pack_settings(settings))
    if disarmed or boot != now.boot:
        plan.put(BOOT + NEW, BOOT, boot)
    plan.take([path for path in OWN_NAMES if path.endswith(NEW) and path in now.files])
    if boot == now.boot and BOOT in plan.changed:
        plan.changed.remove(BOOT)
    return plan


def plan_uninstall(now: Look) -> Plan:
    """What has to be done to take all of ours off the board `now`. Raises PortFault."""
    plan = Plan({}, [], [])
    own_boot = bootfile.without_block(now.boot)
    if own_boot != now.boot:
        plan.put(OFF, BOOT, own_boot)
    plan.take([path for path in OWN_NAMES if path in now.files and path != OFF])
    plan.take([path for path in now.files if path.startswith(FOLDERS)])
    plan.prune(now, {})
    plan.take([OFF] if OFF in now.files else [])
    return plan


def _carry_out(board: Mpremote, now: Look, plan: Plan, progress: Progress | None, what: str) -> None:
    """Write what is not there yet, then take the plan's steps. Raises PortFault."""
    pending = {path: data for path, data in plan.writes.items() if _digest_on(now, path) != _sha256(data)}
    _check_room(now, pending)
    total_bytes = sum(len(path) + len(data) for path, data in pending.items())

    def tell(answer: Answer) -> None:
        if answer[0] == "at" and progress is not None:
            progress(what, int(str(answer[1])), total_bytes)

    scripts = [*write_scripts(pending.items())] if pending else []
    try:
        board.run([*scripts, *apply_scripts(plan.steps)], tell)
    except PortFault as fault:
        if fault.reason == "full":  # more than reckoned: leave the room that there was
            with suppress(PortFault):
                board.run([*apply_scripts([Remove(path) for path in plan.writes])])
        raise


def _check_room(now: Look, writes: Mapping[str, bytes]) -> None:
    """Raises PortFault `full`. littlefs takes whole blocks, and two for a folder."""
    if not writes:
        return
    folders = {path.rsplit("/", 1)[0] for path in writes} - set(now.folders) - {""}
    blocks = sum(-(-(len(data) + len(data) // 256) // now.block_bytes) or 1 for data in writes.values())
    blocks += 2 * len(folders) + SPARE_BLOCKS
    if blocks > now.free_blocks:
        need_kib, free_kib = (count * now.block_bytes // 1024 for count in (blocks, now.free_blocks))
        raise full_fault(f"its file system has {free_kib} KiB free, and {need_kib} KiB are needed")


def _client_files(client: Path) -> dict[str, bytes]:
    """Path on the board -> content, of a compiled client."""
    files = sorted(path for path in client.rglob("*") if path.is_file())
    return {f"/lib/{path.relative_to(client).as_posix()}": path.read_bytes() for path in files}


def _digest_on(now: Look, path: str) -> str | None:
    found = now.files.get(path)
    return None if found is None else found.sha256


def _content(now: Look, path: str) -> bytes | None:
    found = now.files.get(path)
    return None if found is None else found.data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
