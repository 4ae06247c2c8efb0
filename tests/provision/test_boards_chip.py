"""On a simulated chip: it boots what we lay out, and the real mpremote installs the client on it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gapcast.image.sample import build_sample
from gapcast_tools.boards.definition import load_board
from gapcast_tools.boards.firmware import build_merged, load_firmware
from gapcast_tools.upy import Micropython

# The chip itself is tested beside this, in test_repl_*.py.
repl_flash = pytest.importorskip("provision.repl_flash")
repl_pty = pytest.importorskip("provision.repl_pty")

FIRMWARE = Path(__file__).resolve().parents[2] / "firmware"
LIB = FIRMWARE / "lib"
HASHES = """
import os, hashlib, binascii
def walk(top):
    for name, kind, *_ in os.ilistdir(top):
        path = top + "/" + name
        if kind == 0x4000:
            walk(path)
        else:
            with open(path, "rb") as file:
                print(path, binascii.hexlify(hashlib.sha256(file.read()).digest()).decode())
walk("/lib")
"""


def test_mip_installs_the_client_from_a_checkout(tmp_path: Path, micropython: Micropython) -> None:
    repl_flash.make_flash(tmp_path)
    with repl_pty.make_line(tmp_path) as line:
        line.wait_for(b">>> ")
        told = line.mpremote("mip", "install", FIRMWARE / "package.json")
        assert told.splitlines()[-1] == "Done"
        found = dict(text.split() for text in line.mpremote("exec", HASHES).splitlines())
        assert found == {
            f"/lib/{path.relative_to(LIB).as_posix()}": hashlib.sha256(path.read_bytes()).hexdigest()
            for path in LIB.rglob("*.py")
        }
        script = (
            "import sys; sys.path.insert(0, '/lib'); from gapcast_boot import config; print(config.__file__)"
        )
        assert line.mpremote("exec", script) == "/lib/gapcast_boot/config.py\n"


PARTITIONS = """
import os
from esp32 import Partition
found = Partition.find(Partition.TYPE_APP) + Partition.find(Partition.TYPE_DATA)
for info in sorted((part.info() for part in found), key=lambda info: info[2]):
    print(info[4], info[2], info[3])
print("runs", Partition(Partition.RUNNING).info()[4], os.statvfs("/")[0] * os.statvfs("/")[2])
"""


@pytest.mark.parametrize("name", ["ESP32_GENERIC", "ESP32_GENERIC_C3"])
def test_a_chip_boots_what_we_lay_out(name: str, tmp_path: Path, micropython: Micropython) -> None:
    board = load_board(name)
    app = build_sample(8192, "1.0.0", board.chip_facts, source="def main(board):\n    pass\n")
    file = tmp_path / "firmware.bin"
    file.write_bytes(build_merged(board.chip, board.table(4 << 20), app))
    flash = bytearray(b"\xff" * (4 << 20))
    found = load_firmware(file, board)
    for part in found.parts:
        flash[part.offset : part.offset + len(part.data)] = part.data
    (tmp_path / "flash.bin").write_bytes(flash)
    with repl_pty.make_line(tmp_path, board.chip) as line:
        line.wait_for(b">>> ")
        told = line.mpremote("exec", PARTITIONS).splitlines()
    vfs = found.table.vfs(4 << 20)
    assert vfs is not None
    want = [f"{part.label} {part.offset} {part.size_bytes}" for part in (*found.table.entries, vfs)]
    assert told == [*want, f"runs ota_0 {vfs.size_bytes}"]
