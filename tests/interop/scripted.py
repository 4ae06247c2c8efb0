"""Peers that do what a test tells them: a master that stops where it is told, a server with a strange air."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from .lab import Lab
from .peers import PORT

BLKSIZE = 1024
GROUP = ("239.255.9.1", 1758)
POLL_SECONDS = 0.05
FRAME_SECONDS = 0.0005  # between two DATA: a board queues six
Address = tuple[str, int]


def options_of(datagram: bytes, skip: int) -> dict[str, str]:
    """The options of an RRQ (behind name and mode: skip 2) or an OACK (skip 0)."""
    words = datagram[2:].split(b"\0")[skip:-1]
    return {words[i].decode().lower(): words[i + 1].decode() for i in range(0, len(words) - 1, 2)}


def pack(opcode: int, *words: str) -> bytes:
    return bytes((0, opcode)) + b"".join(word.encode() + b"\0" for word in words)


def numbered(opcode: int, number: int, payload: bytes = b"") -> bytes:
    return bytes((0, opcode)) + number.to_bytes(2, "big") + payload


class Conductor:
    """A gap-aware master that leads the stream to a block and holds it there."""

    def __init__(self, lab: Lab, index: int, name: str) -> None:
        self._server = (lab.address(0), PORT)
        self._sock = lab.socket(index)
        self._sock.settimeout(POLL_SECONDS)
        self._request = pack(
            1, name, "octet", "blksize", str(BLKSIZE), "tsize", "0", "multicast", "", "ranges", ""
        )
        offer, self._tid = self._answer()
        options = options_of(offer, 0)
        group, port, is_master = options["multicast"].split(",")
        assert is_master == "1"
        assert options["ranges"] == ""
        self.total = -(-int(options["tsize"]) // BLKSIZE)
        self.acked = 0
        self.turn = False
        self._hold = True
        self._group = lab.group_socket(index, group, int(port))
        self._group.settimeout(POLL_SECONDS)
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def _answer(self) -> tuple[bytes, Address]:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            self._sock.sendto(self._request, self._server)
            with contextlib.suppress(TimeoutError):
                return self._sock.recvfrom(2048)
        raise AssertionError("no answer to the conductor")

    def _ack(self, number: int) -> None:
        self._sock.sendto(numbered(4, number), self._tid)

    def lead(self, last: int) -> None:
        """Move the stream until the block after `last` is all the server waits to be asked for."""
        self._ack(self.acked)
        until = time.monotonic() + 60
        while self.acked < last:
            assert time.monotonic() < until, f"the stream stands at {self.acked}"
            try:
                frame = self._group.recv(2048)
            except TimeoutError:
                self._ack(self.acked)
                continue
            number = int.from_bytes(frame[2:4], "big")
            if number >= self.acked + 4 or number >= last:
                self.acked = min(number, last)
                self._ack(self.acked)

    def hold(self) -> None:
        """From now on only show signs of life: the ACK of where it stands."""
        self._keeper.start()

    def _keep(self) -> None:
        while self._hold:
            self._ack(self.acked)
            with contextlib.suppress(TimeoutError):
                self._group.recv(2048)

    def go_on(self) -> None:
        """Stop holding."""
        self._hold = False
        self._keeper.join(10)

    def leave(self) -> None:
        """Wait for the turn, and say that nothing is missing."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                answer = self._sock.recv(2048)
                if answer[:2] == b"\0\6" and options_of(answer, 0).get("ranges"):
                    self.turn = True
                    break
        assert self.turn, "no turn for the conductor"
        self._ack(self.total)
        self.close()

    def close(self) -> None:
        self._sock.close()
        self._group.close()


class FakeServer:
    """Sends DATA to a group in the order it is given; a block may be a whole datagram instead.

    gap_aware: like ours, it echoes `ranges`, ends with turns and answers repairs. Otherwise like a stock
    RFC 2090 server: after the script, each ACK n is answered with DATA n+1.
    """

    def __init__(self, lab: Lab, data: bytes, script: Sequence[int | bytes], gap_aware: bool) -> None:
        self._data = data
        self._script = script
        self._gap_aware = gap_aware
        self._total = -(-len(data) // BLKSIZE)
        self.repaired: list[int] = []
        self.requests = 0
        self._main = lab.socket(0, PORT)
        self._tid = lab.socket(0)
        self._stranger = lab.socket(0)
        self._master: Address | None = None
        self._played = False
        self._repairs: dict[socket.socket, tuple[Address, list[int], int]] = {}
        self._make_socket = lambda: lab.socket(0)
        self._running = True
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running = False
        self._thread.join(10)
        for sock in (self._main, self._tid, self._stranger, *self._repairs):
            sock.close()

    def _block(self, number: int) -> bytes:
        return numbered(3, number, self._data[(number - 1) * BLKSIZE : number * BLKSIZE])

    def _serve(self) -> None:
        while self._running:
            for sock in (self._main, self._tid, *self._repairs):
                sock.settimeout(POLL_SECONDS / 10)
                with contextlib.suppress(TimeoutError):
                    datagram, source = sock.recvfrom(2048)
                    if sock is self._main:
                        self._on_request(datagram, source)
                    elif sock is self._tid:
                        self._on_ack(datagram, source)
                    else:
                        self._on_repair_ack(sock, datagram)

    def _on_request(self, datagram: bytes, source: Address) -> None:
        self.requests += 1
        options = options_of(datagram, 2)
        words = ["blksize", str(BLKSIZE), "tsize", str(len(self._data))]
        if "multicast" in options:
            words += ["multicast", f"{GROUP[0]},{GROUP[1]},1"]
            if self._gap_aware:
                words += ["ranges", ""]
            self._master = source
            self._played = False
            self._tid.sendto(pack(6, *words), source)
            return
        numbers = list(range(1, self._total + 2))
        if self._gap_aware and options.get("ranges"):
            words += ["ranges", options["ranges"]]
            numbers = []
            for item in options["ranges"].split(","):
                first, _, last = item.partition("-")
                numbers += range(int(first), int(last or first) + 1)
        self.repaired += numbers
        sock = self._make_socket()
        self._repairs[sock] = (source, numbers, 0)
        sock.sendto(pack(6, *words), source)

    def _on_ack(self, datagram: bytes, source: Address) -> None:
        if source != self._master or datagram[:2] != b"\0\4":
            return
        number = int.from_bytes(datagram[2:4], "big")
        if not self._played:
            self._played = True
            self._play()
        elif not self._gap_aware and number <= self._total:
            self._tid.sendto(self._block(number + 1), GROUP)
            return
        if self._gap_aware:
            value = f"{GROUP[0]},{GROUP[1]},1"
            self._tid.sendto(pack(6, "multicast", value, "ranges", f"1-{self._total}"), source)

    def _play(self) -> None:
        for item in self._script:
            datagram = item if isinstance(item, bytes) else self._block(item)
            self._tid.sendto(datagram, GROUP)
            self._stranger.sendto(numbered(3, 1, b"forged!!" * (BLKSIZE // 8)), GROUP)
            time.sleep(FRAME_SECONDS)

    def _on_repair_ack(self, sock: socket.socket, datagram: bytes) -> None:
        """Lock-step over the virtual file; one that ends in a full block is closed by an empty DATA."""
        to, numbers, _sent = self._repairs[sock]
        done = int.from_bytes(datagram[2:4], "big")
        if datagram[:2] != b"\0\4" or done > len(numbers):
            return
        payload = self._block(numbers[done])[4:] if done < len(numbers) else b""
        sock.sendto(numbered(3, done + 1, payload), to)
