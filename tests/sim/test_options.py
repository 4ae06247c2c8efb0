"""What cannot work is refused in one line, before any process starts (tools/gapcast_sim/options.py)."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from test_cli import error_of

from gapcast.errors import OperatorError
from gapcast_sim.options import DAY_S, check_moment, write_output
from gapcast_sim.provision import local_address
from gapcast_sim.runtime import CODE_IN_HEAP, CODE_IN_ROM

BOARD = ("board", "--server", "127.0.0.1:6969", "--image", "x", "--flash", "fl")
SIM = ("sim", "--cpython", "--boards", "1")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("away_s", [-1.5 * DAY_S, 1.5 * DAY_S, 1e15, float("inf"), float("nan")])
def test_a_moment_that_is_none(here: Path, capsys: pytest.CaptureFixture[str], away_s: float) -> None:
    assert "--at" in error_of(capsys, *BOARD, "--at", time.time() + away_s)
    assert not (here / "fl").exists()


def test_moments_worth_waiting_for() -> None:
    for moment in (0.0, time.time() - 60, time.time() + 2 * 3600, time.time() + 0.9 * DAY_S):
        assert check_moment(moment) == moment


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf", "1e9"])
def test_a_limit_that_is_none(here: Path, capsys: pytest.CaptureFixture[str], limit: str) -> None:
    for command in (BOARD, SIM):
        assert "--limit" in error_of(capsys, *command, f"--limit={limit}")


def test_a_heap_that_was_too_small_when_tried(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "takes 88k" in error_of(capsys, *SIM, "--heap", CODE_IN_ROM.least - 1)
    assert "takes 128k" in error_of(capsys, *SIM, "--unfrozen", "--heap", CODE_IN_HEAP.least - 1)


@pytest.mark.parametrize("option", ["--json", "--picture"])
def test_a_result_that_could_not_be_written(
    here: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    (here / "file").write_text("x")
    (here / "folder").mkdir()
    for path in ("file/x", "folder", "x" * 300, "/proc/x"):
        assert option in error_of(capsys, *SIM, option, path)
        if option == "--json":
            assert option in error_of(capsys, *BOARD, option, path)
    assert not (here / "fl").exists()


def test_a_full_disk_is_one_line() -> None:
    with pytest.raises(OperatorError, match="--json /dev/full cannot be written: No space left"):
        write_output("--json", Path("/dev/full"), "x")


def test_a_flash_or_a_kept_folder_that_is_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "file").write_text("x")
    assert "file" in error_of(capsys, *BOARD[:-1], "file")
    assert "file" in error_of(capsys, "sim", "--cpython", "--boards", "1", "--keep", "file")
    assert list(here.iterdir()) == [here / "file"]


def test_a_network_that_leads_nowhere() -> None:
    with pytest.raises(OperatorError, match=r"no way to the server 255\.255\.255\.255: "):
        local_address("255.255.255.255", 69)  # no broadcast without SO_BROADCAST
    with pytest.raises(OperatorError, match=r"no way to the server 999\.1\.1\.1: "):
        local_address("999.1.1.1", 69)


def test_a_network_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(OperatorError, match="Network is unreachable"):
        local_address("192.0.2.1", 69)


@pytest.mark.parametrize(("burst", "loss"), [("0", "0.1"), ("-1", "0.1"), ("1001", "0.1"), ("2", "0.9")])
def test_bursts_that_cannot_be(here: Path, capsys: pytest.CaptureFixture[str], burst: str, loss: str) -> None:
    for command in (BOARD, SIM):
        assert "bursts" in error_of(capsys, *command, "--burst", burst, "--loss", loss)
