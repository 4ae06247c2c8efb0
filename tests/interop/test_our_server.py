"""Stock TFTP clients read from our server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import needs
from .lab import Lab
from .peers import PORT, OurServer, finish

pytestmark = [pytest.mark.root, pytest.mark.interop]

SIZES = (0, 1, 511, 512, 513, 1023, 1024, 1025, 2_000_000)
SECRET = b"outside the root"
# curl 7.88.1 fails so on every empty file with "tsize", also from tftpd-hpa, atftpd and dnsmasq.
CURL_EMPTY = "getpeername() failed with errno 107"


def _curl(*options: str) -> Callable[[str, str, Path], list[str]]:
    def argv(host: str, name: str, output: Path) -> list[str]:
        program = needs.program("curl")
        return [program, "-sS", "--max-time", "60", *options, "-o", str(output), f"tftp://{host}/{name}"]

    return argv


def _busybox(*options: str) -> Callable[[str, str, Path], list[str]]:
    def argv(host: str, name: str, output: Path) -> list[str]:
        return [needs.program("busybox"), "tftp", *options, "-g", "-r", name, "-l", str(output), host]

    return argv


def _hpa(host: str, name: str, output: Path) -> list[str]:
    return [needs.program("tftp", "tftp-hpa"), "-m", "binary", host, "-c", "get", name, str(output)]


TFTPY = """
import sys, tftpy
host, name, output, blksize = sys.argv[1:]
options = {"blksize": int(blksize), "tsize": 0} if int(blksize) else {}
tftpy.TftpClient(host, 69, options).download(name, output)
"""


def _tftpy(blksize: int) -> Callable[[str, str, Path], list[str]]:
    return lambda host, name, output: [sys.executable, "-c", TFTPY, host, name, str(output), str(blksize)]


def _atftp(*options: str) -> Callable[[str, str, Path], list[str]]:
    def argv(host: str, name: str, output: Path) -> list[str]:
        words = [word for option in options for word in ("--option", option)]
        return [needs.program("atftp"), *words, "-g", "-r", name, "-l", str(output), host]

    return argv


CLIENTS = {
    "curl": _curl(),
    "curl-no-options": _curl("--tftp-no-options"),
    "curl-1428": _curl("--tftp-blksize", "1428"),
    "busybox": _busybox(),
    "busybox-1428": _busybox("-b", "1428"),
    "tftp-hpa": _hpa,
    "tftpy": _tftpy(0),
    "tftpy-1024": _tftpy(1024),
    "atftp": _atftp(),
    "atftp-window": _atftp("windowsize 16", "blksize 1428"),
    "atftp-1024": _atftp("blksize 1024", "tsize 0", "timeout 2"),
}


@dataclass
class Bench:
    """A server and one client host, for all tests of this file."""

    lab: Lab
    root: Path
    server: OurServer
    files: dict[str, bytes]

    def read(self, client: str, name: str, output: Path) -> subprocess.CompletedProcess[str]:
        argv = CLIENTS[client](self.lab.address(0), name, output)
        return subprocess.run(
            self.lab.argv(1, *argv),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            cwd=output.parent,
        )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    needs.network()
    folder = tmp_path_factory.mktemp("bench")
    root = folder / "root"
    (root / "deep" / "er").mkdir(parents=True)
    files = {f"f{size}": os.urandom(size) for size in SIZES}
    files["deep/er/f"] = b"below"
    for name, data in files.items():
        (root / name).write_bytes(data)
    (folder / "secret").write_bytes(SECRET)
    (root / "out").symlink_to(folder / "secret")
    (root / "outside").symlink_to(folder)
    os.mkfifo(root / "fifo")
    with Lab(2) as lab:
        server = OurServer(lab, root)
        yield Bench(lab, root, server, files)
        server.stop()


@pytest.mark.parametrize("client", CLIENTS)
def test_every_size_arrives_byte_for_byte(client: str, bench: Bench, tmp_path: Path) -> None:
    for name, data in bench.files.items():
        output = tmp_path / f"got-{len(data)}"
        done = bench.read(client, name, output)
        if not data and CURL_EMPTY in done.stderr:
            continue
        assert done.returncode == 0, (name, done.stdout, done.stderr)
        got = output.read_bytes() if output.exists() else b""  # some make no file of no bytes
        assert got == data, f"{client} {name}: {len(got)} of {len(data)} bytes"


NOT_FOUND = {
    "curl": (68, ""),  # CURLE_TFTP_NOTFOUND
    "busybox": (1, "server error: (1)"),
    "tftp-hpa": (None, "Error code 1:"),
    "tftpy": (1, "File not found"),
    "atftp": (None, "error received from server <"),
}


@pytest.mark.parametrize("client", NOT_FOUND)
def test_a_missing_file_is_the_clients_own_not_found(client: str, bench: Bench, tmp_path: Path) -> None:
    code, words = NOT_FOUND[client]
    done = bench.read(client, "no-such-file", tmp_path / "got")
    text = done.stdout + done.stderr
    assert words.lower() in text.lower()
    if code is not None:
        assert done.returncode == code
    bench.server.wait_for("refused", name="no-such-file")


def _ask(bench: Bench, request: bytes) -> bytes:
    """The first answer to a raw datagram from a port of its own; an ERROR then ends the transfer."""
    with bench.lab.socket(1) as sock:
        sock.settimeout(10)
        sock.sendto(request, (bench.lab.address(0), PORT))
        answer, tid = sock.recvfrom(2048)
        if answer[:2] != b"\0\5":
            sock.sendto(b"\0\5\0\0enough\0", tid)
        return answer


TRICKS = [
    b"../secret",
    b"/../secret",
    b"deep/../../secret",
    b"deep/../f1",
    b"./f1",
    b"deep//er/f",
    b"..\\secret",
    b"deep\\er\\f",
    b"out",
    b"outside/secret",
    b"outside",
    b"deep",
    b"",
    b"/",
    b".",
    b"..",
    b"fifo",
    b"f1/",
    b"f1/.",
    b"%2e%2e/secret",
    b"\xff\xfe",
    b"f1\n",
    b"f1\x1b[2J",
    b"/etc/passwd",
    b"//etc/passwd",
    b"/proc/self/environ",
    b"x" * 400,
    b"deep/" * 90 + b"f",
]


@pytest.mark.parametrize("name", TRICKS)
@pytest.mark.parametrize("options", [b"", b"blksize\x001024\0tsize\x000\0", b"multicast\0\0"])
def test_path_tricks_are_errors(name: bytes, options: bytes, bench: Bench) -> None:
    answer = _ask(bench, b"\0\1" + name + b"\0octet\0" + options)
    assert answer[:2] == b"\0\5", answer
    assert answer[3] in (1, 2, 4)
    assert answer.endswith(b"\0")
    assert answer.isascii()
    assert SECRET not in answer


def test_a_leading_slash_is_dropped(bench: Bench) -> None:
    assert _ask(bench, b"\0\1/deep/er/f\0octet\0") == b"\0\3\0\1below"
    assert _ask(bench, b"\0\1deep/er/f\0OcTeT\0") == b"\0\3\0\1below"


REFUSED = {
    "write": (b"\0\2new\0octet\0", 2),
    "netascii": (b"\0\1f1\0netascii\0", 4),
    "mail": (b"\0\1f1\0mail\0", 4),
    "no-final-nul": (b"\0\1f1\0octet", 4),
    "no-mode": (b"\0\1f1\0", 4),
    "only-opcode": (b"\0\1" + b"\0" * 3, 4),
    "option-without-value": (b"\0\1f1\0octet\0blksize\0", 4),
    "longer-than-512": (b"\0\1f1\0octet\0" + b"x\0y\0" * 150, 4),
    "blksize-7": (b"\0\1f1\0octet\0blksize\x007\0", 8),
    "blksize-65465": (b"\0\1f1\0octet\0blksize\x0065465\0", 8),
    "blksize-abc": (b"\0\1f1\0octet\0blksize\0abc\0", 8),
    "blksize-twice": (b"\0\1f1\0octet\0blksize\x00512\0blksize\x001024\0", 8),
    "windowsize-0": (b"\0\1f1\0octet\0windowsize\x000\0", 8),
    "timeout-0": (b"\0\1f1\0octet\0timeout\x000\0", 8),
    "multicast-value": (b"\0\1f1\0octet\0multicast\0x\0", 8),
}


@pytest.mark.parametrize("case", REFUSED)
def test_requests_that_are_refused(case: str, bench: Bench) -> None:
    request, code = REFUSED[case]
    answer = _ask(bench, request)
    assert answer[:2] == b"\0\5", answer
    # PROTOCOL.md section 2: ERROR 4 or 8 for what cannot be parsed
    assert answer[3] in ((4, 8) if code != 2 else (2,)), answer
    assert not (bench.root / "new").exists()


def test_options_are_answered_as_their_rfcs_say(bench: Bench) -> None:
    request = (
        b"\0\1f1025\0octet\0BLKSIZE\x001024\0tsize\x000\0timeout\x003\0unheard-of\x001\0windowsize\x004\0"
    )
    answer = _ask(bench, request)
    assert answer[:2] == b"\0\6"
    words = answer[2:].split(b"\0")
    accepted = {words[i].lower(): words[i + 1] for i in range(0, len(words) - 1, 2)}
    assert accepted == {b"blksize": b"1024", b"tsize": b"1025", b"timeout": b"3", b"windowsize": b"4"}
    # An unknown option alone is none at all: DATA at once (RFC 2347).
    assert _ask(bench, b"\0\1f1\0octet\0unheard-of\x001\0")[:4] == b"\0\3\0\1"


def test_what_is_no_request_is_not_answered_and_does_no_harm(bench: Bench) -> None:
    with bench.lab.socket(1) as sock:
        sock.settimeout(10)
        for junk in (b"", b"\0", b"\x00", b"\0\3\0\1x", b"\0\4\0\1", b"\0\5\0\0x\0", b"\0\6a\0b\0"):
            sock.sendto(junk, (bench.lab.address(0), PORT))
        sock.sendto(b"\0\1f1\0octet\0", (bench.lab.address(0), PORT))
        # One-byte datagrams may get an ERROR 4; the others must stay without an answer.
        while (answer := sock.recvfrom(2048))[0][:2] == b"\0\5":
            assert answer[0][3] == 4
        assert answer[0] == b"\0\3\0\1" + bench.files["f1"]
        sock.sendto(b"\0\4\0\1", answer[1])


def test_a_foreign_tid_gets_error_5_and_the_transfer_goes_on(bench: Bench) -> None:
    data = bench.files["f1025"]
    with bench.lab.socket(1) as sock, bench.lab.socket(1) as stranger:
        sock.settimeout(10)
        stranger.settimeout(10)
        sock.sendto(b"\0\1f1025\0octet\0", (bench.lab.address(0), PORT))
        got = b""
        for number in (1, 2, 3):
            while (block := sock.recvfrom(2048))[0][:4] != b"\0\3\0" + bytes([number]):
                pass  # a repeated one
            tid = block[1]
            got += block[0][4:]
            stranger.sendto(b"\0\4\0" + bytes([number]), tid)
            assert stranger.recv(2048)[:4] == b"\0\5\0\5"
            stranger.sendto(b"\0\5\0\0go away\0", tid)
            sock.sendto(b"\0\4\0" + bytes([number]), tid)
    assert got == data


def test_many_clients_at_once(bench: Bench, tmp_path: Path) -> None:
    name = "f2000000"
    running = []
    for number in range(8):
        output = tmp_path / f"got{number}"
        argv = CLIENTS["curl-1428" if number % 2 else "atftp-window"](bench.lab.address(0), name, output)
        running.append((bench.lab.start(1, *argv), output))
    for process, output in running:
        finish(process)
        assert output.read_bytes() == bench.files[name]
