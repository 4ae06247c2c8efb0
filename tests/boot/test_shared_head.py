"""A header that many boards ask for at once comes by multicast, or soon by unicast after all."""

from __future__ import annotations

import socket
import time

import pytest
from boot_world import CHIP, MiniServer, Recording, World, files_of, make_container

from gapcast.image.sample import build_sample
from gapcast_core import options as opt
from gapcast_core import wire

CONTAINER = make_container(size=9000)
HEADER = files_of(CONTAINER)["image.hdr"]
GROUP = ("239.195.77.3", 20179)
LONGEST_S = 2.5  # far above the 300 ms of a handout, below the patience of these boards


class Handouts(MiniServer):
    """Offers a group to who asks for a header with `multicast`, and says `says` there after the ACK."""

    def __init__(self, says: list[bytes]) -> None:
        super().__init__(files_of(CONTAINER))
        self.says = says
        self.role = 0
        self.more = [(opt.RANGES, "")]
        self.size = 1024
        self.acks: list[int] = []
        self.shared = 0

    def _answer(self, request: bytes, peer: tuple[str, int]) -> None:
        _op, name, _mode, pairs = wire.parse_request(request)
        if not name.endswith(".hdr") or wire.option(pairs, opt.MULTICAST) is None:
            super()._answer(request, peer)
            return
        self.shared += 1
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tid:
            tid.bind(("127.0.0.1", 0))
            tid.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            tid.settimeout(0.05)
            place = f"{GROUP[0]},{GROUP[1]},{self.role}"
            offer = [("blksize", "1024"), ("tsize", str(self.size)), ("multicast", place), *self.more]
            tid.sendto(wire.pack_oack(offer), peer)
            self._speak(tid)

    def _speak(self, tid: socket.socket) -> None:
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline and not self._stop.is_set():
            try:
                self.acks.append(wire.parse_ack(tid.recv(600)))
            except (TimeoutError, ConnectionError):
                continue
            if self.acks[-1] == 0:
                for datagram in self.says:
                    tid.sendto(datagram, GROUP)


@pytest.fixture
def board(world: World) -> World:
    world.program("ota_0", build_sample(8192, "1.0.0", CHIP))
    world.power_on()
    return world


def update(board: World, server: MiniServer) -> tuple[Recording, float]:
    """What was told, and how long it took; the update succeeds."""
    started = time.monotonic()
    with server.running():
        told = board.preboot(board.config(server.port))
    assert (told.outcome, told.reset) == ("updated", True), told.detail
    return told, time.monotonic() - started


def test_a_header_comes_by_multicast(board: World) -> None:
    server = Handouts([wire.pack_data(1, HEADER)])
    told, _seconds = update(board, server)
    assert server.shared == 1
    assert "image.hdr" not in server.asked
    assert server.acks == [0, 1]
    assert told.phases[0] == "unicast", "only the image is worth a phase"


def test_a_stock_master_gets_it_too(board: World) -> None:
    """RFC 2090 without ours: the last DATA of an exact multiple is empty."""
    server = Handouts([wire.pack_data(1, HEADER), wire.pack_data(2, b"")])
    server.role, server.more = 1, []
    update(board, server)
    assert server.shared == 1
    assert "image.hdr" not in server.asked
    assert server.acks[-1] == 2


@pytest.mark.parametrize(
    "says",
    [
        [],
        [wire.pack_data(1, bytes(1024))],
        [wire.pack_data(1, HEADER[:100] + b"\xff" + HEADER[101:])],
        [wire.pack_data(2, HEADER)],
        [b""] * 20,
    ],
    ids=["silence", "zeros", "damaged", "a wrong block", "empty datagrams"],
)
def test_without_a_good_word_in_the_group_it_is_asked_for_alone(board: World, says: list[bytes]) -> None:
    server = Handouts(says)
    _told, seconds = update(board, server)
    assert server.shared == 1
    assert server.asked.count("image.hdr") == 1
    assert seconds < LONGEST_S


def test_a_group_that_cannot_be_joined(board: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_arguments: object) -> None:
        raise OSError(23, "ENFILE")

    monkeypatch.setattr(board.port, "open_group", fails)
    server = Handouts([wire.pack_data(1, HEADER)])
    _told, seconds = update(board, server)
    assert server.asked.count("image.hdr") == 1
    assert seconds < LONGEST_S


def test_a_file_of_another_size_is_not_taken_by_multicast(board: World) -> None:
    server = Handouts([wire.pack_data(1, HEADER)])
    server.size = 500_000
    update(board, server)
    assert server.asked.count("image.hdr") == 1
    assert server.acks == []


def test_a_server_that_drops_requests_with_empty_values(board: World) -> None:
    """As tftpy's does: the plain request comes a quarter of `ask_ms` later, from the same port."""
    server = MiniServer(files_of(CONTAINER))

    def first(request: bytes) -> list[bytes] | None:
        empty = any(not value for _name, value in wire.parse_request(request)[3])
        return [] if empty and server.requests[-1][0] == "image.hdr" else None

    server.first = first
    update(board, server)
    assert server.asked[:2] == ["image.hdr"] * 2


def test_a_server_that_refuses_the_options_is_asked_without(board: World) -> None:
    server = MiniServer(files_of(CONTAINER))
    refusal = [wire.pack_error(wire.ERR_OPTION, "no such option")]
    server.first = lambda _request: refusal if len(server.requests) == 1 else None
    update(board, server)
    assert server.asked[:2] == ["image.hdr"] * 2
