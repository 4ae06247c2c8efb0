"""`gapcast doctor` with real sockets: against atftpd, tftpy's server, our own, and misbehaving ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tftp_servers import atftpd, free_port, scripted_server, tftpy_server

from gapcast.cli import main
from gapcast.errors import OperatorError
from gapcast_core.wire import pack_error, pack_oack
from gapcast_tools import doctor_probe, get
from gapcast_tools.place import parse_place

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(get, "TRIES", 2)
    monkeypatch.setattr(doctor_probe, "RETRY_S", 0.3)
    monkeypatch.setattr(doctor_probe, "DATA_WAIT_S", 0.6)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "bench.gap").write_bytes(bytes(50000))
    (tmp_path / "empty").write_bytes(b"")
    return tmp_path


@contextmanager
def gapcast_server(root: Path) -> Iterator[int]:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "gapcast",
        "serve",
        str(root),
        "--port",
        str(port),
        "--listen",
        "127.0.0.1",
    ]
    path = os.pathsep.join(str(REPOSITORY / part) for part in ("server", "tools", "firmware/lib"))
    process = subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        time.sleep(0.3)  # doctor asks more than once
        yield port
    finally:
        process.terminate()
        process.wait(10)


def run(port: int, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, str]]:
    """Exit code, and the level of each check of the server (the worst, when one is made twice)."""
    code = main(["doctor", f"127.0.0.1:{port}", "--json", *options])
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] == (code == 0)
    order = ["ok", "skip", "warn", "fail"]
    levels: dict[str, str] = {}
    for finding in report["findings"]:
        worst = max(finding["level"], levels.get(finding["check"], "ok"), key=order.index)
        levels[finding["check"]] = worst
    return code, levels


@pytest.mark.interop
def test_an_rfc_2090_server(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with atftpd(root) as port:
        code, levels = run(port, capsys, "--name", "bench.gap")
        assert code == 0
        expected = {"server": "ok", "kind": "warn", "multicast": "ok", "options": "ok", "mtu": "ok"}
        assert levels.items() >= expected.items()
        assert run(port, capsys, "--name", "empty")[1]["multicast"] == "skip"
        code, levels = run(port, capsys, "--name", "nothing")
        assert (code, levels["kind"]) == (1, "fail")
        code, levels = run(port, capsys)
        assert (code, levels["transfer"]) == (0, "skip")


@pytest.mark.interop
def test_tftpys_server_which_drops_empty_option_values(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tftpy_server(root) as port:
        code, levels = run(port, capsys, "--name", "bench.gap")
    assert code == 1
    expected = {"server": "ok", "kind": "fail", "multicast": "skip", "options": "ok", "mtu": "ok"}
    assert levels.items() >= expected.items()


def test_our_own_server(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with gapcast_server(root) as port:
        code, levels = run(port, capsys, "--name", "bench.gap")
    assert code == 0
    expected = {"server": "ok", "kind": "ok", "multicast": "ok", "options": "ok", "mtu": "ok"}
    assert levels.items() >= expected.items()


def test_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    code, levels = run(free_port(), capsys, "--name", "f")
    assert (code, levels["server"]) == (1, "fail")
    assert "kind" not in levels


def test_a_server_whose_group_is_silent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_probe, "LISTEN_S", 0.5)
    group = f"239.255.7.9,{free_port()},1"

    def answer(data: bytes) -> list[bytes]:
        if b"gapcast-doctor" in data:
            return [pack_error(1, "File not found")]
        if data[1] != 1:
            return []
        options = [("blksize", "1000"), ("tsize", "50000")]
        return [pack_oack([*options, ("multicast", group)] if b"multicast" in data else options)]

    with scripted_server(answer) as port:
        code, levels = run(port, capsys, "--name", "f")
    assert code == 1
    assert (levels["multicast"], levels["mtu"]) == ("fail", "fail")


@pytest.mark.parametrize("value", [b"nonsense", b"10.0.0.1,1758,1", b",,1x"])
def test_a_server_with_a_malformed_group(value: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(data: bytes) -> list[bytes]:
        if b"gapcast-doctor" in data:
            return [pack_error(1, "File not found")]
        return [b"\0\6multicast\0" + value + b"\0"]

    with scripted_server(answer) as port:
        code, levels = run(port, capsys, "--name", "f")
    assert (code, levels["kind"]) == (1, "fail")


def test_the_report_for_people(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tftpy_server(root) as port:
        assert main(["doctor", f"127.0.0.1:{port}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"ok    server     127.0.0.1:{port} answers"
    assert "--name FILE" in lines[2]


@pytest.mark.parametrize("name", ["n" * 600, "bad\udcff", "nul\0"])
def test_a_name_that_cannot_be_asked_for(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "127.0.0.1", "--json", "--name", name]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("gapcast: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("host", ["h" * 70, "a..b", "h\udcff"])
def test_a_host_that_is_no_name(host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["doctor", host], ["get", f"tftp://{host}/f", "-o", str(tmp_path / "never")]):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert error.startswith("gapcast: no IPv4 address for ")
        assert error.count("\n") == 1


def test_places() -> None:
    assert parse_place("host") == ("host", 69)
    assert parse_place("10.0.0.1:6969") == ("10.0.0.1", 6969)
    for text in ("", ":69", "h:", "h:0", "h:65536", "h:x", "h:6\u0661", "::1", "h:99999999999"):
        with pytest.raises(OperatorError):
            parse_place(text)
    assert main(["doctor", "no-such-host.invalid"]) == 2
