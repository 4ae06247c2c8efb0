"""The real esptool finds, writes, reads and erases simulated chips."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gapcast_sim.chip.chip import SimChip
from gapcast_sim.chip.flash import TYPICAL
from provision.rom_tool import image, run, works

MIB = 1 << 20
CHIPS = {
    "esp32": "ESP32-D0WD-V3 (revision v3.1)",
    "esp32s2": "ESP32-S2 (revision v1.0)",
    "esp32s3": "ESP32-S3 (QFN56) (revision v0.2)",
    "esp32c3": "ESP32-C3 (QFN32) (revision v0.4)",
    "esp32c6": "ESP32-C6 (QFN40) (revision v0.1)",
}


def _identified(folder: Path, name: str) -> str:
    with SimChip(folder, name, mac="24:0a:c4:c0:db:07", flash_bytes=8 * MIB, pacing=False) as chip:
        return works(chip, "flash-id")


def test_identifies_five_kinds_of_chips(tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        texts = list(pool.map(lambda name: _identified(tmp_path / name, name), CHIPS))
    for text, description in zip(texts, CHIPS.values(), strict=True):
        assert description in text
        assert "24:0a:c4:c0:db:07" in text
        assert "Detected flash size: 8MB" in text
        assert "Crystal frequency:  40MHz" in text


def test_a_wrong_chip_is_told(tmp_path: Path) -> None:
    with SimChip(tmp_path, "esp32s3", pacing=False) as chip:
        done = run(chip, "--chip", "esp32c3", "flash-id")
    assert done.code != 0
    assert "This chip is ESP32-S3, not ESP32-C3" in done.text


def test_writes_verifies_and_reads_back(tmp_path: Path) -> None:
    file = image(tmp_path / "image.bin", 3 * MIB // 2)
    back = tmp_path / "back.bin"
    with SimChip(tmp_path / "chip", pacing=False) as chip:
        text = works(chip, "write-flash", "0x10000", file)
        assert "Hash of data verified." in text
        assert chip.flash[0x10000 : 0x10000 + file.stat().st_size] == file.read_bytes()
        assert chip.flash.count(0xFF, 0, 0x10000) == 0x10000
        assert "digest matched" in works(chip, "verify-flash", "0x10000", file)
        works(chip, "read-flash", "0x10000", file.stat().st_size, back)
        assert back.read_bytes() == file.read_bytes()
        works(chip, "read-flash", "0x10000", 0x800, back)
        assert back.read_bytes() == file.read_bytes()[:0x800]


def test_writes_over_other_content(tmp_path: Path) -> None:
    """NOR flash: without the erasing the result would be the AND of both."""
    first, second = image(tmp_path / "1.bin", 200_000, seed=1), image(tmp_path / "2.bin", 100_000, seed=2)
    with SimChip(tmp_path / "chip", "esp32s3", pacing=False) as chip:
        works(chip, "write-flash", "0x0", first)
        works(chip, "write-flash", "0x0", second)
        after = -(-100_000 // 4096) * 4096  # the sectors that the second one touches
        assert chip.flash[:after] == second.read_bytes().ljust(after, b"\xff")
        assert chip.flash[after:200_000] == first.read_bytes()[after:]


@pytest.mark.parametrize(("name", "packed"), [("esp32", "--no-compress"), ("esp32c3", "--compress")])
def test_writes_without_a_stub(tmp_path: Path, name: str, packed: str) -> None:
    file = image(tmp_path / "image.bin", 100_000)
    back = tmp_path / "back.bin"
    with SimChip(tmp_path / "chip", name, pacing=False) as chip:
        assert "Hash of data verified." in works(chip, "--no-stub", "write-flash", packed, "0x310000", file)
        assert chip.flash[0x310000 : 0x310000 + 100_000] == file.read_bytes()
        works(chip, "--no-stub", "read-flash", "0x310000", 5000, back)
    assert back.read_bytes() == file.read_bytes()[:5000]


def test_erases_all_or_a_region(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(MIB)
    with SimChip(tmp_path, "esp32c6", flash_bytes=MIB, pacing=False, timing=TYPICAL) as chip:
        (tmp_path / "flash.bin").write_bytes(content)
        works(chip, "erase-region", "0x3000", "0x2000")
        assert chip.flash == content[:0x3000] + b"\xff" * 0x2000 + content[0x5000:]
        works(chip, "erase-flash")
        assert chip.flash == b"\xff" * MIB


def test_a_damaged_byte_is_found(tmp_path: Path) -> None:
    file = image(tmp_path / "image.bin", 50_000)
    with SimChip(tmp_path / "chip", "esp32s2", pacing=False) as chip:
        works(chip, "write-flash", "0x1000", file)
        with open(tmp_path / "chip" / "flash.bin", "r+b") as flash:
            flash.seek(0x1000 + 31_234)
            flash.write(bytes([file.read_bytes()[31_234] ^ 0x10]))
        done = run(chip, "verify-flash", "--diff", "0x1000", file)
    assert done.code != 0
    assert f"1 differences, first at {0x1000 + 31_234:#010x}" in done.text


def test_the_flash_and_the_port_are_there_again(tmp_path: Path) -> None:
    file = image(tmp_path / "image.bin", 5000)
    with SimChip(tmp_path / "chip", pacing=False) as chip:
        works(chip, "write-flash", "0x1000", file)
    assert not chip.port.is_symlink()
    with SimChip(tmp_path / "chip", pacing=False) as chip:
        assert "digest matched" in works(chip, "verify-flash", "0x1000", file)
