"""The cable is pulled at points that a seed chooses; the next run completes.

GAPCAST_ALL_CUTS=1 tries far more of them.
"""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gapcast_tools.usb import bootfile
from gapcast_tools.usb.client import compile_client
from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.install import install
from provision import inst_world as world
from provision.repl_flash import make_flash

pytestmark = pytest.mark.usefixtures("micropython")

# At the end: measured, 43 new files take 51 operations.
RENAMING_OPS = {"fresh": 60, "older": 8}
OLDER = b"older"  # instead of one module: a client that was complete before


@dataclass
class Case:
    """Flash to begin with, and how much there is to cut."""

    flash: Path
    client: Path
    line_bytes: int
    boot_ops: int
    ops: int
    renaming_ops: int
    complete: list[dict[str, bytes]]  # clients that may be started; the first is what is installed


def _ops(line: world.Cable) -> int:
    return int(line.mpremote("resume", "exec", "import sim_power; print(sim_power.ops)"))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A board with a user's files and no client."""
    return _case(tmp_path_factory.mktemp("fresh"), older=False)


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The same with a client of another version on it."""
    return _case(tmp_path_factory.mktemp("older"), older=True)


def _case(folder: Path, *, older: bool) -> Case:
    flash = make_flash(folder)
    with world.plug(folder) as line:
        world.put(line, {**world.USER_FILES, "/boot.py": world.USER_BOOT}, folder)
        runtime = world.runtime_of(line)
        complete = [world.client_of(runtime)]
        if older:
            install(line.path, compile_client(runtime), world.settings(server="192.0.2.9"))
            names = [path for path in complete[0] if path.endswith(("agent.mpy", "wire.mpy", "mender.mpy"))]
            world.put(line, {**dict.fromkeys(names, OLDER), "/lib/gapcast_boot/gone.mpy": b"x"}, folder)
            complete.append(world.our_files(world.files_on(line)))
    start = folder / "start.bin"
    shutil.copyfile(flash, start)
    client = compile_client(runtime)
    with world.plug(folder) as line:
        install(line.path, client, world.settings())
        line_bytes = line.sent_bytes
    shutil.copyfile(start, flash)
    with world.plug(folder) as line:
        boot_ops = _ops(line)
        install(line.path, client, world.settings())
        ops = _ops(line)
    return Case(
        start, client, line_bytes, boot_ops, ops, RENAMING_OPS["older" if older else "fresh"], complete
    )


def _points() -> list[object]:
    rng = random.Random(2614)
    many = 20 if os.environ.get("GAPCAST_ALL_CUTS") else 1
    kinds = {"line": 2 * many, "flash": many, "renames": 2 * many}
    return [
        pytest.param(case, kind, rng.random(), id=f"{case}-{kind}-{number}")
        for case in ("fresh", "older")
        for kind, count in kinds.items()
        for number in range(count)
    ]


def _cut(case: Case, kind: str, where: float) -> dict[str, Any]:
    """Options of world.plug(). where: 0 to 1."""
    if kind == "line":  # the look at the board before is a part of it
        return {"pull_after_bytes": 100 + int(where * (case.line_bytes - 100))}
    first = case.boot_ops if kind == "flash" else case.ops - case.renaming_ops
    cut_at = first + 1 + int(where * (case.ops - first))
    return {"world": {"cut_at": cut_at, "cut_half": cut_at % 2 == 0}}


@pytest.mark.parametrize(("name", "kind", "where"), _points())
def test_a_pulled_cable_leaves_a_board_that_the_next_run_completes(
    name: str, kind: str, where: float, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    case: Case = request.getfixturevalue(name)
    shutil.copyfile(case.flash, tmp_path / "flash.bin")
    with world.plug(tmp_path, **_cut(case, kind, where)) as line:
        with pytest.raises(PortFault) as raised:
            install(line.path, case.client, world.settings())
        assert raised.value.reason in ("gone", "silent", "failed")
        assert raised.value.hint
        assert line.pulled
    with world.plug(tmp_path) as line:
        _check_startable(case, world.files_on(line))
        assert install(line.path, case.client, world.settings())
        files = world.files_on(line)
        assert world.our_files(files) == case.complete[0]
        assert bootfile.has_block(files["/boot.py"])
        assert not [path for path in files if path.endswith(world.NEW)]
        assert world.user_files(files).keys() == {*world.USER_FILES, "/boot.py"}


def _check_startable(case: Case, files: dict[str, bytes]) -> None:
    """The board starts a complete client, or none; the user's files are there."""
    assert {path: files[path] for path in world.USER_FILES} == world.USER_FILES
    boot = files["/boot.py"]
    assert bootfile.without_block(boot) == world.USER_BOOT
    if bootfile.has_block(boot):
        ours = {path: data for path, data in world.our_files(files).items() if not path.endswith(world.NEW)}
        assert ours in case.complete
        assert "/gapcast.json" in files
