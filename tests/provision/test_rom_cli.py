"""`gapcast chip`: a port for as long as it runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import serial

from gapcast.cli import EXIT_OPERATOR, main
from gapcast_sim.chip.chip import SimChip

WAIT_S = 30.0
EXIT_TERMINATED = 143


@contextmanager
def _running(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`gapcast chip ...` and the first line that it prints."""
    command = [sys.executable, "-m", "gapcast", "chip", "--bare", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline()
        finally:
            process.kill()


def test_a_port_until_it_is_told_to_end(tmp_path: Path) -> None:
    with _running(tmp_path / "c3", "--chip", "esp32c3", "--flash-size", "8M", "--json") as (process, line):
        about = json.loads(line)
        assert (about["chip"], about["flash_bytes"]) == ("esp32c3", 8 << 20)
        with serial.Serial(about["port"]) as port:
            port.write(b"\x03")
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == EXIT_TERMINATED
    assert not (tmp_path / "c3" / "port").is_symlink()
    with _running(tmp_path / "c3", "--link", tmp_path / "usb0") as (process, line):  # its flash as it was
        assert line.strip() == str(tmp_path / "usb0")
        assert (tmp_path / "usb0").is_symlink()
    assert (tmp_path / "c3" / "flash.bin").stat().st_size == 8 << 20
    with _running(tmp_path / "c3", "--link", tmp_path / "usb0"):  # the link of one that was killed
        assert (tmp_path / "usb0").is_symlink()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--flash-size", "3M"], "power of two"),
        (["--flash-size", "8M"], "has 4194304 bytes"),
        (["--mac", "xx"], "12 hex digits"),
        (["--link", "flash.bin"], "there is a file of that name"),
        (["--link", "nowhere/port"], "No such file"),
    ],
)
def test_what_cannot_be(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flash.bin").write_bytes(b"\xff" * (4 << 20))
    assert main(["chip", "--bare", ".", *arguments]) == EXIT_OPERATOR
    assert said in capsys.readouterr().err


def test_two_chips_do_not_share_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with SimChip(tmp_path):
        assert main(["chip", "--bare", str(tmp_path)]) == EXIT_OPERATOR
    assert "another chip runs there" in capsys.readouterr().err
