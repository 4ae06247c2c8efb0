"""The client on a board: installed by the real mpremote, on a chip that runs the real MicroPython."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gapcast_tools.usb import bootfile
from gapcast_tools.usb.client import boot_lines, compile_client
from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.install import ask, install, settings_on, uninstall
from provision import inst_world as world
from provision.repl_flash import make_flash

pytestmark = pytest.mark.usefixtures("micropython")


def test_a_fresh_board_gets_the_client_and_starts_it(tmp_path: Path) -> None:
    make_flash(tmp_path)
    seen: list[tuple[str, int, int]] = []
    with world.plug(tmp_path) as line:
        board = world.board(line)
        before = world.files_on(line)
        runtime = ask(board)
        assert (runtime.version >= (1, 25, 0), runtime.unique_id) == (True, world.MAC)
        assert not runtime.frozen_client
        assert settings_on(board) is None
        settings = world.settings(wifi_ssid="Käfer \N{LADY BEETLE}")
        client = compile_client(runtime)
        changed = install(board, client, settings, lambda *progress: seen.append(progress))
        files = world.files_on(line)
        assert world.our_files(files) == world.client_of(runtime)
        assert {*world.client_of(runtime), "/gapcast.json", "/boot.py"} == set(changed)
        assert settings_on(board) == settings
        script = "import json; print(json.load(open('gapcast.json'))['wifi_ssid'].encode())"
        assert repr("Käfer \N{LADY BEETLE}".encode()) in line.mpremote("resume", "exec", script)
        assert bootfile.without_block(files["/boot.py"]) == before["/boot.py"]
        assert not [path for path in files if path.endswith(world.NEW)]
        since = len(line.printed)
        board.reset()
        line.wait_for(b">>> ", line.wait_for(b"rst:", since))
        assert b"Traceback" not in line.printed[since:]
        assert "agent" in line.mpremote("resume", "exec", "import sys; print(sys.modules.keys())")
    assert seen[0][:2] == ("install", 0)
    assert seen[-1] == ("install", seen[-1][2], seen[-1][2])
    assert [at for _, at, _ in seen] == sorted(at for _, at, _ in seen)


def test_the_second_time_changes_not_one_byte_of_flash(tmp_path: Path) -> None:
    flash = make_flash(tmp_path)
    with world.plug(tmp_path) as line:
        board = world.board(line)
        client = compile_client(ask(board))
        assert install(board, client, world.settings())
        before = flash.read_bytes()
        assert install(board, client, world.settings()) == []
        assert flash.read_bytes() == before


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    make_flash(tmp_path)
    with world.plug(tmp_path) as line:
        board = world.board(line)
        runtime = ask(board)
        client = compile_client(runtime)
        install(board, client, world.settings())
        assert install(board, client, world.settings(image="other")) == ["/gapcast.json"]
        # An older client: one module differs, one is no more, one was not there yet, one was left as source.
        older = {
            "/lib/gapcast_boot/agent.mpy": b"older",
            "/lib/gapcast_boot/given_up.mpy": b"x",
            "/lib/gapcast_boot/net.py": b"x",
            "/gapcast_core/wire.py": b"x",
        }
        world.put(line, older, tmp_path)
        line.mpremote("resume", "rm", ":/lib/gapcast_core/wire.mpy")
        boot = world.files_on(line)["/boot.py"]
        assert sorted(install(board, client, world.settings(image="other"))) == [
            "/gapcast_core (removed)",
            "/gapcast_core/wire.py (removed)",
            "/lib/gapcast_boot/agent.mpy",
            "/lib/gapcast_boot/given_up.mpy (removed)",
            "/lib/gapcast_boot/net.py (removed)",
            "/lib/gapcast_core/wire.mpy",
        ]
        files = world.files_on(line)
        assert world.our_files(files) == world.client_of(runtime)
        assert files["/boot.py"] == boot


def test_the_users_files_and_settings_stay_and_come_back_as_they_were(tmp_path: Path) -> None:
    make_flash(tmp_path)
    with world.plug(tmp_path) as line:
        board = world.board(line)
        world.put(line, {**world.USER_FILES, "/boot.py": world.USER_BOOT}, tmp_path)
        by_hand = {"stall_ms": 90000, "health": "boot", "image": "mine"}
        world.put(line, {"/gapcast.json": json.dumps(by_hand, indent=4).encode()}, tmp_path)
        before = world.user_files(world.files_on(line))
        assert before == {**world.USER_FILES, "/boot.py": world.USER_BOOT}
        found = settings_on(board)
        assert found == by_hand
        client = compile_client(ask(board))
        install(board, client, found | world.settings())
        files = world.files_on(line)
        assert files["/boot.py"].endswith(b"# <<< gapcast <<<\n" + world.USER_BOOT)
        assert {path: files[path] for path in world.USER_FILES} == world.USER_FILES
        assert json.loads(files["/gapcast.json"])["stall_ms"] == 90000
        uninstall(board)
        assert world.files_on(line) == before
        assert uninstall(board) == []


def test_settings_written_by_hand_in_another_form_are_left_alone(tmp_path: Path) -> None:
    flash = make_flash(tmp_path)
    with world.plug(tmp_path) as line:
        board = world.board(line)
        client = compile_client(ask(board))
        install(board, client, {"server": "192.0.2.1", "image": "bench"})
        world.put(line, {"/gapcast.json": b'{\n  "image":"bench", "server":  "192.0.2.1"}'}, tmp_path)
        before = flash.read_bytes()
        assert install(board, client, {"server": "192.0.2.1", "image": "bench"}) == []
        assert flash.read_bytes() == before


def test_a_full_file_system_is_told_before_anything_is_written(tmp_path: Path) -> None:
    flash = make_flash(tmp_path)
    fill = """
import os
f = open("/big.bin", "wb")
while os.statvfs("/")[4] > %d:
    f.write(b"x" * 4096)
    f.flush()
f.close()
"""
    with world.plug(tmp_path) as line:
        board = world.board(line)
        runtime = ask(board)
        line.mpremote("resume", "exec", fill % 20)
        before = flash.read_bytes()
        with pytest.raises(PortFault, match=r"has \d+ KiB free, and \d+ KiB are needed") as raised:
            install(board, compile_client(runtime), world.settings())
        assert raised.value.reason == "full"
        assert flash.read_bytes() == before
        line.mpremote("resume", "rm", ":big.bin")
        assert install(board, compile_client(runtime), world.settings())
        assert world.our_files(world.files_on(line)) == world.client_of(runtime)
        # With no room at all it can still be taken off.
        line.mpremote("resume", "exec", fill % 0)
        uninstall(board)
        assert set(world.files_on(line)) == {"/boot.py", "/big.bin"}


def test_room_that_is_used_up_meanwhile_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_flash(tmp_path)
    monkeypatch.setattr("gapcast_tools.usb.install._check_room", lambda *_: None)
    with world.plug(tmp_path) as line:
        board = world.board(line)
        line.mpremote(
            "resume", "exec", "f = open('/big.bin', 'wb')\nfor i in range(220): f.write(bytes(4096))"
        )
        line.mpremote("resume", "exec", "f.close()")
        before = world.files_on(line)
        with pytest.raises(PortFault) as raised:
            install(board, compile_client(ask(board)), world.settings())
        assert raised.value.reason == "full"
        assert world.files_on(line) == before


def test_a_client_that_waits_for_the_network_is_interrupted(tmp_path: Path) -> None:
    make_flash(tmp_path)
    with world.plug(tmp_path) as line:
        board = world.board(line)
        install(board, compile_client(ask(board)), world.settings(server="192.0.2.1"))
    with world.plug(tmp_path, world={"wifi_ms": 60000}) as line:
        line.wait_for(b"rst:")
        assert settings_on(world.board(line)) == world.settings(server="192.0.2.1")
        assert b"KeyboardInterrupt" in line.printed


def test_lines_of_ours_that_are_not_whole_are_not_guessed_at(tmp_path: Path) -> None:
    flash = make_flash(tmp_path)
    broken = bootfile.with_block(world.USER_BOOT, boot_lines()).replace(b"# <<< gapcast <<<", b"# mine")
    with world.plug(tmp_path) as line:
        board = world.board(line)
        world.put(line, {"/boot.py": broken}, tmp_path)
        client = compile_client(ask(board))
        before = flash.read_bytes()
        for act in (lambda: install(board, client, world.settings()), lambda: uninstall(board)):
            with pytest.raises(PortFault, match="a part of Gapcast's lines") as raised:
                act()
            assert raised.value.reason == "damaged"
        assert flash.read_bytes() == before
