"""`gapcast serve`: its options and its one-line errors."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gapcast.cli import main
from gapcast.errors import OperatorError
from gapcast.serve_cli import _open_main, _open_store, parse_rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        (None, None),
        ("0", None),
        ("0M", None),
        ("500k", 500_000),
        ("6M", 6e6),
        ("6m", 6e6),
        ("1.5M", 1.5e6),
        (" 6M ", 6e6),
        ("1000000", 1e6),
        ("1g", 1e9),
    ],
)
def test_rates(text: str | None, rate: float | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "6MB", "-1", "1e6", "6 M", "1.M", "nan", "inf", "100", "٣M"])
def test_bad_rates_are_explained(text: str) -> None:
    with pytest.raises(OperatorError):
        parse_rate(text)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["serve", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("gapcast: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_errors_of_the_operator_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], taken_port: int
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    root = str(tmp_path)
    local = ["--listen", "127.0.0.1", "--port", str(taken_port)]
    assert "is in use" in complaint(capsys, root, *local)
    assert "does not exist" in complaint(capsys, root + "/nothing")
    assert "is not a folder" in complaint(capsys, str(file))
    assert "not an IPv4 address" in complaint(capsys, root, "--listen", "localhost")
    assert "not an address of this machine" in complaint(capsys, root, "--listen", "192.0.2.1")
    assert "not an IPv4 address" in complaint(capsys, root, "--iface", "eth0")
    assert "no interface" in complaint(capsys, root, "--iface", "192.0.2.1", *local)
    assert "not a rate" in complaint(capsys, root, "--rate", "quick")


def test_the_boards_keys_are_not_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    root.mkdir()
    link = tmp_path / "link"
    link.symlink_to(root)
    for state in (root / "fleet.db", root / "sub" / "fleet.db", link / "fleet.db", root / "x" / ".." / "f"):
        assert "which is served" in complaint(capsys, str(root), "--state", str(state))
    assert "which is served" in complaint(capsys, str(link), "--state", str(root / "fleet.db"))
    assert list(root.iterdir()) == []


def test_port_69_without_permission(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(address: str, port: int) -> socket.socket:
        raise PermissionError

    monkeypatch.setattr("gapcast.serve_cli.open_main", refuse)
    assert "--port 6969" in complaint(capsys, str(tmp_path), "--port", "69")


@pytest.mark.parametrize(("uid", "port"), [(0, 69), (1000, 6969)])
def test_the_default_port(
    uid: int, port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(address: str, port: int) -> socket.socket:
        raise PermissionError(port)

    monkeypatch.setattr("gapcast.serve_cli.open_main", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert f"port {port} (" in complaint(capsys, str(tmp_path))


def test_a_group_is_no_address_to_listen_on(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="multicast"):
        _open_main("239.1.1.1", 6969)


def test_a_folder_below_an_unreadable_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", fail)
    with pytest.raises(OperatorError, match="cannot be read"):
        _open_store(tmp_path)
