"""A bench for `gapcast provision`: simulated chips on ports, a firmware file, a key, a server on loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapcast.fleet.store import Fleet
from gapcast.image.boards import CHIPS
from gapcast.image.build import build_container
from gapcast.image.keys import load_private, make_key, public_path
from gapcast.image.sample import build_sample
from gapcast_sim.chip.chip import NO_FAULTS, SimChip, mac_of
from gapcast_sim.chip.faults import Faults
from gapcast_sim.chip.program import MicroPythonProgram
from gapcast_tools.boards.definition import load_board
from gapcast_tools.boards.firmware import build_merged
from gapcast_tools.boards.table import Table, parse_csv

BOARD = "ESP32_GENERIC"
PASSWORD = "correct-horse-7"
LIMIT_S = 100  # for one command
# MicroPython's own table with two slots: the file system begins elsewhere than in ours.
UPSTREAM_OTA = """
nvs,      data, nvs,   0x9000,   0x4000,
otadata,  data, ota,   0xd000,   0x2000,
phy_init, data, phy,   0xf000,   0x1000,
ota_0,    app,  ota_0, 0x10000,  0x180000,
ota_1,    app,  ota_1, 0x190000, 0x180000,
"""
ONE_SLOT = """
nvs,      data, nvs,     0x9000,  0x6000,
phy_init, data, phy,     0xf000,  0x1000,
factory,  app,  factory, 0x10000, 0x1F0000,
"""


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str
    elapsed_s: float

    @property
    def boards(self) -> list[dict[str, Any]]:
        """Of --json."""
        found: list[dict[str, Any]] = json.loads(self.out)["boards"]
        return found

    @property
    def board(self) -> dict[str, Any]:
        """The only one."""
        (found,) = self.boards
        return found


class Bench:
    """In `folder`: chips, fw.bin, a key, the Wi-Fi password, the server's state and its images."""

    def __init__(self, folder: Path, app_bytes: int = 70_000) -> None:
        self.folder = folder
        self.state = folder / "fleet.db"
        self.firmware = folder / "fw.bin"
        self.write_firmware(self.firmware, app_bytes)
        self.key = folder / "lab.pem"
        make_key(self.key)
        (folder / "password").write_text(PASSWORD + "\n")
        self.root = folder / "images"
        self.root.mkdir()

    def write_firmware(self, path: Path, app_bytes: int, table: Table | None = None) -> None:
        """A merged firmware file of version 1.0.0."""
        board = load_board(BOARD)
        app = build_sample(app_bytes, "1.0.0", CHIPS["esp32"])
        path.write_bytes(build_merged("esp32", table or board.table(4 << 20), app))

    def chip(self, name: str, *, pacing: bool = False, faults: Faults = NO_FAULTS, **options: Any) -> SimChip:
        """A bare chip, or the one that was there under that name. To be entered."""
        folder = self.folder / name
        kind = options.pop("chip", "esp32")
        mac = mac_of(None, folder)
        program = MicroPythonProgram(folder, kind, mac)
        return SimChip(folder, kind, mac=mac, program=program, pacing=pacing, faults=faults, **options)

    def command(
        self, *ports: Path, firmware: Path | None = None, board: str = BOARD, port: int = 69
    ) -> list[str]:
        """The words of `gapcast provision` for these ports."""
        words = [word for path in ports for word in ("--port", str(path))]
        words += ["--board", board, "--server", f"127.0.0.1:{port}", "--key", str(public_path(self.key))]
        words += ["--wifi", "lab", "--wifi-password-file", str(self.folder / "password")]
        words += ["--firmware", str(firmware or self.firmware), "--state", str(self.state)]
        return ["provision", *words]

    def run(self, *words: str) -> Done:
        """`gapcast ...` as a process of its own."""
        start_s = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "gapcast", *words],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - start_s)

    def provision(self, *ports: Path, **options: Any) -> Done:
        """`gapcast provision --json` for these ports."""
        return self.run(*self.command(*ports, **options), "--json")

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "XDG_STATE_HOME": str(self.folder)}

    def offer(self, version: str, counter: int, app_bytes: int = 66_000) -> None:
        """A signed image for the boards, by the name that they ask for."""
        app = build_sample(app_bytes, version, CHIPS["esp32"], seed=counter)
        image = build_container(
            app, BOARD, BOARD, CHIPS["esp32"], counter=counter, key=load_private(self.key)
        )
        (self.root / f"{BOARD}.gap").write_bytes(image.data)

    def wait_for_state(self, board_id: str, state: str, version: str) -> None:
        """Until a board has reported that."""

        def told() -> bool:
            with Fleet(self.state) as fleet:
                last = fleet.board(board_id).last
            return last is not None and (last.state, last.version) == (state, version)

        wait_until(told, f"{board_id} {state} {version}")


def wait_until(is_so: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Raises AssertionError when it has not come true in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)


@contextmanager
def serving(bench: Bench, port: int) -> Iterator[None]:
    """`gapcast serve` of the bench's images."""
    log = bench.folder / "serve.log"
    place = ("--listen", "127.0.0.1", "--port", str(port), "--state", str(bench.state))
    command = [sys.executable, "-m", "gapcast", "serve", str(bench.root), *place, "--json"]
    with log.open("wb") as out, subprocess.Popen(command, env=bench.environment(), stdout=out) as process:
        try:
            wait_until(lambda: b"listening" in log.read_bytes(), "a server that listens")
            yield
        finally:
            process.terminate()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def plugged(*chips: SimChip) -> Iterator[tuple[Path, ...]]:
    """The ports of chips while they are plugged in."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(chip).port for chip in chips)


def table(text: str) -> Table:
    return parse_csv(text)
