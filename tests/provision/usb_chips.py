"""Simulated chips, and ports that are none, for the tests of the tools beside."""

from __future__ import annotations

import fcntl
import os
import random
import select
import subprocess
import sys
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gapcast_sim.chip.chip import SimChip
from gapcast_sim.chip.faults import Faults

FLASH_BYTES = 256 << 10  # the least that esptool knows: reading it takes half a second
NO_FAULTS = Faults()


@dataclass(frozen=True)
class Part:
    name: str
    offset: int
    data: bytes


def bare_chip(
    folder: Path, chip: str = "esp32c3", mac: str = "240ac4000001", *, faults: Faults = NO_FAULTS
) -> SimChip:
    """A chip without firmware, as fast as it goes. The ESP32 takes longest: its ROM lacks commands."""
    return SimChip(folder, chip, mac=mac, flash_bytes=FLASH_BYTES, pacing=False, faults=faults)


def noise(seed: int, size_bytes: int) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(size_bytes)


def some_parts() -> list[Part]:
    return [
        Part("boot loader", 0x1000, noise(1, 9001)),
        Part("partition table", 0x8000, b"\xaa\x50" * 1536),
        Part("app", 0x10000, noise(2, 50003)),
    ]


@contextmanager
def dumb_port(answer: bytes) -> Iterator[str]:
    """A port on which something answers whatever it is sent with `answer`; b"": silence."""
    master, slave = os.openpty()
    tty.setraw(slave)
    stop_read, stop_write = os.pipe()

    def run() -> None:
        while stop_read not in (ready := select.select([master, stop_read], [], [])[0]):
            if ready and os.read(master, 4096) and answer:
                os.write(master, answer)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield os.ttyname(slave)  # the slave stays open: no hang-ups between two tools
    finally:
        os.write(stop_write, b"\0")
        thread.join(10)
        for descriptor in (master, slave, stop_read, stop_write):
            os.close(descriptor)


HOLD = """
import fcntl, os, sys
port = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
fcntl.flock(port, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(port: str | Path) -> Iterator[int]:
    """Another process has the port open, locked as pyserial does it; its id."""
    command = [sys.executable, "-c", HOLD, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.stdin.close()  # type: ignore[union-attr]


def is_free(port: str | Path) -> bool:
    """Whether nobody holds a lock on the port any more."""
    handle = os.open(port, os.O_RDWR | os.O_NOCTTY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
