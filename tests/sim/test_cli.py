"""Wrong arguments are one line that says what would be right (tools/gapcast_sim/cli.py, sim_cli.py)."""

from __future__ import annotations

from pathlib import Path

import pytest
from boot_world import make_container
from sim_help import gapcast, one_line

from gapcast.cli import main
from gapcast.image.boards import chip_of_board
from gapcast.image.build import build_container
from gapcast.image.keys import make_key
from gapcast.image.sample import build_sample

BOARD = ("board", "--server", "127.0.0.1:6969", "--image", "x", "--flash", "fl")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on stderr."""
    assert main([str(argument) for argument in arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("gapcast: ")
    return lines[0]


@pytest.mark.parametrize("loss", ["1", "-0.1", "0.96", "nan", "inf", "10"])
def test_a_loss_that_nothing_survives(here: Path, capsys: pytest.CaptureFixture[str], loss: str) -> None:
    assert "--loss" in error_of(capsys, *BOARD, f"--loss={loss}")
    assert "--loss" in error_of(capsys, "sim", "--cpython", f"--loss={loss}")


@pytest.mark.parametrize("heap", ["1k", "0", "47k", "x", "-5k", ""])
def test_a_heap_too_small_or_no_size(here: Path, capsys: pytest.CaptureFixture[str], heap: str) -> None:
    assert error_of(capsys, *BOARD, f"--heap={heap}")
    assert error_of(capsys, "sim", "--cpython", f"--heap={heap}")


@pytest.mark.parametrize("server", ["", ":69", "h:0", "h:65536", "h:x", "h:-1", "h:6969:7"])
def test_what_is_no_server_address(here: Path, capsys: pytest.CaptureFixture[str], server: str) -> None:
    assert "HOST" in error_of(capsys, "board", "--server", server, "--image", "x", "--flash", "fl")


@pytest.mark.parametrize("server", ["999.1.1.1", "no host", "a" * 70])
def test_a_server_that_does_not_resolve(here: Path, capsys: pytest.CaptureFixture[str], server: str) -> None:
    assert server in error_of(capsys, "board", "--server", server, "--image", "x", "--flash", "fl")


@pytest.mark.parametrize("boards", ["0", "-1", "1001"])
def test_how_many_boards(here: Path, capsys: pytest.CaptureFixture[str], boards: str) -> None:
    assert "--boards" in error_of(capsys, "sim", "--boards", boards)


@pytest.mark.parametrize("size", ["1", "x", "0", "17M"])
def test_a_sample_of_no_possible_size(here: Path, capsys: pytest.CaptureFixture[str], size: str) -> None:
    assert error_of(capsys, "sim", "--cpython", "--size", size)


def test_an_image_for_another_board(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chip = chip_of_board("ESP32_GENERIC")
    other = build_container(build_sample(9000, "1", chip), "x", "ESP32_GENERIC", chip)
    (here / "x.gap").write_bytes(other.data)
    assert "ESP32_GENERIC" in error_of(capsys, "sim", "--cpython", "x.gap")


def test_an_image_that_is_none(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "x.gap").write_bytes(b"x" * 5000)
    assert error_of(capsys, "sim", "--cpython", "x.gap")
    (here / "x.bin").write_bytes(b"x" * 5000)
    assert error_of(capsys, "sim", "--cpython", "x.bin")


def test_a_damaged_container_is_refused_before_any_board_starts(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(make_container().data)
    (here / "x.gap").write_bytes(data[:-1])
    assert error_of(capsys, "sim", "--cpython", "x.gap")


def test_a_rate_that_the_server_refuses(here: Path) -> None:
    assert "fast" in one_line(gapcast("sim", "--cpython", "--boards", "1", "--size", "16k", "--rate", "fast"))


def test_a_flash_folder_that_cannot_be_made(here: Path) -> None:
    (here / "fl").write_text("a file")
    line = one_line(gapcast("board", "--server", "127.0.0.1", "--image", "x", "--flash", here / "fl"))
    assert "fl" in line


def test_an_address_that_is_not_ours(here: Path) -> None:
    done = gapcast(*BOARD[:-1], here / "fl", "--iface", "192.0.2.77", "--limit", "8")
    assert one_line(done)


def test_results_that_cannot_be_written_are_told_in_one_line(here: Path) -> None:
    done = gapcast(*BOARD[:-1], here / "fl", "--limit", "1", "--json", here / "no" / "dir.json")
    assert "Traceback" not in done.stderr
    assert done.returncode != 0


def test_a_board_without_a_server_fails_in_one_line(here: Path) -> None:
    done = gapcast("board", "--server", "127.0.0.1:9", "--image", "x", "--flash", here / "fl", "--limit", "9")
    line = one_line(done)
    assert done.returncode == 1
    assert "sim-1" in line


@pytest.mark.parametrize("board_id", ["", "Sim-1", "a" * 33, "a_b", "../x"])
def test_an_id_that_no_report_could_carry(
    here: Path, capsys: pytest.CaptureFixture[str], board_id: str
) -> None:
    assert "--id" in error_of(capsys, *BOARD, "--id", board_id)


@pytest.mark.parametrize("key", ["", "00", "zz" * 32, "aa" * 33])
def test_a_report_key_that_is_none(here: Path, capsys: pytest.CaptureFixture[str], key: str) -> None:
    assert "cannot be read" in error_of(capsys, *BOARD, "--report-key-file", "key")
    (here / "key").write_text(key)
    assert "no report key" in error_of(capsys, *BOARD, "--report-key-file", "key")
    assert not (here / "fl").exists()


@pytest.mark.parametrize("cuts", ["-1", "101", "x"])
def test_power_cuts_beyond_reason(here: Path, capsys: pytest.CaptureFixture[str], cuts: str) -> None:
    assert main(["sim", "--cpython", "--power-cuts", cuts]) == 2
    assert "--power-cuts" in capsys.readouterr().err


def test_whom_boards_trust(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "no.pem").write_text("no key")
    assert "no.pem" in error_of(capsys, *BOARD, "--trust", "no.pem")
    key = make_key(here / "key.pem")
    data = build_sample(9000, "1", chip_of_board("SIM"))
    signed = build_container(data, "x", "SIM", chip_of_board("SIM"), key=key)
    (here / "x.gap").write_bytes(signed.data)
    line = error_of(capsys, "sim", "--cpython", "x.gap")
    assert "signed by key" in line
    assert "--trust" in line
    assert "--trust" in error_of(capsys, "sim", "--cpython", "--trust", "key.pub.pem")


@pytest.mark.parametrize("option", [("--app", "hang"), ("--size", "64k")])
def test_what_is_for_the_sample_is_not_ignored_for_an_image(
    here: Path, capsys: pytest.CaptureFixture[str], option: tuple[str, str]
) -> None:
    (here / "fw.gap").write_bytes(b"x")
    assert option[0] in error_of(capsys, "sim", "fw.gap", *option)


@pytest.mark.parametrize("command", ["sim", "board"])
def test_the_help_tells_of_signatures_and_power(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for word in ("--trust", "--power-cuts", "--health-ms", "unsigned", "confirmed"):
        assert word in text
