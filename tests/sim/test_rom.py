"""The firmware of simulated boards in ROM, outside their heap (boards/SIM/sim_rom.py)."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sim_help import ENVIRONMENT, gapcast, one_line, read_json

from gapcast_sim.runtime import CODE_IN_ROM, Runtime, find_runtime
from gapcast_tools.upy import Micropython

NEWEST_WITHOUT = (1, 24, 99)  # vfs.VfsRom came with 1.25
CODE_BYTES = 36_000  # of the client; 41 KB were measured, beside 8 repair symbols less
# Started for a ROM it has another module in place of one that it needs; anything else it does as ever.
LACKS = """#!/bin/sh
case "$*" in *sim_rom*)
    shift 2; set -- -c "import sys; sys.modules['{module}'] = sys; import sim_rom" "$@"
esac
exec {command} "$@"
"""


@pytest.fixture
def own_cache(micropython: Micropython, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of this test alone."""
    if micropython.version <= NEWEST_WITHOUT:
        pytest.skip(f"MicroPython {micropython.version} has no VfsRom")
    use(monkeypatch, "MICROPYTHON", shlex.join(micropython.argv))
    use(monkeypatch, "GAPCAST_CACHE", str(tmp_path / "cache"))


def use(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Set a variable of the environment, for this process and for commands."""
    monkeypatch.setenv(name, value)
    monkeypatch.setitem(ENVIRONMENT, name, value)


def update(folder: Path, *options: object) -> Any:
    """The result of one board that takes a small image."""
    done = gapcast(
        "sim", "--boards", 1, "--size", "64k", "--json", folder / "r.json", *options, cwd=folder
    )  # fmt: skip
    assert done.returncode == 0, done
    summary = read_json(folder / "r.json")
    row = summary["results"][0]
    return summary["runtime"], row["heap_peak_bytes"] - row["heap_own_bytes"], done.stdout


def test_the_bytecode_is_outside_the_heap(own_cache: None, tmp_path: Path) -> None:
    name, in_rom, _told = update(tmp_path)
    assert "code in the heap" not in name
    name, in_files, told = update(tmp_path, "--unfrozen")
    assert "code in the heap" in name
    assert "no ROM" not in told
    assert in_files - in_rom > CODE_BYTES


def test_only_what_is_in_rom_can_be_imported(own_cache: None, tmp_path: Path) -> None:
    runtime = find_runtime(print)
    assert runtime.rom is not None
    (tmp_path / "stray.py").write_text("")
    script = "import sim_rom, gapcast_boot; print(gapcast_boot.__file__); import "
    for module, code in (("sim_nvs", 0), ("stray", 1)):
        done = subprocess.run(
            [*runtime.argv, "-c", script + module, str(runtime.rom)],
            env=dict(runtime.environment), cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done
        assert done.stdout.startswith("/gapcast-rom/gapcast_boot/")


@pytest.mark.parametrize("module", ["vfs", "ffi"])
def test_a_micropython_that_cannot(
    module: str, micropython: Micropython, own_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "micropython"
    script.write_text(LACKS.format(command=shlex.join(micropython.argv), module=module))
    script.chmod(0o755)
    use(monkeypatch, "MICROPYTHON", str(script))
    name, _peak, told = update(tmp_path)
    assert "code in the heap" in name
    assert "as if it was not frozen: no ROM, AttributeError" in " ".join(told.split())
    done = gapcast("sim", "--boards", 1, "--heap", CODE_IN_ROM.default, cwd=tmp_path)
    assert "too small for MicroPython" in one_line(done)


def ruined(rom: Path, damage: str) -> None:
    data = rom.read_bytes()
    rom.unlink()
    if damage == "cut":
        rom.write_bytes(data[: len(data) // 2])
    elif damage == "changed":
        rom.write_bytes(data[:1000] + bytes([data[1000] ^ 1]) + data[1001:])
    elif damage == "empty":
        rom.write_bytes(b"")


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "gone"])
def test_a_damaged_image_is_made_again(damage: str, own_cache: None) -> None:
    rom = find_runtime(print).rom
    assert rom is not None
    good = rom.read_bytes()
    ruined(rom, damage)
    assert find_runtime(print).rom == rom
    assert rom.read_bytes() == good
    assert sorted(path.suffix for path in rom.parent.iterdir()) == ["", ".rom"]


def test_an_image_that_cannot_be_written(own_cache: None, tmp_path: Path) -> None:
    rom = find_runtime(print).rom
    assert rom is not None
    rom.unlink()
    (rom / "x").mkdir(parents=True)
    told: list[str] = []
    runtime = find_runtime(told.append)
    assert runtime.rom is None
    assert len(told) == 1
    assert "Is a directory" in told[0]


def test_what_a_board_is_given() -> None:
    rom = Runtime("", ("upy",), rom=Path("x.rom"))
    assert rom.command(Path("fl"), None) == ["upy", "-X", "heapsize=114688", "-m", "sim_rom", "x.rom", "fl"]
    assert rom.command(Path("fl"), 5)[2] == "heapsize=5"
    files = Runtime("", ("upy",))
    assert files.command(Path("fl"), None) == ["upy", "-X", "heapsize=196608", "-m", "sim_main", "fl"]
    client = Runtime("", ("upy",), rom=Path("x.rom"), client=Path("lib"))
    assert client.command(Path("fl"), None)[2:] == ["heapsize=159744", "-m", "sim_rom", "x.rom", "fl", "lib"]
    assert Runtime("", ("upy",), rom=Path("x.rom"), is_64_bit=True).heaps.least == 2 * CODE_IN_ROM.least
