"""Stock RFC 2090 clients (atftp) and our server; how it compares with atftpd."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path

import pytest

from .capture import Capture, longest_stall
from .conftest import Labs, noise
from .lab import Lab, kill
from .peers import PORT, Board, OurServer, Process, assert_updated, atftp, atftpd, finish, image, wait_until

pytestmark = [pytest.mark.root, pytest.mark.interop]

MULTICAST = ("multicast", "blksize 1428")
SIZE = 2_000_000
RATE_BPS = 8_000_000
STALL_SECONDS = 1.0
ROUNDS = 3
ATFTPD_CAP_SECONDS = 20


def fetch(lab: Lab, clients: int, name: str, folder: Path, *options: str) -> list[tuple[Process, Path]]:
    """Start so many atftp, on hosts 1 and up."""
    started = []
    for index in range(1, clients + 1):
        output = folder / f"got{index}"
        output.unlink(missing_ok=True)
        started.append((atftp(lab, index, name, output, *options), output))
    return started


def check(started: list[tuple[Process, Path]], data: bytes, seconds: float = 80) -> None:
    """All end well, with the file."""
    for process, output in started:
        log = output.parent / f"{output.name}.log"
        finish(process, seconds)
        got = output.read_bytes()
        assert got == data, f"{len(got)} of {len(data)} bytes: {log.read_text()[-500:]}"


@pytest.mark.parametrize("size", [0, 1, 1427, 1428, 1429, 14280, SIZE])
def test_one_atftp_alone(size: int, labs: Labs, root: Path, tmp_path: Path) -> None:
    data = noise(size)
    (root / "f").write_bytes(data)
    lab = labs(2)
    server = OurServer(lab, root)
    check(fetch(lab, 1, "f", tmp_path, *MULTICAST), data)
    if data:  # nothing to multicast: an empty file goes by unicast
        server.wait_for("session_closed", reason="finished")
        assert len(server.events("session_open")) == 1
    server.stop()


def test_five_atftp_share_one_stream(labs: Labs, root: Path, tmp_path: Path) -> None:
    data = noise(SIZE)
    (root / "f").write_bytes(data)
    lab = labs(6)
    server = OurServer(lab, root, "--rate", str(RATE_BPS))
    check(fetch(lab, 5, "f", tmp_path, *MULTICAST), data)
    server.wait_for("session_closed", reason="finished")
    server.stop()
    assert len(server.events("session_open")) == 1
    assert len(server.events("member_joined")) == 5
    blocks = SIZE // 1428 + 1
    # A lock-step stream keeps the rate: every block with 46 bytes of headers (2: the load of this machine).
    assert server.events("stream_end")[0]["seconds"] < 2 * blocks * (1428 + 46) * 8 / RATE_BPS
    # Those that came a moment late fetch what they missed as masters; all else went once for all.
    assert blocks <= server.events("session_closed")[0]["datagrams"] < 1.5 * blocks


def test_atftp_and_boards_in_one_session(labs: Labs, root: Path, tmp_path: Path) -> None:
    data = image(root, "fw", 1_000_000).read_bytes()
    lab = labs(6)
    server = OurServer(lab, root, "--rate", "4M")
    boards = [Board(lab, index, tmp_path, "fw") for index in (4, 5)]
    server.wait_for("session_open")
    atftps = fetch(lab, 3, "fw.gap", tmp_path, "multicast", "blksize 1024")
    check(atftps, data)
    for board in boards:
        assert_updated(board.done())
    server.wait_for("session_closed", reason="finished")
    server.stop()
    assert len(server.events("session_open")) == 1
    joined = server.events("member_joined")
    assert sorted(event["gap_aware"] for event in joined) == [False] * 3 + [True] * 2
    assert {event["outcome"] for event in server.events("member_done")} == {"complete"}


def test_atftp_while_boards_are_mended(labs: Labs, root: Path, tmp_path: Path) -> None:
    """Repair symbols go to a group of their own, which atftp never joins."""
    data = image(root, "fw", 1_500_000).read_bytes()
    lab = labs(7)
    for index in (4, 5, 6):
        lab.drop_multicast(index, 0.1)
    capture = Capture(lab, 1, tmp_path / "atftp.pcap")
    server = OurServer(lab, root, "--rate", "4M")
    boards = [Board(lab, index, tmp_path, "fw") for index in (4, 5, 6)]
    server.wait_for("session_open")
    check(fetch(lab, 3, "fw.gap", tmp_path, "multicast", "blksize 1024"), data)
    for board in boards:
        assert_updated(board.done())
    server.wait_for("session_closed", reason="finished")
    server.stop()
    mended = server.events("mended")
    assert mended
    assert mended[0]["symbols"] > 20
    groups = {frame.target[0] for frame in capture.stop() if frame.to_group and frame.opcode == 3}
    assert len(groups) == 2, "the bridge floods; what counts is what atftp wrote"


def test_without_loss_each_block_goes_once_for_all(labs: Labs, root: Path, tmp_path: Path) -> None:
    """How long it takes beside atftpd: case stock-5x0@0 of `make bench`."""
    data = noise(4 * SIZE)
    (root / "f").write_bytes(data)
    lab = labs(4)
    server = OurServer(lab, root)
    for number in range(1, ROUNDS + 1):
        check(fetch(lab, 3, "f", tmp_path, *MULTICAST), data)
        wait_until(lambda number=number: len(server.events("session_closed")) == number, "the session's end")
    server.stop()
    blocks = len(data) // 1428 + 1
    for session in server.events("session_closed"):
        assert blocks <= session["datagrams"] < 1.5 * blocks  # some start late


def test_with_one_percent_loss_all_finish(labs: Labs, root: Path, tmp_path: Path) -> None:
    data = noise(SIZE)
    (root / "f").write_bytes(data)
    theirs, ours = labs(4), labs(4)
    for lab in (theirs, ours):
        for index in (1, 2, 3):
            lab.drop_multicast(index, 0.01)
    atftpd(theirs, root)
    OurServer(ours, root)
    (tmp_path / "theirs").mkdir()
    begun = time.monotonic()
    others = fetch(theirs, 3, "f", tmp_path / "theirs", *MULTICAST)
    start = time.monotonic()
    check(fetch(ours, 3, "f", tmp_path, *MULTICAST), data)
    ours_seconds = time.monotonic() - start
    try:
        for process, _output in others:
            process.wait(max(0.1, begun + ATFTPD_CAP_SECONDS - time.monotonic()))
        atftpd_text = f"{time.monotonic() - begun:.2f} s"
    except subprocess.TimeoutExpired:
        atftpd_text = f"not done in {ATFTPD_CAP_SECONDS} s"
    print(f"3 atftp, 1 % multicast loss, {SIZE} bytes: ours {ours_seconds:.2f} s, atftpd {atftpd_text}")


def test_the_master_atftp_is_killed(labs: Labs, root: Path, tmp_path: Path) -> None:
    data = noise(SIZE)
    (root / "f").write_bytes(data)
    lab = labs(5)
    server = OurServer(lab, root, "--rate", "6M")
    capture = Capture(lab, 0, tmp_path / "air.pcap")
    started = fetch(lab, 4, "f", tmp_path, *MULTICAST)
    master = server.wait_for("member_joined", role="master")
    server.wait_for_multicast(SIZE / 3)
    [dead] = [pair for index, pair in enumerate(started, 1) if lab.address(index) == master["address"]]
    kill(dead[0])
    started.remove(dead)
    check(started, data)
    server.wait_for("handover")
    server.wait_for("session_closed")
    server.stop()
    stall = longest_stall(capture.stop())
    print(f"master atftp killed: {stall:.3f} s without a new block")
    assert stall < STALL_SECONDS


def test_a_master_that_never_speaks(labs: Labs, root: Path, tmp_path: Path) -> None:
    data = noise(200_000)
    (root / "f").write_bytes(data)
    lab = labs(3)
    server = OurServer(lab, root)
    with lab.socket(1) as silent:
        silent.settimeout(10)
        silent.sendto(b"\0\1f\0octet\0blksize\x001428\0multicast\0\0", (lab.address(0), PORT))
        assert silent.recv(600).endswith(b",1\0")
        output = tmp_path / "got"
        check([(atftp(lab, 2, "f", output, *MULTICAST), output)], data)
        joined = server.wait_for("member_joined", role="listener")
        assert server.wait_for("stream_end")["t"] - joined["t"] < STALL_SECONDS
        # It asked once and never answered: the RRQ has paid for one OACK (PROTOCOL.md section 9).
        silent.setblocking(False)
        oacks = 1
        with contextlib.suppress(BlockingIOError):
            while silent.recv(600):
                oacks += 1
        assert oacks == 1
