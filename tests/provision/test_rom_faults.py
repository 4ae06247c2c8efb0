"""Pulled cables, noise, silence: the real esptool ends with an error, and its next run puts it right."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gapcast_sim.chip.chip import NO_FAULTS, SimChip
from gapcast_sim.chip.faults import Faults
from gapcast_sim.chip.flash import TYPICAL
from provision.rom_tool import Done, end, image, run, start, works

SIZE = 160_000
STUB_BYTES = 20_000  # what the host has sent at most when the stub runs
SENT_BYTES = 100_000  # at least, when it has written all


def _interrupted(folder: Path, seed: int) -> tuple[bytes, bytes]:
    """Pull the cable while it writes, and write again. (flash in between, flash in the end)"""
    point = random.Random(seed).randrange(SENT_BYTES)
    with SimChip(folder, "esp32", pacing=False, timing=TYPICAL) as chip:
        chip.inject(Faults(pull_after_rx=point, seed=seed))
        done = run(chip, "write-flash", "0x8000", folder.parent / "image.bin")
        assert done.code != 0, f"{point=} {done.text}"
        assert chip.pulled.is_set(), f"{point=}"
        assert not chip.port.is_symlink()
        half = chip.flash
        chip.plug()
        works(chip, "write-flash", "0x8000", folder.parent / "image.bin")
        return half, chip.flash


def test_a_pulled_cable_and_then_once_more(tmp_path: Path) -> None:
    """At seeded points, some before the first byte is in flash."""
    data = image(tmp_path / "image.bin", SIZE).read_bytes()
    with ThreadPoolExecutor(5) as pool:
        results = list(pool.map(lambda seed: _interrupted(tmp_path / f"chip{seed}", seed), range(1, 6)))
    begun = 0
    for half, whole in results:
        assert whole[0x8000 : 0x8000 + SIZE] == data
        assert half[0x8000 : 0x8000 + SIZE] != data
        begun += half.count(0xFF) < len(half)
    assert begun > 0  # some were cut in the middle of writing


def test_esptool_goes_on_by_itself_when_the_chip_is_back(tmp_path: Path) -> None:
    file = image(tmp_path / "image.bin", SIZE)
    with SimChip(tmp_path / "chip", pacing=False, faults=Faults(pull_after_rx=60_000)) as chip:
        process = start(chip, "write-flash", "0x8000", file)
        assert chip.pulled.wait(30)
        chip.plug()
        done = end(process)
        assert done.code == 0, done.text
        assert "Lost connection, retrying" in done.text
        assert chip.flash[0x8000 : 0x8000 + SIZE] == file.read_bytes()


def test_pulled_while_reading(tmp_path: Path) -> None:
    with SimChip(tmp_path, pacing=False, faults=Faults(pull_after_tx=200_000)) as chip:
        done = run(chip, "read-flash", "0", "0x100000", tmp_path / "back.bin")
    assert done.code != 0
    assert not (tmp_path / "back.bin").exists()


FAULTS = {
    "silent from the start": Faults(stuck_after_rx=0),
    "silent after a while": Faults(stuck_after_rx=40_000),
    "noise from the start": Faults(noise_after_tx=0, noise_bytes=1 << 30),
    "noise after a while": Faults(noise_after_tx=1200, noise_bytes=1 << 30),
    "the chip hears noise": Faults(noise_after_rx=40_000, noise_bytes=1 << 30),
}


def _troubled(folder: Path, faults: Faults, file: Path) -> tuple[Done, bytes]:
    """Write with these faults, and without. (the first run, the flash after the second)"""
    with SimChip(folder, pacing=False, faults=faults) as chip:
        done = run(chip, "write-flash", "0x8000", file)
        chip.inject(NO_FAULTS)
        works(chip, "write-flash", "0x8000", file)
        return done, chip.flash


def test_esptool_ends_with_an_error(tmp_path: Path) -> None:
    file = image(tmp_path / "image.bin", SIZE)
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda name: _troubled(tmp_path / name, FAULTS[name], file), FAULTS))
    for name, (done, flash) in zip(FAULTS, results, strict=True):
        assert done.code not in (0, None), f"{name}: {done.text}"
        assert "fatal error" in done.text
        assert flash[0x8000 : 0x8000 + SIZE] == file.read_bytes()


def test_a_short_noise_costs_a_block_only(tmp_path: Path) -> None:
    """The checksum finds it, and esptool sends the block again."""
    file = image(tmp_path / "image.bin", SIZE)
    with SimChip(
        tmp_path / "chip", pacing=False, faults=Faults(noise_after_rx=50_000, noise_bytes=3)
    ) as chip:
        works(chip, "write-flash", "0x8000", file)
        assert chip.flash[0x8000 : 0x8000 + SIZE] == file.read_bytes()
