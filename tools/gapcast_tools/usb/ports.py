"""The command `gapcast ports`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gapcast_tools.usb.ports_list import Port, named_ports, usb_ports
from gapcast_tools.usb.ports_probe import Finding, probe_all
from gapcast_tools.usb.process import Stop


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
    rows = [findings.get(port) or Finding(port, "unasked") for port in chosen]
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
    table = Table()
    for name in ("port", "adapter", "chip", "MAC", "MicroPython", "provisioned"):
        table.add_column(name, no_wrap=name in ("port", "chip", "MAC"))
    for row in rows:
        table.add_row(*(Text(cell) for cell in _cells(row)), style=None if row.ok else "yellow")
    console = Console()
    console.print(table)
    for row in rows:
        if row.detail:
            hint = f" ({row.hint})" if row.hint else ""
            click.echo(f"{row.port.device}: {row.detail}{hint}")


def _cells(row: Finding) -> tuple[str, ...]:
    adapter = " ".join(part for part in (row.port.usb, row.port.description) if part) or "-"
    if row.state == "unasked":
        return row.port.device, adapter, "not asked", "", "", ""
    if not row.ok:
        return row.port.device, adapter, row.state, "", "", ""
    version = row.micropython or "none"
    return row.port.device, adapter, row.chip or "?", row.mac or "?", version, _provisioned(row)


def _provisioned(row: Finding) -> str:
    if row.settings is None:
        return "no"
    known = {name: str(value) for name, value in row.settings.items() if value not in (None, "")}
    place = known.get("server", "?") + (f":{known['port']}" if known.get("port", "69") != "69" else "")
    name = known.get("id", row.mac)
    return f"{name}: {known.get('image', '?')} from {place}"
