"""`gapcast backup` and `gapcast restore`: the whole flash out of a chip and back, byte by byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gapcast import cli
from gapcast_sim.chip.chip import SimChip
from gapcast_sim.chip.faults import Faults
from gapcast_tools.usb import backup_file, restore
from gapcast_tools.usb.esptool import Esptool
from provision.usb_chips import FLASH_BYTES, bare_chip, held, is_free, noise

MAC = "240ac4000001"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chips of these tests are small, too."""
    monkeypatch.setattr(restore, "PIECE_BYTES", 32 << 10)


def filled(folder: Path, chip: str = "esp32c3", mac: str = MAC, faults: Faults | None = None) -> SimChip:
    """A chip whose flash is full of what does not compress."""
    folder.mkdir()
    (folder / "flash.bin").write_bytes(noise(5, FLASH_BYTES))
    return bare_chip(folder, chip, mac, faults=faults or Faults())


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main(list(map(str, arguments)))
    out, err = capsys.readouterr()
    return code, out, err


def damage(chip: SimChip, *places: int) -> None:
    with open(chip.folder / "flash.bin", "r+b") as flash:
        for place in places:
            flash.seek(place)
            flash.write(bytes(100))


def test_backup_damage_restore(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "kitchen.bin"
    with filled(tmp_path / "chip") as chip:
        was = chip.flash
        code, out, err = run(capsys, "backup", chip.port, "-o", file)
        assert (code, err) == (0, "")
        assert f"{file}: the whole flash of esp32c3 {MAC}, {FLASH_BYTES} bytes\n" in out
        assert file.read_bytes() == was == chip.flash
        assert sorted(os.listdir(tmp_path)) == ["chip", "kitchen.bin", "kitchen.bin.json"]
        for one in (file, tmp_path / "kitchen.bin.json"):
            assert one.stat().st_mode & 0o777 == 0o600
            assert one.stat().st_nlink == 1

        damage(chip, 0, 0x1FFF0, FLASH_BYTES - 100)
        code, out, err = run(capsys, "restore", chip.port, file)
        assert (code, err) == (0, "")
        assert f"{4 * (32 << 10)} of {FLASH_BYTES} bytes differed" in out  # one place is on two pieces
        assert chip.flash == was

        code, out, _ = run(capsys, "restore", chip.port, file)
        assert (code, "nothing to write" in out) == (0, True)
        code, out, _ = run(capsys, "restore", chip.port, file, "--json")
        facts = {"ok": True, "port": str(chip.port), "bytes": FLASH_BYTES, "written_bytes": 0}
        assert json.loads(out) == facts


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "kitchen.bin"
    for there in (file, tmp_path / "kitchen.bin.json"):
        there.write_text("mine")
        code, _, err = run(capsys, "backup", "/dev/nowhere", "-o", file)
        assert (code, "exists already" in err) == (2, True)
        assert there.read_text() == "mine"
        there.unlink()
    file.symlink_to("nowhere")
    assert run(capsys, "backup", "/dev/nowhere", "-o", file)[0] == 2
    code, _, err = run(capsys, "backup", "/dev/nowhere", "-o", tmp_path / "no" / "file")
    assert (code, "there is no folder" in err) == (2, True)


def test_what_came_into_being_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "kitchen.bin"
    place = backup_file._place

    def late(source: Path, target: Path) -> None:
        if target == file:
            file.write_text("mine")
        place(source, target)

    monkeypatch.setattr(backup_file, "_place", late)
    with bare_chip(tmp_path / "chip") as chip:
        code, _, err = run(capsys, "backup", chip.port, "-o", file)
    assert (code, "exists already" in err) == (2, True)
    assert file.read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["chip", "kitchen.bin"]


def test_the_cable_is_pulled_while_reading(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "kitchen.bin"
    with filled(tmp_path / "chip", faults=Faults(pull_after_tx=200_000)) as chip:
        code, out, err = run(capsys, "backup", chip.port, "-o", file)
        assert (code, out) == (1, "")
        assert f"the connection to {chip.port} broke" in err
        assert os.listdir(tmp_path) == ["chip"]
        chip.plug()
        assert run(capsys, "backup", chip.port, "-o", file)[0] == 0
        assert file.read_bytes() == chip.flash


def test_sigterm_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with SimChip(tmp_path / "chip", "esp32c3", flash_bytes=4 << 20) as chip:  # a minute at its baud rate
        command = [sys.executable, "-m", "gapcast", "backup", chip.port, "-o", tmp_path / "out" / "x.bin"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path / "out")}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + 60
            while not list((tmp_path / "out").glob(".*.tmp")):  # it reads
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.terminate()
            assert process.wait(60) == 143
        assert os.listdir(tmp_path / "out") == []
        assert is_free(chip.port)


def test_a_restore_that_broke_off_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "kitchen.bin"
    with filled(tmp_path / "chip") as chip:
        was = chip.flash
        assert run(capsys, "backup", chip.port, "-o", file)[0] == 0
        damage(chip, *range(0, FLASH_BYTES, 4096))
        chip.inject(Faults(pull_after_rx=200_000))
        code, out, _ = run(capsys, "restore", chip.port, file, "--json")
        assert code == 1
        told = json.loads(out)
        assert (told["ok"], told["reason"]) == (False, "interrupted")
        assert told["message"]
        assert told["hint"]
        assert chip.flash != was
        chip.plug()
        code, out, _ = run(capsys, "restore", chip.port, file, "--json")
        assert code == 0
        assert 0 < json.loads(out)["written_bytes"] < FLASH_BYTES
        assert chip.flash == was


def test_whose_backup_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    resets: list[str] = []
    monkeypatch.setattr(Esptool, "reset", lambda self: resets.append(self.port))
    file = tmp_path / "kitchen.bin"
    with filled(tmp_path / "one") as one:
        assert run(capsys, "backup", one.port, "-o", file)[0] == 0
    empty = b"\xff" * FLASH_BYTES
    with bare_chip(tmp_path / "s3", "esp32s3", MAC) as other:
        code, _, err = run(capsys, "restore", other.port, file, "--any-board")
        assert code == 1
        assert "is esp32s3, the backup is of esp32c3" in err
        assert other.flash == empty
    with SimChip(tmp_path / "big", "esp32c3", mac=MAC, flash_bytes=2 * FLASH_BYTES, pacing=False) as big:
        code, _, err = run(capsys, "restore", big.port, file, "--any-board")
        assert (code, f"has {2 * FLASH_BYTES} bytes" in err) == (1, True)
        assert big.flash == 2 * empty
    with bare_chip(tmp_path / "two", mac="240ac4000002") as two:
        code, _, err = run(capsys, "restore", two.port, file)
        assert code == 1
        assert f"is 240ac4000002, the backup is of {MAC}" in err
        assert "--any-board" in err
        assert resets[-1] == str(two.port)  # and it runs on as it was
        assert two.flash == empty
        assert run(capsys, "restore", two.port, file, "--any-board")[0] == 0
        assert two.flash == file.read_bytes()


def test_files_that_are_no_backup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, note = tmp_path / "kitchen.bin", tmp_path / "kitchen.bin.json"

    def refused(part: str) -> None:
        code, _, err = run(capsys, "restore", "/dev/nowhere", file)
        assert code == 2
        assert part in err

    refused("cannot read")
    file.write_bytes(b"x")
    refused("there is no")
    good = {"chip": "esp32", "mac": MAC, "flash_bytes": 4, "sha256": "0" * 64, "made_at": "2026-01-01"}
    for bad in (
        "{",
        "[]",
        json.dumps(good | {"mac": 7}),
        json.dumps(good | {"mac": "24:0a"}),
        json.dumps(good | {"flash_bytes": True}),
        json.dumps(good | {"flash_bytes": 1 << 40}),
        json.dumps({name: value for name, value in good.items() if name != "sha256"}),
    ):
        note.write_text(bad)
        refused("is no note of `gapcast backup`")
    note.write_text(json.dumps(good))
    refused("was cut or changed")
    file.write_bytes(b"four")
    refused("was cut or changed")


def test_a_busy_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with bare_chip(tmp_path / "chip") as chip, held(chip.port) as pid:
        code, _, err = run(capsys, "backup", chip.port, "-o", tmp_path / "x.bin")
        assert code == 1
        assert f"{chip.port} is busy" in err
        assert f"(pid {pid})" in err
    assert os.listdir(tmp_path) == ["chip"]
