"""The command `gapcast ports`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click
from rich.console import Console

from gapcast_tools.usb.ports_list import Port, named_ports, usb_ports
from gapcast_tools.usb.ports_probe import Finding, probe_all
from gapcast_tools.usb.process import Stop

HEADER = ("PORT", "CHIP", "MAC", "MICROPYTHON", "PROVISIONED", "ADAPTER")

NO_REPL = {"no_micropython": "none", "old_micropython": "too old"}


@click.command()
@click.option(
    "--port", "-p", "names", multiple=True, metavar="PORT", help="Ask this port, listed or not; repeatable."
)
@click.option(
    "--probe/--no-probe",
    default=True,
    help="Ask who is there (that interrupts or resets boards), or only list.  [default: probe]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def ports(ctx: click.Context, names: tuple[str, ...], probe: bool, as_json: bool) -> None:
    """List the boards that are plugged in: chip, MAC, MicroPython, provisioned or not.

    Asking INTERRUPTS what runs on a board, which starts again afterwards; one without MicroPython is RESET
    into its loader and out of it again. Only adapters that boards with Espressif chips use are asked (native
    USB, CP210x, CH340, FTDI); since other devices use them too, name ports by --port when such are plugged
    in, or give --no-probe. Of a board's settings only id, board, image and server are shown.

    Exit code 1 if a port given by --port does not answer.
    """
    chosen = named_ports(names) if names else usb_ports()
    asked = [port for port in chosen if probe and (names or port.known)]
    findings = dict(zip(asked, _ask(asked, quiet=as_json), strict=True))
    rows = [findings.get(port) or Finding(port, "not asked") for port in chosen]
    if as_json:
        click.echo(json.dumps({"ports": [row.facts() for row in rows]}))
    elif rows:
        _show(rows)
    else:
        click.echo("no USB serial port: plug a board in, with a cable that carries data")
    if names and not all(row.ok for row in rows):
        ctx.exit(1)


def _ask(asked: Sequence[Port], quiet: bool) -> list[Finding]:
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return probe_all(asked, Stop())
    with console.status(f"asking {len(asked)} port{'s'[: len(asked) != 1]} ..."):
        return probe_all(asked, Stop())


def _show(rows: Sequence[Finding]) -> None:
    """A table for people, and below it what is wrong and what to do."""
    lines = [HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
    for row in rows:
        if row.detail:
            where = "" if row.port.device in row.detail else f"{row.port.device}: "
            click.echo(where + row.detail + (f" ({row.hint})" if row.hint else ""))


def _cells(row: Finding) -> tuple[str, ...]:
    adapter = " ".join(part for part in (row.port.usb, row.port.description) if part) or "-"
    if not row.chip and not row.mac:
        return row.port.device, row.state, "-", "-", "-", adapter
    version = row.micropython or NO_REPL.get(row.repl, "no answer")
    return row.port.device, row.chip or "?", row.mac or "?", version, _provisioned(row), adapter


def _provisioned(row: Finding) -> str:
    if not row.micropython:
        return "?"
    if row.settings is None:
        return "?" if row.detail else "no"
    known = {name: str(value) for name, value in row.settings.items() if value not in (None, "")}
    place = known.get("server", "?") + (f":{known['port']}" if known.get("port", "69") != "69" else "")
    return f"{known.get('id', row.mac)}: {known.get('image', '?')} from {place}"
