"""Nothing that the network does may hold the application back: every wait has an end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from boot_world import CHIP, MiniServer, World, files_of, make_container
from test_transfer import fetch, some

from gapcast.image.sample import build_sample
from gapcast_core import receiver, wire

STALL_MS = 1200
LONGEST_S = 10  # far below for ever, far above a busy machine's stall


class Nuisance:
    """A server that answers with one OACK, then says the same thing again and again."""

    def __init__(self, oack: list[tuple[str, str]], say: Callable[[socket.socket, Any], None]) -> None:
        self._oack = wire.pack_oack(oack)
        self._say = say
        self._stop = threading.Event()
        self._main = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._main.bind(("127.0.0.1", 0))
        self._main.settimeout(0.05)
        self._tid = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._tid.bind(("127.0.0.1", 0))
        self._tid.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        self.port = int(self._main.getsockname()[1])

    @contextmanager
    def running(self) -> Iterator[Nuisance]:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join(5)
            self._main.close()
            self._tid.close()

    def _run(self) -> None:
        peer = None
        while not self._stop.is_set():
            try:
                _request, peer = self._main.recvfrom(600)
                self._tid.sendto(self._oack, peer)
            except TimeoutError:
                pass
            if peer:
                self._say(self._tid, peer)


GROUP = ("239.195.77.1", 20177)
MULTICAST = [("blksize", "1024"), ("tsize", "20480"), ("multicast", "239.195.77.1,20177,0"), ("ranges", "")]
UNICAST = [("blksize", "1024"), ("tsize", "20480"), ("windowsize", "8")]
WAIT = wire.pack_oack([("multicast", "239.195.77.1,20177,0")])

NUISANCES = {
    "told to wait for ever": (MULTICAST, lambda tid, peer: tid.sendto(WAIT, peer)),
    "the same block again": (MULTICAST, lambda tid, _peer: tid.sendto(wire.pack_data(1, bytes(1024)), GROUP)),
    "a block beyond the end": (
        MULTICAST,
        lambda tid, _peer: tid.sendto(wire.pack_data(60000, b"junk"), GROUP),
    ),
    "empty datagrams to the group": (MULTICAST, lambda tid, _peer: tid.sendto(b"", GROUP)),
    "an empty datagram, then control": (
        MULTICAST,
        lambda tid, peer: [tid.sendto(datagram, peer) for datagram in (b"", WAIT)],
    ),
    "the wrong block": (UNICAST, lambda tid, peer: tid.sendto(wire.pack_data(9, bytes(1024)), peer)),
    "silence": (UNICAST, lambda _tid, _peer: None),
}


@pytest.mark.parametrize("name", NUISANCES)
def test_a_server_that_only_keeps_us_busy_is_left(world: World, name: str) -> None:
    oack, say = NUISANCES[name]
    started = time.monotonic()
    with Nuisance(oack, say).running() as server, pytest.raises(world.transfer.TransferError):
        fetch(world, server, stall_ms=STALL_MS)  # type: ignore[arg-type]
    assert time.monotonic() - started < LONGEST_S


def test_a_server_that_changes_the_size_again_and_again_is_left(world: World) -> None:
    server = MiniServer({"file": some(20000)})
    sizes = iter(range(10000, 100000, 1024))

    def answer(_request: bytes) -> list[bytes]:
        oack = wire.pack_oack([("blksize", "1024"), ("tsize", str(next(sizes)))])
        return [oack, wire.pack_data(1, bytes(1024))]

    server.first = answer
    with server.running(), pytest.raises(world.transfer.TransferError):
        fetch(world, server, stall_ms=STALL_MS)


@pytest.mark.parametrize("more_bytes", [4096, 100, -4096])
@pytest.mark.parametrize("plain", [False, True])
def test_an_image_of_another_size_than_its_header_says_is_not_taken(
    world: World, plain: bool, more_bytes: int
) -> None:
    """Behind its end nothing has been erased, and nothing could be right. Plain: the last DATA tells."""
    world.program("ota_0", build_sample(8192, "1.0.0", CHIP))
    world.power_on()
    container = make_container()
    files = files_of(container)
    for name, data in files.items():
        if name.startswith("gap/"):
            files[name] = data + bytes(more_bytes) if more_bytes > 0 else data[:more_bytes]
    server = MiniServer(files)
    server.plain = plain
    with server.running():
        told = world.preboot(world.config(server.port, stall_ms=STALL_MS))
    assert told.outcome == "failed"
    assert "wrong_size" in told.detail


def test_a_board_that_hears_no_multicast_repairs_by_unicast(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Access points that isolate clients, snooping switches without a querier: the update still comes."""
    data = some(20480)
    server = MiniServer({"file": data})
    server.first = lambda request: [wire.pack_oack(MULTICAST)] if b"multicast" in request else None
    monkeypatch.setattr(receiver, "FIRST_DATA_MS", 300)
    with server.running():
        assert fetch(world, server, stall_ms=20000)[0] == data
    assert server.requests[-1][1] == "1-20"


def test_a_single_slot_is_never_erased_under_the_running_application(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ESP-IDF names the running slot itself when there is no other."""
    world.program("ota_0", build_sample(8192, "1.0.0", CHIP))
    world.power_on()
    before = world.read("ota_0", 4096)
    monkeypatch.setattr(world.esp32.Partition, "get_next_update", lambda self: self)
    with MiniServer(files_of(make_container())).running() as server:
        told = world.preboot(world.config(server.port))
    assert told.outcome == "refused"
    assert told.detail.startswith("one_slot")
    assert world.read("ota_0", 4096) == before


@pytest.mark.parametrize("wifi", ["missing", "wrong_password"])
def test_why_there_is_no_wifi_is_found_early(
    world: World, monkeypatch: pytest.MonkeyPatch, wifi: str
) -> None:
    """The station of an older MicroPython says why only after it was taken down."""
    monkeypatch.setattr(world.net, "PROBE_MS", 100)
    world.settings["wifi"] = wifi
    started = time.monotonic()
    told = world.preboot(world.config(1, network_timeout_ms=60000))
    assert time.monotonic() - started < LONGEST_S
    assert told.outcome == "failed"
    assert ("access point" if wifi == "missing" else "password") in told.detail
    assert not world.net.network.WLAN(0).active(), "the application may start over"


def test_a_station_that_says_why_is_not_disturbed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `reconnects` is known, status() tells the reason when they are used up."""
    wlan = world.net.network.WLAN
    world.settings["wifi"] = "missing"
    monkeypatch.setattr(world.net, "PROBE_MS", 0)
    monkeypatch.setattr(
        wlan, "config", lambda _self, *asked, **_named: world.net.RECONNECTS if asked else None
    )
    answers = iter([1001, 1001, 1001, 202])
    monkeypatch.setattr(wlan, "status", lambda _self: next(answers))
    told = world.preboot(world.config(1, network_timeout_ms=60000))
    assert "wrong password" in told.detail
    assert list(answers) == []


def test_an_address_that_never_comes_is_waited_for_so_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.net, "PROBE_MS", 50)
    world.settings["wifi"] = "no_dhcp"
    told = world.preboot(world.config(1, network_timeout_ms=300))
    assert "no network within 300 ms" in told.detail


def test_the_first_question_is_asked_for_a_second(world: World) -> None:
    world.program("ota_0", build_sample(8192, "1.0.0", CHIP))
    world.power_on()
    server = MiniServer({})
    server.first = lambda _request: []
    started = time.monotonic()
    with server.running():
        told = world.preboot(world.config(server.port, ask_ms=world.agent.DEFAULTS["ask_ms"]))
        took_s = time.monotonic() - started
    assert told.outcome == "failed"
    assert server.asked == ["image.hdr"] * 4
    assert 0.9 < took_s < 2.5  # 1 s, and a busy machine


def test_a_server_that_goes_in_the_middle_is_left(world: World) -> None:
    """It answers the first repair and then never again: nobody waits for the whole patience."""
    server = MiniServer({"file": some(60000)})
    oack = wire.pack_oack([("blksize", "1024"), ("tsize", "60000")])
    half = [oack, wire.pack_data(1, some(60000)[:1024]), wire.pack_error(0, "shutting down")]
    server.first = lambda _request: half if len(server.requests) == 1 else []
    unanswered = 2
    world.transfer.MAX_UNANSWERED = unanswered
    started = time.monotonic()
    with server.running(), pytest.raises(world.transfer.TransferError, match="no answer"):
        fetch(world, server, stall_ms=600000)
    assert time.monotonic() - started < 3 * LONGEST_S


def test_a_question_that_finds_no_memory_is_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a session the heap may be in pieces: what has come must not be lost for that."""
    data = some(20480)
    straight = world.transfer.ask
    asked = []

    def ask(*arguments: object) -> object:
        asked.append(arguments)
        if len(asked) == 1:
            raise MemoryError("memory allocation failed, allocating 1028 bytes")
        return straight(*arguments)

    monkeypatch.setattr(world.transfer, "ask", ask)
    with MiniServer({"file": data}).running() as server:
        assert fetch(world, server, stall_ms=20000)[0] == data
    assert len(asked) > 1
