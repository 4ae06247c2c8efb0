"""Wireshark's judgement of what we put on the air."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from . import needs
from .capture import DATA, OACK, Capture, Frame
from .conftest import Labs
from .peers import PORT, Board, OurServer, assert_updated, atftp, finish, image, wait_until

pytestmark = [pytest.mark.root, pytest.mark.interop]

BAD = "_ws.malformed || _ws.expert.severity >= error"


def tshark(pcap: Path, ports: set[int], *options: str) -> list[str]:
    """Its lines, with these UDP ports decoded as TFTP."""
    argv = [needs.program("tshark"), "-n", "-r", str(pcap), "-o", "tftp.defragment:FALSE"]
    for port in sorted(ports):
        argv += ["-d", f"udp.port=={port},tftp"]
    done = subprocess.run([*argv, *options], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_tshark_finds_nothing_wrong(labs: Labs, root: Path, tmp_path: Path) -> None:
    size = image(root, "fw", 300_000).stat().st_size
    lab = labs(4)
    lab.drop_multicast(1, 0.05)  # one board only: its gaps are cheaper by `ranges` than by repair symbols
    server = OurServer(lab, root, "--rate", "8M", "--gather-ms", "1000")
    capture = Capture(lab, 0, tmp_path / "air.pcap")
    boards = [Board(lab, index, tmp_path, "fw") for index in (1, 2)]
    server.wait_for("session_open")
    stock = atftp(lab, 3, "fw.gap", tmp_path / "got", "multicast", "blksize 1024")
    for board in boards:
        assert_updated(board.done())
    finish(stock)
    server.wait_for("session_closed")
    wait_until(lambda: any(event["ranges"] for event in server.events("transfer_done")), "a repair is done")
    server.stop()
    frames = capture.stop()

    session = server.events("session_open")[0]
    group = (session["group"], session["port"])
    _one_tid(frames, group)
    _sizes(frames, group, size)
    tids = {frame.source[1] for frame in frames if frame.source[0] == lab.address(0)} - {PORT}
    lines = tshark(capture.path, tids, "-Y", BAD)
    assert lines == []
    # It did decode them, all of them.
    decoded = tshark(capture.path, tids, "-Y", "tftp", "-T", "fields", "-e", "tftp.opcode")
    assert len(decoded) == len(frames)
    assert {"1", "3", "4", "6"} <= set(decoded)


def _one_tid(frames: list[Frame], group: tuple[str, int]) -> None:
    """DATA to the group and the session's OACKs come from one address and port, not the main port."""
    sources = {frame.source for frame in frames if frame.to_group}
    assert len(sources) == 1
    [tid] = sources
    assert tid[1] != PORT
    assert {frame.target for frame in frames if frame.to_group} == {group}
    word = f"multicast\0{group[0]},{group[1]},".encode()
    offers = [frame for frame in frames if frame.opcode == OACK and word in frame.payload]
    assert offers
    assert {frame.source for frame in offers} == {tid}
    assert all(frame.opcode == DATA for frame in frames if frame.to_group)


def _sizes(frames: list[Frame], group: tuple[str, int], size: int) -> None:
    """No datagram is longer than its block size, requests fit 512 octets, and every block was on the air."""
    lengths: dict[int, int] = defaultdict(int)
    for frame in frames:
        lengths[frame.opcode] = max(lengths[frame.opcode], len(frame.payload))
    assert lengths[DATA] == 1028
    assert lengths[1] <= 512
    numbers = {frame.number for frame in frames if frame.target == group}
    assert numbers >= set(range(1, size // 1024 + 1))
