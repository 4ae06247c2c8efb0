"""A server that sends little, but never nothing, must not hold the application back."""

from __future__ import annotations

import socket
import sys
import time
from typing import Any

import pytest
from boot_world import World, files_of, make_container
from shipped import Board
from udp_server import Peer, UdpServer

from gapcast_core import options as opt
from gapcast_core import wire


class Drip(UdpServer):
    """A server that sends a block now and then, each in good time."""

    def __init__(self, files: dict[str, bytes], blksize: int, every_s: float) -> None:
        super().__init__()
        self._files = files
        self._blksize = blksize
        self._every_s = every_s

    def _answer(self, request: bytes, peer: Peer) -> None:
        name = wire.parse_request(request)[1]
        data = self._files[name]
        is_head = name.endswith(".hdr") and self._blksize >= opt.DEFAULT_BLKSIZE_BYTES
        blksize = 1024 if is_head else self._blksize
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.5)
            sock.sendto(wire.pack_oack([(opt.BLKSIZE, str(blksize)), (opt.TSIZE, str(len(data)))]), peer)
            while not self._stop.wait(0 if is_head else self._every_s):
                try:
                    datagram = sock.recv(600)
                except OSError:
                    return
                if wire.opcode(datagram) != wire.OP_ACK:
                    return
                block = wire.parse_ack(datagram)
                payload = data[block * blksize : (block + 1) * blksize]
                sock.sendto(wire.pack_data(block + 1, payload), peer)


def seconds_of(world: World, drip: Drip, **more: Any) -> float:
    """How long a pre-boot takes that fetches nothing in the end."""
    started = time.monotonic()
    with drip.running():
        told = world.preboot(world.config(drip.port, **more))
        took_s = time.monotonic() - started
    assert (told.outcome, told.reset) == ("failed", False)
    return took_s


def test_the_limit_of_a_download_holds_while_blocks_come(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """44 blocks, 0.2 s each: 9 s without a limit."""
    board.world.power_on()
    monkeypatch.setattr(board.world.transfer, "LIMIT_MS", 1000)
    drip = Drip(files_of(make_container()), 512, 0.2)
    assert seconds_of(board.world, drip, stall_ms=1500) < 4


def test_a_header_in_tiny_blocks_is_refused(board: Board) -> None:
    board.world.power_on()
    drip = Drip(dict.fromkeys(("image.hdr", "image.gap"), bytes(4096)), 8, 0.08)
    assert seconds_of(board.world, drip, ask_ms=100) < 4


def test_the_header_has_a_limit_of_its_own(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that drips fast enough not to stall, as if tiny blocks were allowed: 10 s."""
    board.world.power_on()
    monkeypatch.setattr(sys.modules[board.world.transfer.Download.__module__], "MIN_BLKSIZE_BYTES", 8)
    drip = Drip(dict.fromkeys(("image.hdr", "image.gap"), bytes(4096)), 8, 0.08)
    assert seconds_of(board.world, drip, ask_ms=300) < 5
