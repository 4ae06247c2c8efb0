"""Boards get their image from other people's servers, and from ours when things go wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gapcast.protocol.types import HEADERS_BYTES
from gapcast_core.container import parse_header
from gapcast_core.wire import HEADER_BYTES

from . import needs
from .capture import Capture, longest_stall
from .conftest import Labs, noise
from .lab import Lab
from .peers import (
    UNICAST_SERVERS,
    Board,
    OurServer,
    Process,
    assert_updated,
    atftpd,
    image,
    wait_until,
)
from .scripted import BLKSIZE, Conductor, FakeServer, numbered

pytestmark = [pytest.mark.root, pytest.mark.interop]

SIZE = 500_000
CHUNK_BYTES = 4096  # issue 3: at most so much of the image is downloaded again after a power cut
FRAME_BYTES = BLKSIZE + HEADER_BYTES + HEADERS_BYTES
RAW = noise(300_001)


@pytest.fixture(autouse=True)
def _real_micropython() -> None:
    needs.micropython()


def updated(*boards: Board) -> list[dict[str, object]]:
    """All boards run the image."""
    results = [board.done() for board in boards]
    for result in results:
        assert_updated(result)
    return results


def right_blocks(slot: Path, payload: bytes) -> int:
    """Blocks of an image and its padding that stand in a slot's flash, which is blank behind its file."""
    flash = slot.read_bytes().ljust(len(payload), b"\xff")
    return sum(
        flash[at : at + BLKSIZE] == payload[at : at + BLKSIZE] for at in range(0, len(payload), BLKSIZE)
    )


# ---- servers that are not ours ----


@pytest.mark.parametrize("server", UNICAST_SERVERS)
def test_from_a_unicast_server(
    server: Callable[[Lab, Path], Process], labs: Labs, root: Path, tmp_path: Path
) -> None:
    image(root, "fw", SIZE)
    (root / "f.bin").write_bytes(RAW)
    lab = labs(4)
    server(lab, root)
    raw = Board(lab, 3, tmp_path, "f.bin", "--raw")
    for result in updated(*(Board(lab, index, tmp_path, "fw") for index in (1, 2))):
        assert result["role"] == "unicast"
    raw.done()
    assert raw.raw == RAW


@pytest.mark.parametrize("boards", [1, 3])
def test_from_atftpd_by_multicast(boards: int, labs: Labs, root: Path, tmp_path: Path) -> None:
    image(root, "fw", SIZE)
    lab = labs(boards + 1)
    atftpd(lab, root)
    results = updated(*(Board(lab, index, tmp_path, "fw") for index in range(1, boards + 1)))
    assert "master" in {result["role"] for result in results}
    assert "unicast" not in {result["role"] for result in results}


def test_from_atftpd_raw(labs: Labs, root: Path, tmp_path: Path) -> None:
    (root / "f.bin").write_bytes(RAW)
    lab = labs(4)
    atftpd(lab, root)
    for board in [Board(lab, index, tmp_path, "f.bin", "--raw") for index in (1, 2, 3)]:
        board.done()
        assert board.raw == RAW


def test_from_atftpd_with_loss(labs: Labs, root: Path, tmp_path: Path) -> None:
    image(root, "fw", SIZE)
    lab = labs(4)
    atftpd(lab, root)
    for index in (1, 2, 3):
        lab.drop_multicast(index, 0.01)
    updated(*(Board(lab, index, tmp_path, "fw") for index in (1, 2, 3)))


# ---- loss ----


def test_with_ten_percent_multicast_loss(labs: Labs, root: Path, tmp_path: Path) -> None:
    image(root, "fw", SIZE)
    lab = labs(5)
    server = OurServer(lab, root)
    for index in (1, 2, 3, 4):
        lab.drop_multicast(index, 0.10)
    results = updated(*(Board(lab, index, tmp_path, "fw") for index in (1, 2, 3, 4)))
    wait_until(
        lambda: len(server.events("session_open")) == len(server.events("session_closed")), "all closed"
    )
    server.stop()
    repaired = sum(int(str(result["repaired_blocks"])) for result in results)
    assert repaired or server.events("mended")


def test_with_five_percent_loss_of_everything(labs: Labs, root: Path, tmp_path: Path) -> None:
    image(root, "fw", SIZE)
    lab = labs(5)
    for index in range(5):
        lab.drop_udp(index, 0.05)
    OurServer(lab, root)
    updated(*(Board(lab, index, tmp_path, "fw") for index in (1, 2, 3, 4)))


# ---- death and return ----


def test_a_board_whose_power_is_cut_starts_again(labs: Labs, root: Path, tmp_path: Path) -> None:
    data = image(root, "fw", SIZE).read_bytes()
    lab = labs(3)
    server = OurServer(lab, root, "--rate", "4M")
    board, other = Board(lab, 1, tmp_path, "fw"), Board(lab, 2, tmp_path, "fw")
    server.wait_for_multicast(len(data) / 2)
    board.power_cut()
    updated(other)
    payload_bytes = parse_header(data[:BLKSIZE]).payload_bytes
    stored = right_blocks(board.folder / "ota_1.bin", data[BLKSIZE : BLKSIZE + payload_bytes])
    assert stored > len(data) / BLKSIZE / 3
    ended = server.wait_for("session_closed")
    board.power_on()
    [result] = updated(board)
    server.stop()
    # What is kept always includes the header, and the digest table, fetched before the rest.
    kept = int(str(result["kept_blocks"])) - (len(data) - payload_bytes) // BLKSIZE
    again = (stored - kept) * BLKSIZE
    to_both = int(str(ended["datagrams"])) + sum(event["symbols"] for event in server.events("mended"))
    sent = sum(server.events("stopped")[0]["air_bytes"].values()) - to_both * FRAME_BYTES
    print(f"power cut at half: {again} bytes downloaded again, {sent / len(data):.2f} of the image sent")
    assert 0 <= again <= CHUNK_BYTES
    missing = len(data) - stored * BLKSIZE
    # Datagram headers, the image's header three times, and what was fetched by unicast.
    assert sent < 1.1 * missing + 16 * BLKSIZE


def test_the_master_board_is_killed(labs: Labs, root: Path, tmp_path: Path) -> None:
    size = image(root, "fw", 1_000_000).stat().st_size
    lab = labs(5)
    server = OurServer(lab, root, "--rate", "4M", "--gather-ms", "1500")
    capture = Capture(lab, 0, tmp_path / "air.pcap")
    boards = {lab.address(index): Board(lab, index, tmp_path, "fw") for index in (1, 2, 3, 4)}
    wait_until(lambda: len(server.events("member_joined")) >= 4, "all boards joined")
    master = server.wait_for("member_joined", role="master")
    server.wait_for_multicast(size / 3)
    dead = boards.pop(master["address"])
    dead.power_cut()
    updated(*boards.values())
    server.wait_for("handover")
    stall = longest_stall(capture.stop())
    print(f"master board killed: {stall:.3f} s without a new block")
    assert stall < 1.0
    dead.power_on()
    updated(dead)


def test_the_server_is_killed_and_comes_back(labs: Labs, root: Path, tmp_path: Path) -> None:
    size = image(root, "fw", SIZE).stat().st_size
    lab = labs(4)
    server = OurServer(lab, root, "--rate", "4M")
    boards = [Board(lab, index, tmp_path, "fw") for index in (1, 2, 3)]
    server.wait_for_multicast(size / 2)
    server.kill()
    server.start()
    for result in updated(*boards):
        assert result["boots"] == 2  # by themselves: the reset into the new version is the only one


# ---- late ----


@pytest.mark.parametrize("percent", [50, 99])
def test_a_late_board_joins_the_stream(percent: int, labs: Labs, root: Path, tmp_path: Path) -> None:
    image(root, "fw", SIZE)
    lab = labs(3)
    server = OurServer(lab, root)
    conductor = Conductor(lab, 1, "fw.gap")
    conductor.lead(conductor.total * percent // 100)
    conductor.hold()
    board = Board(lab, 2, tmp_path, "fw")
    server.wait_for("member_joined", role="listener")
    conductor.go_on()
    conductor.lead(conductor.total)
    conductor.leave()
    [result] = updated(board)
    if percent == 50:  # at 99 % it asks for a new stream, and is its master
        assert result["role"] == "listener"
        assert len(server.events("session_open")) == 1
        assert server.events("turn")


def test_a_board_that_comes_while_turns_are_given(labs: Labs, root: Path, tmp_path: Path) -> None:
    image(root, "fw", SIZE)
    lab = labs(3)
    server = OurServer(lab, root)
    conductor = Conductor(lab, 1, "fw.gap")
    conductor.lead(conductor.total)
    server.wait_for("stream_end")
    conductor.acked -= 1  # its last block is missing, so it says, and keeps its turn
    conductor.hold()
    updated(Board(lab, 2, tmp_path, "fw"))
    conductor.go_on()
    conductor.close()


def test_a_board_that_comes_after_the_end(labs: Labs, root: Path, tmp_path: Path) -> None:
    image(root, "fw", SIZE)
    lab = labs(3)
    server = OurServer(lab, root)
    updated(Board(lab, 1, tmp_path, "fw"))
    server.wait_for("session_closed")
    [result] = updated(Board(lab, 2, tmp_path, "fw"))
    assert result["role"] == "master"
    assert len(server.events("session_open")) == 2


# ---- sizes ----

RAW_SIZES = (0, 1, 1023, 1024, 1025, 2048, 4096, 65536)


def _raw_of_every_size(lab: Lab, root: Path, tmp_path: Path) -> None:
    boards = {}
    for index, size in enumerate(RAW_SIZES, 1):
        (root / f"f{size}").write_bytes(noise(size))
        boards[size] = Board(lab, index, tmp_path, f"f{size}", "--raw")
    for size, board in boards.items():
        board.done()
        assert board.raw == noise(size), size


def test_raw_of_every_size_from_our_server(labs: Labs, root: Path, tmp_path: Path) -> None:
    lab = labs(len(RAW_SIZES) + 1)
    OurServer(lab, root)
    _raw_of_every_size(lab, root, tmp_path)


@pytest.mark.parametrize("server", [atftpd, *UNICAST_SERVERS])
def test_raw_of_every_size_from_others(
    server: Callable[[Lab, Path], Process], labs: Labs, root: Path, tmp_path: Path
) -> None:
    lab = labs(len(RAW_SIZES) + 1)
    server(lab, root)
    _raw_of_every_size(lab, root, tmp_path)


IMAGE_SIZES = (8192, 65536, 65537, 262144)


def test_images_of_several_sizes(labs: Labs, root: Path, tmp_path: Path) -> None:
    lab = labs(len(IMAGE_SIZES) + 1)
    OurServer(lab, root)
    boards = []
    for index, size in enumerate(IMAGE_SIZES, 1):
        image(root, f"fw{size}", size)
        boards.append(Board(lab, index, tmp_path, f"fw{size}"))
    updated(*boards)


def test_sixteen_mebibytes(labs: Labs, root: Path, tmp_path: Path) -> None:
    data = noise(16 << 20)
    (root / "big").write_bytes(data)
    lab = labs(3)
    OurServer(lab, root, "--rate", "0")
    for board in [Board(lab, index, tmp_path, "big", "--raw") for index in (1, 2)]:
        board.done()
        assert board.raw == data


# ---- which block is lost, and in which order they come ----


@pytest.mark.parametrize("lost", ["first", "last", "both"])
def test_the_first_or_the_last_block_is_lost(lost: str, labs: Labs, root: Path, tmp_path: Path) -> None:
    blocks = image(root, "fw", 100_000).stat().st_size // BLKSIZE
    lab = labs(4)
    for index in (1, 2, 3):  # so the master and the listeners
        if lost != "last":
            lab.drop_block(index, 1)
        if lost != "first":
            lab.drop_block(index, blocks)
    OurServer(lab, root, "--gather-ms", "500")
    for result in updated(*(Board(lab, index, tmp_path, "fw") for index in (1, 2, 3))):
        assert result["lost_blocks"] == (2 if lost == "both" else 1)
        assert result["repaired_blocks"] == result["lost_blocks"]


LAST = 41
DATA = noise((LAST - 1) * BLKSIZE + 17)
ALL = list(range(1, LAST + 1))
ORDERS = {
    "in order": ALL,
    "first lost": ALL[1:],
    "last lost": ALL[:-1],
    "last first": [LAST, *ALL[:-1]],
    "backwards": ALL[::-1],
    "odd then even": [*ALL[::2], *ALL[1::2]],
    "each twice": [number for number in ALL for _ in range(2)],
    "every other lost": ALL[1::2],
    "nothing": [],
    "only the last": [LAST],
}


@pytest.mark.parametrize("gap_aware", [True, False], ids=["ours", "stock"])
@pytest.mark.parametrize("order", ORDERS)
def test_blocks_in_any_order(order: str, gap_aware: bool, labs: Labs, tmp_path: Path) -> None:
    lab = labs(2)
    with FakeServer(lab, DATA, ORDERS[order], gap_aware) as server:
        board = Board(lab, 1, tmp_path, "f.bin", "--raw")
        board.done()
    assert len(board.raw) == len(DATA)
    assert board.raw == DATA
    assert server.requests <= 4
    if gap_aware and order in ("first lost", "last lost", "every other lost"):
        assert server.repaired == [number for number in ALL if number not in ORDERS[order]]


JUNK = {
    "block zero": [numbered(3, 0, bytes(BLKSIZE))],
    "beyond the end": [numbered(3, 10_000, bytes(BLKSIZE)), numbered(3, 65_535)],
    "short in the middle": [numbered(3, 7, b"short"), numbered(3, 8)],
    "too long": [numbered(3, 7, bytes(BLKSIZE + 1)), numbered(3, 9, bytes(1400))],
    "forged": [numbered(3, 7, bytes(BLKSIZE)), numbered(3, 1, bytes(BLKSIZE))],
    "no tftp": [b"\0", b"\0\3", b"\0\3\0", b"\0\5\0\0go away\0", b"x" * 1028],
}


def _with_junk(junk: list[bytes], gap_aware: bool, lab: Lab, root: Path, tmp_path: Path) -> None:
    data = image(root, "fw", 100_000).read_bytes()
    blocks = list(range(1, len(data) // BLKSIZE + 1))
    with FakeServer(lab, data, [*junk, *blocks[:20], *junk, *blocks[20:], *junk], gap_aware):
        updated(Board(lab, 1, tmp_path, "fw"))


@pytest.mark.parametrize("junk", JUNK)
def test_junk_between_the_blocks(junk: str, labs: Labs, root: Path, tmp_path: Path) -> None:
    _with_junk(JUNK[junk], True, labs(2), root, tmp_path)


def test_all_that_junk_from_a_stock_server(labs: Labs, root: Path, tmp_path: Path) -> None:
    _with_junk([datagram for junk in JUNK.values() for datagram in junk], False, labs(2), root, tmp_path)
