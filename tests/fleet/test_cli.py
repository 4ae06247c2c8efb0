"""`gapcast fleet`: what it prints, and its one-line errors."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gapcast.cli import main
from gapcast.fleet.store import Fleet
from gapcast_core import report

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["fleet", arguments[0], "--state", str(tmp_path / "fleet.db"), *arguments[1:]])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def complaint(answer: tuple[int, str, str]) -> str:
    code, out, err = answer
    assert (code, out) == (2, "")
    assert err.startswith("gapcast: ")
    assert err.count("\n") == 1
    return err


def key_in(path: Path) -> bytes:
    return bytes.fromhex(path.read_text())


def test_a_board_from_its_key_to_its_history(run: Run, tmp_path: Path) -> None:
    key_file = tmp_path / "board.key"
    code, out, _ = run("add", "board-1", "--key-out", str(key_file))
    assert code == 0
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    key = key_in(key_file)
    assert key.hex() not in out
    assert "never reported" in run("list")[1]
    assert "has not reported yet" in run("history", "board-1")[1]
    assert "has not reported yet" in run("show", "board-1")[1]
    with Fleet(tmp_path / "fleet.db") as fleet:
        for sequence, state in ((1, report.INSTALLED), (2, report.ROLLED_BACK)):
            data = report.pack_report(key, "board-1", sequence, state, bytes(16), "2.0", "SIM", 0, "hing")
            fleet.accept("board-1", data, "10.0.0.7")
    lines = run("list")[1].splitlines()
    assert lines[0].split() == ["ID", "BOARD", "VERSION", "STATE", "WHEN", "ADDRESS", "REASON"]
    assert re.fullmatch(
        r"board-1 +SIM +2\.0 +rolled_back +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +10\.0\.0\.7 +hing", lines[1]
    )
    assert len(run("history", "board-1")[1].splitlines()) == 3
    shown = run("show", "board-1")[1]
    assert "rolled_back" in shown
    for answer in (run("list"), run("show", "board-1"), run("history", "board-1")):
        assert key.hex() not in answer[1]
    assert run("remove", "board-1")[0] == 0
    assert "no boards" in run("list")[1]


def test_json(run: Run, tmp_path: Path) -> None:
    assert json.loads(run("list", "--json")[1]) == {"boards": []}
    key_file = tmp_path / "key"
    answer = json.loads(run("add", "b", "--key-out", str(key_file), "--json")[1])
    assert answer == {"id": "b", "key_file": str(key_file)}
    data = report.pack_report(key_in(key_file), "b", 7, report.CONFIRMED, bytes(16), "2.0", "SIM", 4, "")
    with Fleet(tmp_path / "fleet.db") as fleet:
        fleet.accept("b", data, "10.0.0.7")
    [board] = json.loads(run("list", "--json")[1])["boards"]
    assert set(board) == {"id", "added_at", "last"}
    assert board == json.loads(run("show", "b", "--json")[1])
    assert (board["last"]["state"], board["last"]["sequence"], board["last"]["counter"]) == (
        "confirmed",
        7,
        4,
    )
    assert json.loads(run("history", "b", "--json")[1]) == {"id": "b", "history": [board["last"]]}
    assert json.loads(run("remove", "b", "--json")[1]) == {"id": "b"}


def test_looking_makes_no_file(run: Run, tmp_path: Path) -> None:
    run("list")
    complaint(run("show", "a"))
    complaint(run("history", "a"))
    complaint(run("remove", "a"))
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_exists_is_taken(run: Run, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    for text in ("00" * 32, "AB" * 32 + "\n", "\n" + "cd" * 32 + " \n"):
        key_file.write_text(text)
        assert run("add", "b", "--key-file", str(key_file), "--replace")[0] == 0


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "zz" * 32, "00" * 32 + " more", "0" * 5000])
def test_what_is_no_key(run: Run, tmp_path: Path, text: str) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(text)
    error = complaint(run("add", "b", "--key-file", str(key_file)))
    assert "64 hex digits" in error
    assert not text or text not in error


def test_errors_of_the_operator(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "key"
    assert "which key" in complaint(run("add", "b"))
    assert "which key" in complaint(run("add", "b", "--key-out", str(out), "--key-file", str(out)))
    assert "cannot be read" in complaint(run("add", "b", "--key-file", str(out)))
    assert "no board id" in complaint(run("add", "B!", "--key-out", str(out)))
    assert not out.exists()  # a key that no board has is not left behind
    assert run("add", "b", "--key-out", str(out))[0] == 0
    before = out.read_text()
    assert "exists" in complaint(run("add", "c", "--key-out", str(out)))
    assert "known already" in complaint(run("add", "b", "--key-out", str(tmp_path / "other")))
    assert out.read_text() == before
    assert not (tmp_path / "other").exists()
    assert "no board 'x'" in complaint(run("show", "x"))
    (tmp_path / "fleet.db").write_bytes(b"what is this")
    assert "no database" in complaint(run("list"))


@pytest.mark.parametrize("command", [["list"], ["show", "b"], ["add", "b", "--key-out"]])
def test_a_state_that_cannot_be_looked_at(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if command[0] == "add":
        command = [*command, str(tmp_path / "key")]

    def try_it(path: Path) -> str:
        code = main(["fleet", *command, "--state", str(path)])
        return complaint((code, *capsys.readouterr()))

    assert "name too long" in try_it(tmp_path / ("x" * 300)).lower()
    secret = tmp_path / "secret"
    stat_of = os.stat

    def forbidden(path: Any, *more: Any, **named: Any) -> os.stat_result:
        if str(path).startswith(str(secret)):
            raise PermissionError(13, "Permission denied")
        return stat_of(path, *more, **named)

    monkeypatch.setattr(os, "stat", forbidden)  # root may look everywhere
    assert "Permission denied" in try_it(secret / "fleet.db")


def test_control_characters_do_not_reach_the_terminal(run: Run, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    run("add", "b", "--key-out", str(key_file))
    data = report.pack_report(
        key_in(key_file), "b", 1, report.FAILED, bytes(16), "1", "SIM", 0, "a\u202eb\u2028c"
    )
    with Fleet(tmp_path / "fleet.db") as fleet:
        fleet.accept("b", data, "10.0.0.7")
    for command in (("list",), ("show", "b"), ("history", "b")):
        out = run(*command)[1]
        assert "\u202e" not in out
        assert "\u2028" not in out
