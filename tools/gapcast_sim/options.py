"""Options that `gapcast board` and `gapcast sim` share, and the checks of what was typed."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from gapcast.errors import OperatorError
from gapcast.image.files import parse_size
from gapcast.image.keys import board_key_text, load_public
from gapcast_sim.runtime import CODE_IN_HEAP, CODE_IN_ROM, Runtime, find_runtime

STOCK_RX_QUEUE = 6  # ESP-IDF's CONFIG_LWIP_UDP_RECVMBOX_SIZE
MAX_RX_QUEUE = 64  # what ESP-IDF can be built with
HOST_RX_QUEUE = 0  # as many as this PC takes (boards/SIM/sim_socket.py)
RX_QUEUE_HELP = "Datagrams a board's socket queues, 1 to 64.  [default: 6 with --flash-timing, else the PC's]"
HEAP_HELP = (
    f"MicroPython's heap on a board.  [default: {CODE_IN_ROM.default // 1024}k, "
    f"or {CODE_IN_HEAP.default // 1024}k with --unfrozen; twice as much in a 64-bit MicroPython]"
)
UNFROZEN_HELP = "The client's code is loaded into the heap, as from a file system, and not frozen into flash."
DAY_S = 86400
MAX_POWER_CUTS = 100
TRUST_HELP = (
    "Public key (PEM) whose signatures the boards take; may be repeated. "
    "Without one they take unsigned images, and the results say so."
)

Command = Callable[..., object]


def _trial_options() -> tuple[Callable[[Command], Command], ...]:
    """Whom boards trust, and what new firmware has to stand."""
    return (
        click.option(
            "--trust",
            multiple=True,
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="PUB",
            help=TRUST_HELP,
        ),
        click.option(
            "--health-ms",
            type=click.IntRange(100, DAY_S * 1000),
            help="Time that a new application has to prove itself.  [default: the boards', 60000]",
        ),
        click.option(
            "--power-cuts",
            type=click.IntRange(0, MAX_POWER_CUTS),
            default=0,
            show_default=True,
            help="How often a board loses its power, at random flash operations.",
        ),
    )


BURST_HELP = "Multicast datagrams lost in a row on average; 1: each by itself."
MAX_BURST = 1000


def board_options(loss: float) -> Callable[[Command], Command]:
    """A decorator: the options of BoardOptions, with this default loss."""
    options: tuple[Callable[[Command], Command], ...] = (
        click.option(
            "--loss", default=loss, show_default=True, help="Multicast loss of a board's radio, 0 to 0.95."
        ),
        click.option("--burst", default=1, show_default=True, help=BURST_HELP),
        click.option(
            "--seed", default=1, show_default=True, help="Seed of that loss (and of a sample image)."
        ),
        click.option("--heap", help=HEAP_HELP),
        click.option("--unfrozen", is_flag=True, help=UNFROZEN_HELP),
        click.option("--rx-queue", type=int, help=RX_QUEUE_HELP),
        click.option("--flash-timing", is_flag=True, help="Flash as slow as a W25Q's datasheet says."),
        click.option(
            "--limit",
            "limit_s",
            default=300.0,
            show_default=True,
            help="Seconds until a board is switched off.",
        ),
        *_trial_options(),
        click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the results here."),
    )

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@dataclass(frozen=True, kw_only=True)
class BoardOptions:
    """What was typed, checked. Raises OperatorError for what cannot be."""

    loss: float
    burst: int
    seed: int
    heap: str | None
    unfrozen: bool
    rx_queue: int | None
    flash_timing: bool
    limit_s: float
    trust: tuple[Path, ...]
    health_ms: int | None
    power_cuts: int
    json_file: Path | None

    def __post_init__(self) -> None:
        if not 0 <= self.loss <= 0.95:
            hint = "--loss takes 0 to 0.95, such as 0.1 for 10 %"
            raise OperatorError(f"a loss of {self.loss:g} is not possible", hint)
        if not 1 <= self.burst <= MAX_BURST or (self.loss > self.burst * (1 - self.loss) and self.burst > 1):
            hint = f"--burst takes 1 to {MAX_BURST}, and at least loss / (1 - loss)"
            raise OperatorError(f"bursts of {self.burst} at a loss of {self.loss:g} are not possible", hint)
        if self.rx_queue is not None and not 1 <= self.rx_queue <= MAX_RX_QUEUE:
            hint = f"--rx-queue takes 1 to {MAX_RX_QUEUE}"
            raise OperatorError(f"a queue of {self.rx_queue} is not possible", hint)
        if not 0 < self.limit_s <= DAY_S:
            hint = f"--limit takes seconds, up to {DAY_S}"
            raise OperatorError(f"a limit of {self.limit_s:g} s is not possible", hint)
        self._check_heap((CODE_IN_HEAP if self.unfrozen else CODE_IN_ROM).least)

    @property
    def heap_bytes(self) -> int | None:
        """From "112k"; None is the runtime's default."""
        return None if self.heap is None else parse_size(self.heap)

    def _check_heap(self, least: int, where: str = "") -> None:
        if self.heap_bytes is not None and self.heap_bytes < least:
            hint = f"--heap takes {least // 1024}k or more"
            raise OperatorError(f"a heap of {self.heap} is too small{where}", hint)

    def runtime(self, say: Callable[[str], None], *, micropython: bool = True) -> Runtime:
        """What the boards run in. Raises OperatorError when --heap is too small for it."""
        runtime = find_runtime(say, micropython=micropython, unfrozen=self.unfrozen)
        self._check_heap(runtime.heaps.least, f" for {runtime.name}")
        return runtime

    def trusted_keys(self) -> tuple[str, ...]:
        """The keys of --trust as boards have them. Raises OperatorError."""
        return tuple(board_key_text(load_public(path)) for path in self.trust)

    @property
    def queue(self) -> int:
        """The queue of a board's sockets.

        Six is a stock ESP32's. Without flash timing nothing on a simulated board ever stalls, so a short
        queue would only measure how busy this PC is: the default is then all that the PC takes.
        """
        if self.rx_queue is None:
            return STOCK_RX_QUEUE if self.flash_timing else HOST_RX_QUEUE
        return self.rx_queue


def check_moment(at_s: float) -> float:
    """The moment of --at, if waiting for it makes sense; 0 is at once.

    Raises:
        OperatorError: It is more than a day away, either way: milliseconds, or no date at all.
    """
    if at_s and not abs(at_s - time.time()) <= DAY_S:
        hint = f"seconds since 1970, within a day of now, which is {math.floor(time.time())}"
        raise OperatorError(f"--at {at_s:.15g} is not a moment to wait for", hint)
    return at_s


def check_output(option: str, path: Path) -> None:
    """Make the folder of a result and see that it can be written, before the work that it is about.

    Raises:
        OperatorError: It cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise OperatorError(f"{option} {path} is a folder", "name a file")
        is_new = not os.path.lexists(path)
        if is_new or path.is_file():  # else a device or a pipe, which opening could change
            with path.open("ab"):
                pass
            if is_new:
                path.unlink()
    except OSError as error:
        raise OperatorError(f"{option} {path} cannot be written: {error.strerror}") from error


def write_output(option: str, path: Path, text: str) -> None:
    """Write a result, and its folder if it is gone. Raises OperatorError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OperatorError(f"{option} {path} cannot be written: {error.strerror}") from error
