"""What runs on a simulated chip, its program, ROM loader or stub, and how one follows the other."""

from __future__ import annotations

import os
import queue
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import serial

from gapcast_sim.chip.chip import SimChip
from gapcast_sim.chip.commands import SYNC_DATA, Op
from gapcast_sim.chip.faults import Faults
from gapcast_sim.chip.flash import FlashTiming
from gapcast_sim.chip.slip import encode
from provision.rom_tool import run, works

WAIT_S = 20.0
SYNC = encode(b"\x00\x08\x24\x00" + bytes(4) + SYNC_DATA)


class Echo:
    """A Program that answers what it is told, in capitals."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.read_once = threading.Event()
        self._pipe = (-1, -1)

    def start(self) -> None:
        self._pipe = os.pipe()
        os.write(self._pipe[1], b"booted\r\n")
        self.events.put("start")

    def feed(self, data: bytes) -> None:
        os.write(self._pipe[1], data.upper())

    def fileno(self) -> int:
        return self._pipe[0]

    def read(self) -> bytes:
        self.read_once.set()
        return os.read(self._pipe[0], 4096)

    def stop(self) -> None:
        if self._pipe[0] >= 0:
            os.close(self._pipe[0])
            os.close(self._pipe[1])
            self.events.put("stop")
        self._pipe = (-1, -1)

    def expect(self, *events: str) -> None:
        """These happen next, in this order."""
        assert [self.events.get(timeout=WAIT_S) for _ in events] == list(events)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _open(chip: SimChip) -> serial.Serial:
    return serial.Serial(str(chip.port), 115200, timeout=WAIT_S, exclusive=True)


def test_esptool_interrupts_the_program_and_it_boots_afterwards(tmp_path: Path) -> None:
    program = Echo()
    with SimChip(tmp_path, "esp32c3", program=program) as chip:
        program.expect("start")
        works(chip, "flash-id")
        program.expect("stop", "start")
        with _open(chip) as port:
            port.write(b"hello")
            assert port.read_until(b"HELLO").endswith(b"HELLO")
        assert chip.mode == "program"
    program.expect("stop")


def test_it_stays_in_its_loader_when_told_to(tmp_path: Path) -> None:
    program = Echo()
    with SimChip(tmp_path, program=program, pacing=False) as chip:
        program.expect("start")
        works(chip, "--after", "no-reset", "flash-id")
        program.expect("stop")
        assert chip.mode == "rom"
        assert "Detected flash size: 4MB" in works(
            chip, "--before", "no-reset", "--after", "no-reset", "flash-id"
        )
        assert chip.mode == "rom"
        with _open(chip) as port:
            port.write(b"\r\x03")  # as mpremote begins
            assert port.read_until(b"\r\x03").endswith(b"\r\x03")
        program.expect("start")


def test_without_a_stub_the_rom_runs_what_is_in_flash(tmp_path: Path) -> None:
    program = Echo()
    with SimChip(tmp_path, program=program, pacing=False) as chip:
        works(chip, "--no-stub", "run")
        program.expect("start", "stop", "start")


def test_nobody_hears_what_is_printed_while_the_port_is_closed(tmp_path: Path) -> None:
    program = Echo()
    with SimChip(tmp_path, program=program, pacing=False) as chip:
        assert program.read_once.wait(WAIT_S)
        with _open(chip) as port:
            port.write(b"one")
            assert port.read_until(b"ONE") == b"ONE"  # and not that it booted


def test_a_chip_without_firmware_says_so_again_and_again(tmp_path: Path) -> None:
    line = b"invalid header: 0xffffffff\r\n"
    with SimChip(tmp_path, "esp32s3", pacing=False) as chip:
        with _open(chip) as port:
            port.read_until(b"ESP-ROM:esp32s3")
            port.read_until(line)
            assert port.read_until(b"ESP-ROM:esp32s3").startswith(line)
        assert "Detected flash size: 4MB" in works(chip, "flash-id")  # for all that noise


def test_the_reset_button(tmp_path: Path) -> None:
    program = Echo()
    with SimChip(tmp_path, program=program, pacing=False) as chip:
        works(chip, "--after", "no-reset", "flash-id")
        chip.reset()
        program.expect("start", "stop", "start")
        assert chip.mode == "program"


def test_a_pulled_cable_is_felt_and_the_next_port_is_another(tmp_path: Path) -> None:
    program = Echo()
    with SimChip(tmp_path, program=program) as chip:
        with _open(chip) as port:
            chip.inject(Faults(pull_after_tx=3))
            port.write(b"four")
            _wait(chip.pulled.is_set)
            with pytest.raises((serial.SerialException, OSError)):
                port.read(100)
        program.expect("start", "stop")
        assert chip.mode == "off"
        done = run(chip, "flash-id")
        assert done.code != 0
        chip.plug()
        program.expect("start")
        with _open(chip) as port:
            port.write(b"five")
            assert port.read_until(b"FIVE").endswith(b"FIVE")


def test_an_erase_that_is_cut_off_is_half_done(tmp_path: Path) -> None:
    content = bytes(4 << 20)
    for_ever = FlashTiming(sector_s=1e6)
    with SimChip(tmp_path, pacing=False, timing=for_ever, faults=Faults(seed=5)) as chip:
        (tmp_path / "flash.bin").write_bytes(content)
        with _open(chip) as port:
            port.write(SYNC)
            for op, words in ((Op.SPI_ATTACH, (0, 0)), (Op.FLASH_BEGIN, (4096, 4, 1024, 0x3000))):
                data = struct.pack(f"<{len(words)}I", *words)
                port.write(encode(struct.pack("<BBHI", 0, op, len(data), 0) + data))
            _wait(lambda: chip.busy)
            chip.pull()
        assert not chip.busy
        erased = chip.flash.count(0xFF)
        assert 0 < erased < 4096
        assert chip.flash == content[:0x3000] + b"\xff" * erased + content[0x3000 + erased :]


def test_a_program_that_fails_is_not_hidden(tmp_path: Path) -> None:
    class Broken(Echo):
        def feed(self, data: bytes) -> None:
            raise RuntimeError("broken")

    chip = SimChip(tmp_path, program=Broken())
    chip.__enter__()
    with _open(chip) as port:
        port.write(b"x")
        assert chip.pulled.wait(WAIT_S)
    with pytest.raises(RuntimeError, match="broken"):
        chip.__exit__(None, None, None)
