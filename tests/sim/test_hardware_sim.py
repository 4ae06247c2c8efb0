"""Timers, watchdog, reset and power cuts of boards/SIM as processes see them, under both Pythons."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gapcast_tools.upy import Micropython

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SECONDS = 15  # less than any story would last without what it is about (FAR_MS)
RESET, CUT, WDT = 3, 4, 5

Story = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=["micropython", "cpython"])
def story(request: pytest.FixtureRequest, tmp_path: Path) -> Story:
    """Runs one story of upy_hardware.py to its end."""
    path = f"{ROOT / 'firmware' / 'lib'}:{ROOT / 'boards' / 'SIM'}"
    if request.param == "micropython":
        micropython: Micropython = request.getfixturevalue("micropython")
        command, environment = [*micropython.argv], {"MICROPYPATH": path + ":.frozen"}
    else:
        command, environment = [sys.executable], {"PYTHONPATH": path}
    (tmp_path / "sim.json").write_text(json.dumps({"slot_bytes": 0x10000}))

    def run(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, str(HERE / "upy_hardware.py"), str(tmp_path), name],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    return run


@pytest.mark.parametrize("name", ["hang", "sleep", "sleep_ms", "poll", "periodic"])
def test_a_timer_resets_the_board_whatever_it_does(story: Story, name: str) -> None:
    done = story(name)
    assert done.returncode == RESET, done.stderr


@pytest.mark.parametrize("name", ["deinit", "again"])
def test_a_timer_that_was_stopped_or_set_again_does_not_fire(story: Story, name: str) -> None:
    done = story(name)
    assert done.returncode == 0, done.stderr


def test_what_a_callback_raises_is_printed(story: Story) -> None:
    done = story("raising")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "went on")
    assert "in the callback" in done.stdout + done.stderr  # MicroPython's console is its standard output


def test_a_hungry_watchdog_bites(story: Story) -> None:
    assert story("hungry").returncode == WDT


def test_a_fed_one_does_not(story: Story) -> None:
    done = story("fed")
    assert (done.returncode, done.stdout) == (RESET, "alive\n")


def test_a_power_cut_ends_the_process_in_the_middle_of_an_operation(story: Story, tmp_path: Path) -> None:
    assert story("cut").returncode == CUT
    flash = (tmp_path / "ota_1.bin").read_bytes()
    assert flash == b"\0" * 8 + b"\xff" * (4096 - 8) + b"\0" * 4


def test_a_power_cut_in_a_callback(story: Story, tmp_path: Path) -> None:
    assert story("cut_in_callback").returncode == CUT
    assert not (tmp_path / "nvs.json").exists()


def test_values_in_nvs_outlive_the_process(story: Story) -> None:
    first, second = story("nvs"), story("nvs")
    assert first.stdout == f"{-0x1102} ESP_ERR_NVS_NOT_FOUND\n0 2 False\n"
    assert second.stdout == "1 4 True\n"
