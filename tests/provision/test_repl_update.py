"""The whole way: the client on a chip's file system, by mpremote, takes an update by multicast."""

from __future__ import annotations

import json
from pathlib import Path

from gapcast.image.boards import chip_of_board
from gapcast.image.build import build_container
from gapcast.image.keys import board_key_text, make_key
from gapcast.image.sample import build_sample
from gapcast_tools import upy
from gapcast_tools.upy import Micropython
from provision.repl_flash import SLOT_BYTES, make_flash
from provision.repl_pty import Line, make_line
from sim.sim_help import serving

ROOT = Path(__file__).parents[2]
BOARD = "ESP32_GENERIC"
PROMPT = b"\r\n>>> "
NEW_BYTES = 300_000
BOOT_PY = "from gapcast_boot import agent\nagent.run()\n"
VALID = (2).to_bytes(4, "little")  # boards/SIM/sim_ota.py


def install(line: Line, client: Path, folder: Path, settings: dict[str, object]) -> None:
    """The client and its settings on the chip; it does not run yet."""
    (folder / "boot.py").write_text(BOOT_PY)
    (folder / "gapcast.json").write_text(json.dumps(settings))
    line.mpremote("fs", "mkdir", ":/lib")
    line.mpremote("fs", "cp", "-r", client / "gapcast_core", client / "gapcast_boot", ":/lib/")
    # boot.py last: mpremote begins with a soft reset, and that runs it
    line.mpremote("fs", "cp", folder / "gapcast.json", folder / "boot.py", ":")


def test_a_chip_takes_an_update_and_confirms_it(tmp_path: Path, micropython: Micropython) -> None:
    chip = chip_of_board(BOARD)
    key = make_key(tmp_path / "key.pem")
    new = build_sample(NEW_BYTES, "2.0.0", chip, seed=5)
    (tmp_path / "images").mkdir()
    container = build_container(new, "image", BOARD, chip, key=key)
    (tmp_path / "images" / "image.gap").write_bytes(container.data)
    client = upy.compile_mpy([ROOT / "firmware" / "lib"], upy.cache_dir() / "sim", micropython).path
    flash = make_flash(tmp_path / "chip", app=build_sample(65536, "1.0.0", chip))
    with (
        serving(tmp_path / "images", "--rate", "8M") as port,
        make_line(tmp_path / "chip", loss=0.05) as line,
    ):
        line.wait_for(PROMPT)
        settings = {
            "server": "127.0.0.1",
            "port": port,
            "image": "image",
            "board": BOARD,
            "wifi_ssid": "simulated",
            "keys": [board_key_text(key.public_key())],
            "ask_ms": 4000,
        }
        install(line, client, tmp_path, settings)
        since = len(line.printed)
        line.mpremote("resume", "reset")
        line.wait_for(b"gapcast: updated 2.0.0\r\nrst:0xc (SW_CPU_RESET)", since)
        line.wait_for(b"gapcast: 2.0.0 confirmed\r\n", since)
        line.wait_for(b"MicroPython v", since)
        assert b"gapcast: stream over" in line.printed[since:]  # it came by multicast
        told = line.mpremote("eval", "__import__('esp32').Partition(1).info()")
        assert told == f"(0, 17, {0x10000 + SLOT_BYTES}, {SLOT_BYTES}, 'ota_1', False)\n"
    after = flash.read_bytes()
    assert after[0x10000 + SLOT_BYTES :][:NEW_BYTES] == new
    assert after[0xE000:0xE004] == b"\2\0\0\0"  # the second entry of otadata: ota_1 boots,
    assert after[0xE018:0xE01C] == VALID  # and is confirmed
