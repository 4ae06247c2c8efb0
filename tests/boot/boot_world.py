"""A simulated board in this very process, and a small TFTP server that can be told to misbehave."""

from __future__ import annotations

import asyncio
import gc
import importlib
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from udp_server import Peer, UdpServer

from gapcast.image.boards import chip_of_board
from gapcast.image.build import Container, build_container
from gapcast.image.sample import build_sample
from gapcast_core import options as opt
from gapcast_core import wire
from gapcast_core.errors import PeerError

ROOT = Path(__file__).parents[2]
SIM = ROOT / "boards" / "SIM"
BOARD_MODULES = ("esp32", "machine", "network", "sim_", "gapcast_boot")
SIM_MODULES = ("esp32", "sim_ota", "sim_flash", "sim_power", "sim_nvs", "sim_timer", "machine", "sim_app")
# in the order of their imports; the last ones are loaded when they are needed
BOOT_MODULES = ("agent", "flash", "transfer", "net", "port", "config", "journal", "trial", "news", "health")
BOOT_MODULES += ("judge", "refusal", "updating", "salvage", "reporting")
BOOT_MODULES += ("watching", "watching_hearing", "watching_question", "watching_resets")
SECTOR = 4096
CHIP = chip_of_board("SIM")


def make_container(size: int = 20000, version: str = "2.0.0", board: str = "SIM", seed: int = 1) -> Container:
    """A container with a sample application."""
    return build_container(build_sample(size, version, CHIP, seed), "image", board, CHIP)


class World:
    """The modules of one board, and what its client told."""

    def __init__(self, folder: Path, modules: dict[str, ModuleType]) -> None:
        self.folder = folder
        self.esp32: Any = modules["esp32"]
        self.ota: Any = modules["sim_ota"]
        self.flash_file: Any = modules["sim_flash"]
        self.settings: dict[str, Any] = modules["sim_world"].settings  # type: ignore[attr-defined]
        self.flash: Any = modules["gapcast_boot.flash"]
        self.agent: Any = modules["gapcast_boot.agent"]
        self.journal: Any = modules["gapcast_boot.journal"]
        self.trial: Any = modules["gapcast_boot.trial"]
        self.health: Any = modules["gapcast_boot.health"]
        self.updating: Any = modules["gapcast_boot.updating"]
        self.watching: Any = modules["gapcast_boot.watching"]
        self.power: Any = modules["sim_power"]
        self.timer: Any = modules["sim_timer"]
        self.transfer: Any = modules["gapcast_boot.transfer"]
        self.net: Any = modules["gapcast_boot.net"]
        self.port: Any = modules["gapcast_boot.port"]
        self.modules = modules

    def nor(self, label: str) -> Any:
        return self.esp32._open(label)

    def read(self, label: str, size: int) -> bytes:
        data = bytearray(size)
        self.nor(label).read(0, data)
        return bytes(data)

    def program(self, label: str, data: bytes) -> None:
        """Bytes into a blank slot, as a factory would."""
        self.nor(label).program(0, data)

    def power_on(self) -> int:
        return int(self.esp32.sim_power_on())

    def config(self, port: int, **more: Any) -> dict[str, Any]:
        return {
            **self.agent.DEFAULTS,
            "server": "127.0.0.1",
            "port": port,
            "image": "image",
            "board": "SIM",
            "wifi_ssid": "x",
            "allow_unsigned": True,
            "ask_ms": 4000,  # a busy machine may take its time to answer
            "stall_ms": 1500,
            **more,
        }

    def preboot(self, config: dict[str, Any]) -> Recording:
        """One pre-boot; `reset` of the recording tells whether it reset the board."""
        progress = Recording()
        try:
            self.agent.run(progress, config)
        except SystemExit as exc:
            progress.reset = exc.code == 3
        return progress


class Recording:
    """A Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.outcome = ""
        self.detail = ""
        self.reset = False
        self.notes: list[str] = []
        self.bad: list[int] = []
        self.calls: list[str] = []
        self.phases: list[str] = []

    def result(self, outcome: str, detail: str) -> None:
        self.outcome = outcome
        self.detail = detail

    def note(self, text: str) -> None:
        self.notes.append(text)

    def bad_chunks(self, count: int) -> None:
        self.bad.append(count)

    def phase(self, name: str, _gaps: object) -> None:
        self.phases.append(name)

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *_arguments: self.calls.append(name)


def open_world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Import a board's modules with its socket and select in place of the host's."""
    forget = [name for name in sys.modules if name.startswith(BOARD_MODULES)]
    for name in forget:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(SIM))
    names = {
        "ticks_ms": lambda: time.monotonic_ns() // 1000000,
        "ticks_us": lambda: time.monotonic_ns() // 1000,
        "ticks_diff": lambda new, old: new - old,
        "sleep_ms": lambda duration_ms: time.sleep(duration_ms / 1000),
        "sleep_us": lambda duration_us: time.sleep(duration_us / 1000000),
    }
    for name, function in names.items():
        monkeypatch.setattr(time, name, function, raising=False)
    monkeypatch.setattr(asyncio, "sleep_ms", lambda ms: asyncio.sleep(ms / 1000), raising=False)
    monkeypatch.setattr(gc, "mem_alloc", lambda: 0, raising=False)
    # A whole test run is in this heap: collecting it at each phase of each boot is what would take the time.
    monkeypatch.setattr(gc, "collect", lambda: 0)
    modules = {name: importlib.import_module(name) for name in ("sim_world", "sim_select", "sim_socket")}
    sim_world: Any = modules["sim_world"]
    sim_world.folder = str(folder)
    sim_world.settings.update(sim_world.DEFAULTS, slot_bytes=0x40000)
    with monkeypatch.context() as swapped:
        swapped.setitem(sys.modules, "socket", modules["sim_socket"])
        swapped.setitem(sys.modules, "select", modules["sim_select"])
        for name in SIM_MODULES:
            modules[name] = importlib.import_module(name)
        for name in BOOT_MODULES:
            modules[f"gapcast_boot.{name}"] = importlib.import_module(f"gapcast_boot.{name}")
    world = World(folder, modules)
    yield world
    for nor in world.esp32._nor.values():
        nor._file.close()
    for name in [name for name in sys.modules if name.startswith(BOARD_MODULES)]:
        del sys.modules[name]


Damage = Callable[[str, int, bytes], bytes]


class MiniServer(UdpServer):
    """Unicast TFTP with blksize, tsize, windowsize and ranges, one thread a transfer.

    files: what is served by which name. damage: (name, real block, payload) -> payload as it is sent.
    first: called with a request; its datagrams are sent instead of the regular answer.
    """

    def __init__(self, files: dict[str, bytes], damage: Damage | None = None) -> None:
        super().__init__()
        self.files = files
        self.damage = damage or (lambda _name, _block, payload: payload)
        self.first: Callable[[bytes], list[bytes] | None] = lambda _request: None
        self.requests: list[tuple[str, str | None]] = []
        self.knows_ranges = True
        self.plain = False  # as before RFC 2347: DATA 1 of 512 bytes answers the request
        self.repeat_s = 0.3  # shorter than 100 ms and an ESP32's readinto never returns from a short datagram

    @property
    def asked(self) -> list[str]:
        return [name for name, _ranges in self.requests]

    def _answer(self, request: bytes, peer: Peer) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(0.05)
            _op, name, _mode, options = wire.parse_request(request)
            self.requests.append((name, wire.option(options, opt.RANGES)))
            answer = self.first(request)
            if answer is not None:
                for datagram in answer:
                    sock.sendto(datagram, peer)
                return
            if name not in self.files:
                sock.sendto(wire.pack_error(wire.ERR_NOT_FOUND, "no such file"), peer)
                return
            self._send(sock, peer, name, dict(options))

    def _send(self, sock: socket.socket, peer: Peer, name: str, options: dict[str, str]) -> None:
        data = self.files[name]
        if self.plain:
            options = {}
        blksize = int(options.get(opt.BLKSIZE, "512"))
        window = int(options.get(opt.WINDOWSIZE, "1"))
        taken = [(opt.BLKSIZE, str(blksize)), (opt.TSIZE, str(len(data))), (opt.WINDOWSIZE, str(window))]
        taken = [pair for pair in taken if pair[0] in options]
        blocks = list(range(1, len(data) // blksize + 2))
        if self.knows_ranges and options.get(opt.RANGES):
            taken.append((opt.RANGES, options[opt.RANGES]))
            pairs = opt.parse_ranges(options[opt.RANGES], len(blocks))
            blocks = [block for first, length in pairs for block in range(first, first + length)]
        payloads = [
            self.damage(name, block, data[(block - 1) * blksize : block * blksize]) for block in blocks
        ]
        if len(payloads[-1]) == blksize:
            payloads.append(b"")
        first = wire.pack_data(1, payloads[0]) if self.plain else wire.pack_oack(taken)
        self._window(sock, peer, first, payloads, window)

    def _window(
        self, sock: socket.socket, peer: Peer, oack: bytes, payloads: list[bytes], window: int
    ) -> None:
        sock.settimeout(self.repeat_s)
        sock.sendto(oack, peer)
        deadline = time.monotonic() + 5
        base = -1
        while base < len(payloads) and not self._stop.is_set() and time.monotonic() < deadline:
            try:
                datagram = sock.recv(600)
                base = wire.parse_ack(datagram)
            except TimeoutError:
                if base < 0:
                    sock.sendto(oack, peer)
            except (PeerError, ConnectionError):
                return
            for block in range(base + 1, min(base + window, len(payloads)) + 1):
                if block:
                    sock.sendto(wire.pack_data(block, payloads[block - 1]), peer)


def files_of(container: Container) -> dict[str, bytes]:
    """What a Gapcast server has for one container."""
    data = bytes(container.data)
    return {
        "image.hdr": data[:1024],
        "image.gap": data,
        f"gap/{container.content_id}": data,
    }
