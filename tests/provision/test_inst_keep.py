"""The user's files while the file system moves: saved, and put back as they were."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from gapcast.errors import OperatorError
from gapcast_tools.usb import keep
from gapcast_tools.usb.client import compile_client
from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.install import ask, install, settings_on
from gapcast_tools.usb.keep import put_back, save_files, saved_folder
from gapcast_tools.usb.mpremote import SCRIPTS
from provision import inst_world as world
from provision.repl_flash import make_flash

pytestmark = pytest.mark.usefixtures("micropython")

ODD = {"/with space/ünïcode 'q'.txt": b"x\r\n", "/main.py": b"1\n", "/boot.py": world.USER_BOOT}


def test_files_come_back_byte_by_byte_onto_a_new_file_system(tmp_path: Path) -> None:
    chip, folder = tmp_path / "chip", tmp_path / "state" / world.MAC
    make_flash(chip)
    with world.plug(chip) as line:
        board = world.board(line)
        world.put(line, {**world.USER_FILES, **ODD}, tmp_path)
        install(board, compile_client(ask(board)), world.settings(), None)
        before = world.files_on(line)
        user = world.user_files(before) | {"/boot.py": world.USER_BOOT}
        assert save_files(board, folder) == sorted({**user, "/gapcast.json": b""})
    modes = {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    assert (modes, folder.stat().st_mode & 0o777) == ({0o600}, 0o700)
    make_flash(chip)  # erased
    with world.plug(chip) as line:
        board = world.board(line)
        default = world.files_on(line)["/boot.py"]
        assert save_files(board, folder) == sorted({**user, "/gapcast.json": b""})  # nothing is lost by it
        written = put_back(board, folder)
        assert written[0] == "/boot.py"
        assert set(written) == {*user, "/gapcast.json"}
        assert not folder.exists()
        assert world.user_files(world.files_on(line)) == user
        assert default != world.USER_BOOT
        # But for the report key: the counter that went with it may have been erased.
        assert settings_on(board) == {k: v for k, v in world.settings().items() if k != "report_key"}
        install(board, compile_client(ask(board)), world.settings())
        assert world.files_on(line) == before


def test_a_second_save_takes_what_the_user_changed_since(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    make_flash(tmp_path / "chip")
    with world.plug(tmp_path / "chip") as line:
        board = world.board(line)
        world.put(line, {"/main.py": b"one", "/boot.py": b"mine"}, tmp_path)
        save_files(board, folder)
        world.put(line, {"/main.py": b"two", "/new.py": b"new", "/boot.py": b"changed"}, tmp_path)
        save_files(board, folder)
        assert keep._load(folder) == {"/main.py": b"two", "/new.py": b"new", "/boot.py": b"changed"}
        assert put_back(board, folder) == []
        assert put_back(board, folder) == []  # nothing to do any more


def test_a_pulled_cable_while_files_are_put_back(tmp_path: Path) -> None:
    chip, folder = tmp_path / "chip", tmp_path / "state"
    make_flash(chip)
    with world.plug(chip) as line:
        world.put(line, {**world.USER_FILES, "/boot.py": world.USER_BOOT}, tmp_path)
        save_files(line.path, folder)
    for pull_after_bytes in (4000, 9000, None):
        if pull_after_bytes == 4000:
            make_flash(chip)
        with world.plug(chip, pull_after_bytes) as line:
            if pull_after_bytes is not None:
                with pytest.raises(PortFault):
                    put_back(line.path, folder)
                assert folder.exists()
                continue
            save_files(line.path, folder)
            put_back(line.path, folder)
            assert world.files_on(line) == world.files_of({**world.USER_FILES, "/boot.py": world.USER_BOOT})


def test_large_and_many_files_take_several_calls(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    files = {"/www/large.bin": random.Random(5).randbytes(140_000)}
    files |= {f"/www/{number}.txt": b"%d" % number for number in range(45)}
    keep._store(folder, files)
    make_flash(tmp_path / "chip")
    seen: list[tuple[str, int, int]] = []
    with world.plug(tmp_path / "chip") as line:
        assert sorted(put_back(line.path, folder, lambda *progress: seen.append(progress))) == sorted(files)
        found = world.files_on(line)
        assert {path: found[path] for path in files} == world.files_of(files)
    assert len(seen) > SCRIPTS
    assert (seen[-1][0], seen[-1][1]) == ("files", seen[-1][2])


def test_a_smaller_file_system_is_told_and_the_files_stay_here(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    keep._store(folder, {f"/{number}.bin": bytes(4096) for number in range(8)})
    flash = make_flash(tmp_path / "chip")
    with world.plug(tmp_path / "chip") as line:
        fill = "import os\nwith open('/big.bin', 'wb') as f:\n for i in range(226): f.write(bytes(4096))"
        line.mpremote("resume", "exec", fill)
        before = flash.read_bytes()
        with pytest.raises(PortFault) as raised:
            put_back(line.path, folder)
        assert raised.value.reason == "full"
        assert flash.read_bytes() == before
        assert folder.exists()


def test_what_was_saved_is_checked(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    keep._store(folder, {"/main.py": b"one"})
    keep._store(folder, {"/main.py": b"two"})  # over the first
    assert keep._load(folder) == {"/main.py": b"two"}
    (folder / "files" / "main.py").write_bytes(b"3")
    with pytest.raises(OperatorError, match="changed"):
        put_back("/dev/null", folder)
    (folder / "index.json").write_text("{")
    with pytest.raises(OperatorError, match="damaged"):
        put_back("/dev/null", folder)


@pytest.mark.parametrize("path", ["/../x", "x", "/", "/a/../../x", "/a\0b"])
def test_names_from_a_board_stay_in_the_folder(path: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no path"):
        keep._store(tmp_path / "state", {path: b"x"})
    (tmp_path / "index.json").write_text(json.dumps({path: "00"}))
    with pytest.raises(OperatorError):
        put_back("/dev/null", tmp_path)


def test_the_folder_is_beside_the_inventory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert saved_folder(world.MAC) == Path("/somewhere/gapcast/provision") / world.MAC
