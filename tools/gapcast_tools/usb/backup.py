"""The command `gapcast backup`: a board's whole flash into a file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from gapcast.errors import OperatorError
from gapcast_tools.usb.backup_file import Note, check_new, keep, note_path, temporary
from gapcast_tools.usb.bar import bar, port_command
from gapcast_tools.usb.esptool import DEFAULT_BAUD, Esptool, Progress

baud_option = click.option(
    "--baud",
    type=click.IntRange(9600, 4_000_000),
    default=DEFAULT_BAUD,
    show_default=True,
    help="Bits per second.",
)


@click.command()
@click.argument("port", metavar="PORT")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The file to make; FILE.json beside it says of which board it is.",
)
@baud_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def backup(ctx: click.Context, port: str, output: Path, baud: int, as_json: bool) -> None:
    """Read the whole flash of the board on PORT into a file.

    The file holds all that the board knows, its Wi-Fi password and keys included: it is readable by you
    only; keep it like a password. Nothing is overwritten, and nothing is left behind when reading fails. The
    board is reset for it, and starts again afterwards.

    Exit code 1 if the board cannot be read.
    """
    check_new(output)
    with port_command(ctx, as_json):
        with bar(port, quiet=as_json) as progress:
            note = read_board(port, output, baud, progress)
        if as_json:
            click.echo(json.dumps({"ok": True, "file": str(output), **dataclasses.asdict(note)}))
            return
        click.echo(f"{output}: the whole flash of {note.chip} {note.mac}, {note.flash_bytes} bytes")
        click.echo(f"It holds the board's secrets. `gapcast restore {port} {output}` writes it back.")
        click.echo(f"Keep {note_path(output).name} beside it.")


def read_board(port: str, output: Path, baud: int, progress: Progress) -> Note:
    """Make a backup.

    Raises:
        PortFault: The board cannot be read.
        OperatorError: The file cannot be written.
    """
    tool = Esptool(port, baud=baud, progress=progress)
    identity = tool.identify()
    with temporary(output) as path:
        try:
            tool.read(0, identity.flash_bytes, path, then_reset=True)
        except OSError as error:
            raise OperatorError(f"cannot write {output}: {error.strerror}") from error
        return keep(path, output, identity)
