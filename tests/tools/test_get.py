"""`gapcast get` against servers that are not ours, and against ones that misbehave."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tftp_servers import atftpd, free_port, scripted_server, tftpy_server

from gapcast.cli import main
from gapcast.errors import OperatorError
from gapcast_core.wire import pack_data, pack_error, pack_oack
from gapcast_tools import get
from gapcast_tools.get import Source, TransferFailed, fetch, parse_url

FILES = {
    "empty": b"",
    "one": b"x",
    "exact": bytes(1428 * 3),
    "long": bytes(range(256)) * 2000,
    "deep/er/file.bin": b"below",
    "a b": b"blank",
}
Server = Callable[[Path], AbstractContextManager[int]]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(get, "TRIES", 2)


def failure(port: int, name: str = "f") -> TransferFailed:
    with pytest.raises(TransferFailed) as caught:
        fetch(Source("127.0.0.1", port, name), io.BytesIO())
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.interop
@pytest.mark.parametrize("server", [tftpy_server, atftpd])
def test_files_of_every_length(server: Server, tmp_path: Path) -> None:
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    with server(tmp_path) as port:
        for name, data in FILES.items():
            for blksize in (512, 1428, 8192):
                output = io.BytesIO()
                transfer = fetch(Source("127.0.0.1", port, name), output, blksize)
                assert output.getvalue() == data
                assert transfer.received_bytes == len(data)
        assert failure(port, "nothing").reason == "not_found"


@pytest.mark.interop
def test_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "root" / "sub").mkdir(parents=True)
    (tmp_path / "root" / "sub" / "a b").write_bytes(b"12345")
    output = tmp_path / "out"
    with tftpy_server(tmp_path / "root") as port:
        url = f"tftp://127.0.0.1:{port}/sub/a%20b"
        assert main(["get", url, "-o", str(output), "--json"]) == 0
        facts = json.loads(capfd.readouterr().out)
        assert (facts["bytes"], facts["file"]) == (5, str(output))
        assert output.read_bytes() == b"12345"
        assert main(["get", url, "-o", str(output)]) == 0
        assert "5 bytes" in capfd.readouterr().out
        assert main(["get", f"tftp://127.0.0.1:{port}/nope", "-o", str(tmp_path / "nope")]) == 2
        captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == f"gapcast: 127.0.0.1:{port} has no file 'nope' (check the name)\n"
    assert sorted(os.listdir(tmp_path)) == ["out", "root"]


def test_no_server() -> None:
    error = failure(free_port())
    assert error.reason == "no_server"
    assert "is a server running" in error.hint


def test_no_host() -> None:
    with pytest.raises(TransferFailed) as caught:
        fetch(Source("no-such-host.invalid", 69, "f"), io.BytesIO())
    assert caught.value.reason == "no_host"


def test_a_server_that_falls_silent() -> None:
    def answer(data: bytes) -> list[bytes]:
        return [pack_data(1, bytes(512))] if data[1] == 1 else []

    with scripted_server(answer) as port:
        error = failure(port)
    assert error.reason == "timeout"
    assert "after 512 bytes" in error.message


def test_a_server_that_refuses() -> None:
    with scripted_server(lambda data: [pack_error(2, "not for you")]) as port:
        error = failure(port)
    assert error.reason == "refused"
    assert "not for you (error 2)" in error.message


def test_a_transfer_that_ends_early() -> None:
    def answer(data: bytes) -> list[bytes]:
        if data[1] == 1:
            return [pack_oack([("tsize", "1000")])]
        return [pack_data(1, bytes(100))] if data[3] == 0 else []

    with scripted_server(answer) as port:
        error = failure(port)
    assert error.reason == "cut_off"
    assert "100 of 1000 bytes" in error.message


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\0",
        b"\0\3",
        b"\0\3\0",
        b"\0\6blksize\0",
        b"\0\6blksize\0x\0",
        b"\0\x09abc",
        b"\0\6ts\xff\0\0",
        b"\0\4\0\0",
    ],
)
def test_datagrams_that_make_no_sense(datagram: bytes) -> None:
    with scripted_server(lambda data: [datagram]) as port:
        assert failure(port).reason in ("protocol", "no_server", "timeout")


def test_urls() -> None:
    assert parse_url("tftp://h/f") == Source("h", 69, "f")
    assert parse_url("tftp://h:6969/a/b%20c") == Source("h", 6969, "a/b c")
    assert parse_url("TFTP://10.0.0.1//abs") == Source("10.0.0.1", 69, "/abs")
    for url in (
        "",
        "h/f",
        "http://h/f",
        "tftp://h",
        "tftp://h/",
        "tftp:///f",
        "tftp://h:x/f",
        "tftp://h/%C3%BC",
    ):
        with pytest.raises(OperatorError):
            parse_url(url)
