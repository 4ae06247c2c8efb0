"""Can this boot loader go back? The rule, on boot loaders of each kind; esptool reads those we make."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gapcast.image.boards import CHIPS
from gapcast.image.espapp import read_descriptor
from gapcast.image.espimage import build_image
from gapcast_tools.boards.bootloader import Origin, build_bootloader, can_roll_back
from gapcast_tools.boards.firmware import Firmware, FirmwareRefused, build_merged, load_firmware
from provision.boards_files import ESP32, IDF, UPSTREAM_OTA, micropython, real


def load(loader: bytes, app: bytes, tmp_path: Path) -> Firmware:
    path = tmp_path / "firmware.bin"
    path.write_bytes(build_merged("esp32", UPSTREAM_OTA, app, loader))
    return load_firmware(path, ESP32)


def test_a_boot_loader_without_rollback(tmp_path: Path) -> None:
    loader = build_bootloader("esp32", IDF, rollback=False)
    with pytest.raises(FirmwareRefused) as caught:
        load(loader, micropython(), tmp_path)
    assert caught.value.reason == "no_rollback"
    assert "1.21" in caught.value.hint


@pytest.mark.parametrize("app_idf", ["v5.2", "v5.4.1", "strange"])
def test_a_boot_loader_of_another_build_is_only_warned_about(app_idf: str, tmp_path: Path) -> None:
    loader = build_bootloader("esp32", IDF, rollback=None)
    found = load(loader, micropython(idf=app_idf), tmp_path)
    assert found.rollback is None
    assert len(found.warnings) == 1


def test_the_rule_about_rollback() -> None:
    told = {kind: build_bootloader("esp32", IDF, rollback=kind) for kind in (True, False, None)}
    old = build_image(CHIPS["esp32"], 0x3FFF0000, bytes(200))  # names no ESP-IDF: before 5.2
    assert can_roll_back(told[True], None) is True
    assert can_roll_back(told[False], Origin(IDF, (1, 26, 0))) is False
    assert can_roll_back(told[None], Origin(IDF, (1, 26, 0))) is True
    assert can_roll_back(told[None], Origin(IDF, (1, 20, 0))) is False
    assert can_roll_back(told[None], Origin(IDF, None)) is None
    assert can_roll_back(told[None], None) is None
    assert can_roll_back(old, Origin("v5.0.4", (1, 23, 0))) is True
    assert can_roll_back(old, Origin("v5.0.4", (1, 20, 0))) is False
    assert can_roll_back(old, Origin("v5.2.2", (1, 23, 0))) is None  # older than its application


def test_the_rule_works_on_a_copy_of_flash() -> None:
    """As read from a board that runs already: 28 KiB of boot loader, 288 bytes of application."""
    flash = b"\xff" * 0x1000 + real()
    described = read_descriptor(flash[0x10000 : 0x10000 + 288])
    assert described is not None
    assert can_roll_back(flash[0x1000:0x8000], Origin(described.idf, (1, 26, 0))) is True
    assert can_roll_back(b"\xff" * 0x7000, Origin(described.idf, (1, 26, 0))) is None
    assert read_descriptor(flash[0x1000:0x2000]) is None
    assert read_descriptor(b"") is None


@pytest.mark.interop
@pytest.mark.parametrize("chip", CHIPS)
def test_esptool_reads_our_boot_loader(chip: str, tmp_path: Path) -> None:
    path = tmp_path / "bootloader.bin"
    path.write_bytes(build_bootloader(chip, IDF))
    command = [sys.executable, "-m", "esptool", "--chip", chip, "image-info", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Checksum: 0x" in done.stdout
    assert "(valid)" in done.stdout
    assert f"ESP-IDF: {IDF}" in done.stdout
