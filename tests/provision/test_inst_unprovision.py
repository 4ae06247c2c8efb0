"""`gapcast unprovision`: a board as it was before, out of the inventory; and whatever its port does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gapcast.cli import main
from gapcast.fleet.store import Fleet
from gapcast_tools.usb.client import compile_client
from gapcast_tools.usb.fleet import enter_in_fleet, leave_fleet
from gapcast_tools.usb.install import ask, install
from gapcast_tools.usb.secrets import Secret, fresh_key
from provision import inst_world as world
from provision.repl_flash import make_flash


@pytest.mark.usefixtures("micropython")
def test_it_restores_the_board_and_can_be_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flash = make_flash(tmp_path)
    state = tmp_path / "fleet.db"
    enter_in_fleet(state, "other", None)
    key, _ = enter_in_fleet(state, world.MAC, None)
    with world.plug(tmp_path) as line:
        world.put(line, {**world.USER_FILES, "/boot.py": world.USER_BOOT}, tmp_path)
        before = world.files_on(line)
        install(line.path, compile_client(ask(line.path)), world.settings(report_key=key))
        missing = str(tmp_path / "ttyNONE")
        arguments = ["unprovision", "--port", missing, "-p", line.path, "--state", str(state)]
        since = len(line.printed)
        assert main(arguments) == 1  # of one of them
        line.wait_for(b"application 7", since)  # the user's main.py runs again
        out = capsys.readouterr().out
        assert f"{missing}: {missing} is not there" in out
        assert f"{line.path}: {world.MAC}: " in out
        assert "out of the inventory" in out
        assert key.reveal() not in out
        assert world.files_on(line) == before
        with Fleet(state) as fleet:
            assert [board.id for board in fleet.boards()] == ["other"]
        after = flash.read_bytes()
        assert main(["unprovision", "--port", line.path, "--state", str(state), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {
            "ports": [
                {
                    "port": line.path,
                    "id": world.MAC,
                    "removed": [],
                    "left_inventory": False,
                    "frozen_client": False,
                    "reason": "",
                    "message": "",
                    "hint": "",
                }
            ]
        }
        assert flash.read_bytes() == after
        # Settings that are damaged go too; the board is known by its chip.
        world.put(line, {"/gapcast.json": b"{"}, tmp_path)
        enter_in_fleet(state, world.MAC, None)
        assert main(["unprovision", "--port", line.path, "--state", str(state)]) == 0
        assert "1 file or folder of Gapcast" in (out := capsys.readouterr().out), out
        assert "out of the inventory" in out
        assert world.files_on(line) == before


def test_a_port_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unprovision"]) == 2
    assert "--port" in capsys.readouterr().err


def test_the_inventory_and_the_board_agree_on_a_key(tmp_path: Path) -> None:
    state = tmp_path / "fleet.db"
    key, changed = enter_in_fleet(state, world.MAC, None)
    assert changed
    assert enter_in_fleet(state, world.MAC, key) == (key, False)
    # Interrupted before the board had it: it has none, or an older one.
    for on_board in (None, fresh_key(), Secret("no key at all"), Secret("")):
        other, changed = enter_in_fleet(state, world.MAC, on_board)
        assert changed
        assert other not in (key, on_board)
        assert enter_in_fleet(state, world.MAC, other) == (other, False)
    # A board that another server had: its key is not taken over.
    assert enter_in_fleet(tmp_path / "second.db", world.MAC, other)[1]


def test_leaving_an_inventory(tmp_path: Path) -> None:
    state = tmp_path / "fleet.db"
    assert not leave_fleet(state, world.MAC)
    assert not state.exists()  # not made for that
    enter_in_fleet(state, world.MAC, None)
    assert not leave_fleet(state, "other")
    assert leave_fleet(state, world.MAC)
    assert not leave_fleet(state, world.MAC)
