"""`gapcast console`: the real mpremote on a terminal."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gapcast import cli
from gapcast_tools.usb.console import hand_over
from provision.usb_chips import dumb_port, held

DEADLINE_S = 60.0


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.shown = b""
        self._master = master

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def wait_for(self, text: bytes) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.shown:
            left_s = deadline - time.monotonic()
            assert left_s > 0, self.shown
            if select.select([self._master], [], [], left_s)[0]:
                self.shown += os.read(self._master, 4096)


@contextmanager
def terminal(*arguments: str) -> Iterator[Terminal]:
    master, slave = os.openpty()
    command = [sys.executable, "-m", "gapcast", *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env=environment
    ) as process:
        try:
            yield Terminal(process, master)
        finally:
            process.kill()
            os.close(master)
            os.close(slave)


def test_keys_go_to_the_board_and_one_key_leaves() -> None:
    with dumb_port(b"<heard>") as port, terminal("console", port) as screen:
        screen.wait_for(b"Ctrl-] leaves")
        screen.wait_for(b"Connected to MicroPython")
        screen.type(b"x")
        screen.wait_for(b"<heard>")
        screen.type(b"\x03")  # for the board's program, and not for us
        screen.type(b"\x1d")
        assert screen.process.wait(DEADLINE_S) == 0


def test_a_busy_port_is_told_before() -> None:
    with dumb_port(b"") as port, held(port) as pid, terminal("console", port) as screen:
        screen.wait_for(f"(pid {pid})".encode())
        assert screen.process.wait(DEADLINE_S) == 1
        assert b"is busy" in screen.shown
        assert b"mpremote" not in screen.shown


def test_a_port_that_is_not_there() -> None:
    with terminal("console", "/dev/nowhere") as screen:
        screen.wait_for(b"is not there")
        assert screen.process.wait(DEADLINE_S) == 1


def test_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["console", "/dev/nowhere"]) == 2
    assert "needs a terminal" in capsys.readouterr().err


def test_its_exit_code() -> None:
    assert hand_over([sys.executable, "-c", "raise SystemExit(3)"]) == 3
