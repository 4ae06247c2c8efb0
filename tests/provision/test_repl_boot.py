"""From flash to a REPL: what a simulated chip finds in its flash, and in which order it runs it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gapcast.image.boards import CHIPS
from gapcast.image.espapp import Descriptor, build_app
from gapcast.image.sample import build_sample
from gapcast_sim.chip.boot_flash import NoBootError, Place, find_partitions
from gapcast_sim.chip.program import MicroPythonProgram
from gapcast_tools.upy import Micropython
from provision.repl_flash import ENTRIES, FLASH_BYTES, make_flash, make_table
from provision.repl_pty import Line, make_line

PROMPT = b"\r\n>>> "
MAIN = "def main(board):\n    print('application', board.slot)\n"
SECONDS = 30
MAC = "24:0A:C4:12:34:56"


@contextmanager
def booted(folder: Path, chip: str = "esp32") -> Iterator[Line]:
    with make_line(folder, chip) as line:
        line.wait_for(PROMPT)
        yield line


def write(line: Line, **files: str) -> None:
    """Files on the chip, by its REPL."""
    for name, text in files.items():
        code = f"f = open('{name}.py', 'w'); n = f.write({text!r}); f.close()\r"
        line.answer(code.encode(), PROMPT)


def patch(flash: Path, offset: int, data: bytes) -> None:
    with open(flash, "r+b") as file:
        file.seek(offset)
        file.write(data)


# ---- before anything runs ----


def test_the_partitions_are_those_of_the_table(tmp_path: Path) -> None:
    found = find_partitions(make_flash(tmp_path), "esp32")
    assert found[:-1] == [Place(*entry) for entry in ENTRIES]
    assert found[-1] == Place("vfs", 1, 0x81, 0x310000, FLASH_BYTES - 0x310000)


def test_nothing_is_made_behind_a_vfs_in_the_table(tmp_path: Path) -> None:
    entries = [*ENTRIES, ("vfs", 1, 0x81, 0x310000, 0x10000)]
    assert find_partitions(make_flash(tmp_path, entries=entries), "esp32")[-1].size_bytes == 0x10000


@pytest.mark.parametrize(
    ("offset", "data", "told"),
    [
        (0x1000, b"\xff" * 4, "invalid header: 0xffffffff"),
        (0x1000, b"\x00" * 4, "invalid header: 0x00000000"),
        (0x8000, b"\xff" * 0xC00, "no valid entries"),
        (0x8000, b"\x00" * 0xC00, "no valid entries"),
        (0x8004, b"\x01", "no valid entries"),  # the MD5 line says so
        (0x8000, make_table([("ota_0", 0, 0x10, 0x10000, 0x400000)]), "exceeds flash chip size 0x400000"),
        (0x8000, make_table([("nvs", 1, 2, 0x9000, 0x4000)]), "No bootable app"),
    ],
)
def test_flash_that_cannot_boot(tmp_path: Path, offset: int, data: bytes, told: str) -> None:
    flash = make_flash(tmp_path)
    patch(flash, offset, data)
    with pytest.raises(NoBootError, match=told):
        find_partitions(flash, "esp32")


def test_the_boot_loader_of_newer_chips_begins_at_0(tmp_path: Path) -> None:
    flash = make_flash(tmp_path)
    with pytest.raises(NoBootError, match="invalid header"):
        find_partitions(flash, "esp32c3")


def test_a_bare_chip_prints_what_its_rom_prints_and_nothing_else(
    tmp_path: Path, micropython: Micropython
) -> None:
    (tmp_path / "flash.bin").write_bytes(b"\xff" * FLASH_BYTES)
    program = MicroPythonProgram(tmp_path, "esp32", MAC)
    assert program.fileno() == -1
    program.start()
    said = program.read()
    assert (
        said == b"rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\ninvalid header: 0xffffffff\r\n"
    )
    program.feed(b"\r\x03\x03\x01")
    assert not select.select([program.fileno()], [], [], 0)[0]
    program.stop()
    program.stop()
    assert program.fileno() == -1


def test_an_application_that_is_not_whole_does_not_start(tmp_path: Path, micropython: Micropython) -> None:
    """As after a cable was pulled while it was written."""
    patch(make_flash(tmp_path), 0x10000 + 4096, b"\xff" * 4096)
    with make_line(tmp_path) as line:
        line.wait_for(b"No bootable app partitions in the partition table\r\n")


# ---- what runs, in which order ----


@pytest.mark.parametrize("chip", ["esp32", "esp32s2", "esp32s3", "esp32c3", "esp32c6"])
def test_the_first_boot(tmp_path: Path, micropython: Micropython, chip: str) -> None:
    flash = make_flash(tmp_path, chip=chip, app=build_sample(8192, "1.0.0", CHIPS[chip], source=MAIN))
    before = flash.read_bytes()
    with booted(tmp_path, chip) as line:
        order = [
            b"POWERON_RESET",
            b"Performing initial setup\r\n",
            b"\r\napplication 0\r\n",
            b"MicroPython v1.",
        ]
        at = [line.printed.index(text) for text in order]
        assert at == sorted(at)
        told = line.answer(b"print(open('boot.py').read())\r", PROMPT)
        assert (
            b"# This file is executed on every boot (including wake-boot from deepsleep)\r\n#import esp"
            in told
        )
    after = flash.read_bytes()
    assert after[:0x9000] == before[:0x9000]
    assert after[0xD000:0xD004] == b"\1\0\0\0"  # the boot loader has filled otadata in
    assert after[0xF000:0x310000] == before[0xF000:0x310000]
    assert b"littlefs" in after[0x310000:0x312000]


def test_boot_py_then_main_py_then_the_application(tmp_path: Path, micropython: Micropython) -> None:
    make_flash(tmp_path, app=build_sample(8192, "1.0.0", CHIPS["esp32"], source=MAIN))
    with booted(tmp_path) as line:
        write(line, boot="n = 1\nprint('boot')\n", main="print('main', n)\n")
        told = line.answer(b"\x04", b"\r\n>>> ")
        assert told.split(b"\r\n")[2:5] == [b"boot", b"main 1", b"application 0"]
        line.answer(b"\x01", b"\r\n>")
        told = line.answer(b"\x04", b"CTRL-B to exit\r\n>")  # from the raw REPL boot.py only
        assert told == b"OK\r\nMPY: soft reboot\r\nboot\r\nraw REPL; CTRL-B to exit\r\n>"


def test_main_py_does_not_run_when_boot_py_fails(tmp_path: Path, micropython: Micropython) -> None:
    make_flash(tmp_path, app=build_sample(8192, "1.0.0", CHIPS["esp32"], source=MAIN))
    with booted(tmp_path) as line:
        write(line, boot="raise ValueError('in boot')\n", main="print('main')\n")
        told = line.answer(b"\x04", PROMPT)
        assert b'  File "boot.py", line 1, in <module>\r\nValueError: in boot\r\n' in told
        assert b"main" not in told
        assert b"application" not in told


def test_files_survive_what_is_in_memory_does_not(tmp_path: Path, micropython: Micropython) -> None:
    make_flash(tmp_path)
    with booted(tmp_path) as line:
        write(line, kept="N = 77\n")
    with booted(tmp_path) as line:
        assert b"initial setup" not in line.printed
        assert line.answer(b"import kept; kept.N\r", PROMPT).endswith(b"\r\n77\r\n>>> ")


def test_a_power_cut_while_a_file_is_written(tmp_path: Path, micropython: Micropython) -> None:
    make_flash(tmp_path)
    with booted(tmp_path) as line:
        write(line, kept="N = 77\n")
    with make_line(tmp_path, world={"cut_at": 20, "cut_half": True}) as line:
        line.wait_for(PROMPT)
        told = line.answer(b"f = open('big', 'w'); f.write('x' * 20000); f.close()\r", b"MicroPython v")
        assert b"rst:0x1 (POWERON_RESET)" in told
        line.wait_for(PROMPT, len(line.printed) - len(told))
        assert line.answer(b"import kept; kept.N\r", PROMPT).endswith(b"\r\n77\r\n>>> ")
        write(line, kept="N = 78\n")


ORPHAN = """
import select
import sys
from pathlib import Path
from gapcast_sim.chip.program import MicroPythonProgram
program = MicroPythonProgram(Path(sys.argv[1]), "esp32", "240ac4123456")
program.start()
said = b""
while b"application" not in said:
    select.select([program.fileno()], [], [])
    said += program.read()
print(program._process.pid, flush=True)
sys.stdin.read()
"""


def test_it_does_not_outlive_whoever_runs_it(tmp_path: Path, micropython: Micropython) -> None:
    """Whatever runs on it: here an application without end."""
    source = "def main(board):\n    print('application')\n    while True:\n        pass\n"
    make_flash(tmp_path, app=build_sample(8192, "1.0.0", CHIPS["esp32"], source=source))
    command = [sys.executable, "-c", ORPHAN, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as launcher:
        assert launcher.stdout is not None
        process = os.pidfd_open(int(launcher.stdout.readline()))
        launcher.kill()
    assert select.select([process], [], [], SECONDS)[0]
    os.close(process)


def test_nvs_is_in_the_flash_too(tmp_path: Path, micropython: Micropython) -> None:
    flash = make_flash(tmp_path)
    with booted(tmp_path) as line:
        line.answer(b"import esp32; nvs = esp32.NVS('test'); nvs.set_i32('n', -5)\r", PROMPT)
        line.answer(b"nvs.set_blob('b', b'secret'); nvs.set_i32('n', 6)\r", PROMPT)
        told = line.answer(b"nvs.set_blob('c', bytes(6000))\r", PROMPT)
        assert b"ESP_ERR_NVS_NOT_ENOUGH_SPACE" in told
    with booted(tmp_path) as line:
        assert line.answer(b"import esp32; esp32.NVS('test').get_i32('n')\r", PROMPT).endswith(
            b"\r\n6\r\n>>> "
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flash.bin", "sim.json"]
    patch(flash, 0x9000, b"\xff" * 0x4000)
    with booted(tmp_path) as line:
        told = line.answer(b"import esp32; esp32.NVS('test').get_i32('n')\r", PROMPT)
        assert b"ESP_ERR_NVS_NOT_FOUND" in told


def test_partitions_are_where_the_table_has_them(tmp_path: Path, micropython: Micropython) -> None:
    flash = make_flash(tmp_path)
    with booted(tmp_path) as line:
        line.answer(b"from esp32 import Partition as P; p = P('ota_1')\r", PROMPT)
        told = line.answer(b"p.info(), P(P.RUNNING).info()[4], len(P.find(P.TYPE_DATA))\r", PROMPT)
        assert b"((0, 17, 1638400, 1572864, 'ota_1', False), 'ota_0', 4)" in told
        line.answer(b"p.writeblocks(2, b'\\x0f' * 16, 8)\r", PROMPT)
        line.answer(b"p.writeblocks(2, b'\\xf1' * 16, 16)\r", PROMPT)
        assert (
            flash.read_bytes()[0x192000:0x192028]
            == b"\xff" * 8 + b"\x0f" * 8 + b"\x01" * 8 + b"\xf1" * 8 + b"\xff" * 8
        )
        line.answer(b"p.ioctl(6, 2)\r", PROMPT)
        assert flash.read_bytes()[0x192000:0x193000] == b"\xff" * 4096


def test_a_table_without_ota_slots(tmp_path: Path, micropython: Micropython) -> None:
    """What MicroPython's plain firmware has."""
    entries = [("nvs", 1, 2, 0x9000, 0x6000), ("factory", 0, 0, 0x10000, 0x1F0000)]
    make_flash(tmp_path, entries=entries)
    with booted(tmp_path) as line:
        told = line.answer(b"from esp32 import Partition as P; P(P.RUNNING).info()\r", PROMPT)
        assert b"(0, 0, 65536, 2031616, 'factory', False)" in told
        assert b"OSError" in line.answer(b"P(P.RUNNING).get_next_update()\r", PROMPT)
        assert b"OSError" in line.answer(b"P.mark_app_valid_cancel_rollback()\r", PROMPT)
        line.answer(b"\x04", PROMPT)
        assert b"'factory'" in line.answer(b"from esp32 import Partition as P; P(P.BOOT).info()\r", PROMPT)


def test_a_damaged_file_system_is_left_alone(tmp_path: Path, micropython: Micropython) -> None:
    flash = make_flash(tmp_path)
    patch(flash, 0x310000, b"not a file system")
    with make_line(tmp_path) as line:
        line.wait_for(b"The filesystem appears to be corrupted.")
        line.answer(b"\x03", PROMPT)
    assert flash.read_bytes()[0x310000:0x310011] == b"not a file system"


def test_firmware_that_carries_no_application_of_ours(tmp_path: Path, micropython: Micropython) -> None:
    """Any image that verifies: MicroPython alone runs then."""
    descriptor = Descriptor(version="1.0.0", project="other", date="", time="", idf="", elf_sha256=bytes(32))
    make_flash(tmp_path, app=build_app(CHIPS["esp32"], descriptor, bytes(4096)))
    with booted(tmp_path) as line:
        assert b"Traceback" not in line.printed
