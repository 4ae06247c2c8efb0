"""Announcements on the loopback interface: the real server, and a folder that changes."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gapcast.image.boards import chip_of_board
from gapcast.image.build import Container, build_container
from gapcast.image.sample import build_sample
from gapcast_core import wire
from gapcast_core.announcement import GROUP, PORT, parse_announcement

from .test_net import WAIT_S, Running, free_port

CHIP = chip_of_board("SIM")


def container(version: str) -> Container:
    return build_container(build_sample(8192, version, CHIP), "lab", "SIM", CHIP)


@pytest.fixture
def group() -> Iterator[socket.socket]:
    """A socket that hears the group on the loopback interface, as other programs on this host do."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((GROUP, PORT))
        membership = socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        yield sock


def heard(sock: socket.socket, name: str, seconds: float = WAIT_S) -> tuple[str, int] | None:
    """(content id, wait) of the next announcement of that image: other tests may run beside this one."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([sock], [], [], left)[0]:
            found, content_id, wait_ms = parse_announcement(sock.recv(2048))
            if found == name:
                return content_id, wait_ms
    return None


@pytest.fixture
def name(tmp_path: Path) -> str:
    return f"a{tmp_path.parent.name}-{tmp_path.name}"[-40:]


@pytest.mark.parametrize("listen", [("--iface", "127.0.0.1"), ()])
def test_an_image_that_is_put_into_the_folder_is_announced(
    listen: tuple[str, ...], tmp_path: Path, group: socket.socket, name: str
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "old.gap").write_bytes(container("1.0.0").data)
    server = Running(root, *listen, "--port", str(free_port()))
    try:
        if not listen:  # of several addresses: through the interfaces where boards asked
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as board:
                board.settimeout(WAIT_S)
                board.sendto(wire.pack_request(wire.OP_RRQ, "none", []), ("127.0.0.1", server.port))
                board.recv(600)
        new = container("2.0.0")
        (root / f"{name}.gap").write_bytes(new.data)
        event = server.wait("announced")
        assert (event["name"], event["content_id"]) == (name, new.content_id)
        first = heard(group, name)
        assert first is not None
        second = heard(group, name)
        assert second is not None
        assert first[0] == second[0] == new.content_id
        assert 0 < second[1] < first[1] <= 6_000
    finally:
        assert server.stop() == 0
    assert server.wait("stopped")["air_bytes"]["multicast"] > 0


def test_it_can_be_switched_off(tmp_path: Path, group: socket.socket, name: str) -> None:
    server = Running(tmp_path, "--listen", "127.0.0.1", "--port", str(free_port()), "--no-announce")
    other = Running(tmp_path, "--listen", "127.0.0.1", "--port", str(free_port()))
    try:
        (tmp_path / f"{name}.gap").write_bytes(container("2.0.0").data)
        other.wait("announced")  # one server announces it: the other has had as much time
        assert heard(group, name) is not None
    finally:
        other.stop()
        assert server.stop() == 0
    assert server.wait("stopped")["air_bytes"]["multicast"] == 0
