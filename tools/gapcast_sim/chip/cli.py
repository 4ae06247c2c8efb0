"""The command `gapcast chip`."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import cast

import click

from gapcast.errors import OperatorError
from gapcast.image.files import parse_size
from gapcast_sim.chip.chip import FLASH_NAME, SimChip, mac_of
from gapcast_sim.chip.flash import NO_TIME, TYPICAL
from gapcast_sim.chip.profiles import PROFILES
from gapcast_sim.chip.program_api import Program
from gapcast_sim.process import ends_on_sigterm

DEFAULT_FLASH = "4M"
DEFAULT_IP = "127.0.0.1"


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--chip", "kind", type=click.Choice(list(PROFILES)), default="esp32", show_default=True)
@click.option("--flash-size", help=f"Of a new chip.  [default: {DEFAULT_FLASH}]")
@click.option("--mac", help="Of the chip.  [default: made from DIR]")
@click.option(
    "--link",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Name of its port.  [default: DIR/port]",
)
@click.option(
    "--ip", default=DEFAULT_IP, show_default=True, help="In its Wi-Fi: an address of this machine, its own."
)
@click.option(
    "--baud-pacing/--no-baud-pacing",
    default=True,
    show_default=True,
    help="Bytes take as long as on a real line.",
)
@click.option("--flash-timing", is_flag=True, help="Flash as slow as a W25Q's datasheet says.")
@click.option("--bare", is_flag=True, help="Nothing runs on it, whatever is in its flash.")
@click.option("--json", "as_json", is_flag=True, help="Print the port and what is at it as one JSON object.")
def chip(
    folder: Path,
    kind: str,
    flash_size: str | None,
    mac: str | None,
    link: Path | None,
    ip: str,
    *,
    baud_pacing: bool,
    flash_timing: bool,
    bare: bool,
    as_json: bool,
) -> None:
    """Simulate a board on a serial port, for esptool and mpremote, until Ctrl-C.

    What they write is in DIR/flash.bin, and is there again the next time. MicroPython that was written there
    runs, if this machine has one that can stand for it.
    """
    flash_bytes = _flash_bytes(folder / FLASH_NAME, flash_size)
    mac = mac_of(mac, folder)
    program = None if bare else find_program(folder, kind, mac, ip)
    timing = TYPICAL if flash_timing else NO_TIME
    with (
        ends_on_sigterm(),
        SimChip(
            folder,
            kind,
            mac=mac,
            flash_bytes=flash_bytes,
            program=program,
            pacing=baud_pacing,
            timing=timing,
            link=link,
        ) as board,
    ):
        about = {"port": str(board.port), "chip": kind, "mac": mac, "flash_bytes": flash_bytes}
        click.echo(json.dumps(about) if as_json else about["port"])
        board.wait()


def _flash_bytes(path: Path, typed: str | None) -> int:
    """As typed, else what the file has, else the default. Raises OperatorError."""
    if typed is None and path.is_file():
        return path.stat().st_size
    return parse_size(typed or DEFAULT_FLASH)


def find_program(folder: Path, kind: str, mac: str, ip: str = DEFAULT_IP) -> Program | None:
    """MicroPython for a chip in `folder`; None, with a word about it, if there is none on this machine.

    mac: 12 hex digits. ip: what it has in the simulated Wi-Fi, an address of this machine.
    """
    try:
        module = importlib.import_module("gapcast_sim.chip.program")
        return cast(Program, module.MicroPythonProgram(folder, kind, mac, ip))
    except ModuleNotFoundError as error:
        reason = str(error)
    except OperatorError as error:
        reason = error.message
    click.echo(f"no firmware will run on this chip: {reason}", err=True)
    return None
