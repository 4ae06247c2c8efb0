"""The command `gapcast restore`: a backup into a board's flash."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from gapcast_tools.usb.backup import baud_option
from gapcast_tools.usb.backup_file import Note, load
from gapcast_tools.usb.bar import bar, port_command
from gapcast_tools.usb.esptool import Esptool, Identity, Progress
from gapcast_tools.usb.fault import PortFault

# Compared and written piece by piece: only what differs is written, and what broke off goes on where it was.
PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the flash (esptool.Part)."""

    name: str
    offset: int
    data: bytes


@click.command()
@click.argument("port", metavar="PORT")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--any-board", is_flag=True, help="Also into another board of the same kind than it was read from."
)
@baud_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def restore(ctx: click.Context, port: str, file: Path, any_board: bool, baud: int, as_json: bool) -> None:
    """Write a file of `gapcast backup` into the flash of the board on PORT.

    ALL that is on the board is replaced. What differs is written, and verified by the chip; a restore that
    broke off goes on where it was when it is run again. Another chip or size of flash is refused, and another
    board too unless --any-board is given: with the copy it also gets the first one's id and keys, and both
    would report as one.

    Exit code 1 if the board is refused or cannot be written.
    """
    note, data = load(file)
    with port_command(ctx, as_json):
        with bar(port, quiet=as_json) as progress:
            written = write_board(port, note, data, baud, progress, any_board=any_board)
        if as_json:
            facts = {"ok": True, "port": port, "bytes": len(data), "written_bytes": written}
            click.echo(json.dumps(facts))
        elif written:
            click.echo(f"{port}: {written} of {len(data)} bytes differed; they are written, and verified")
        else:
            click.echo(f"{port}: the flash holds {file} already, nothing to write")


def write_board(
    port: str, note: Note, data: bytes, baud: int, progress: Progress, *, any_board: bool = False
) -> int:
    """Restore a backup; how many bytes had to be written.

    Raises:
        PortFault: It is not for this board, or the board cannot be written.
    """
    tool = Esptool(port, baud=baud, progress=progress)
    identity = tool.identify()
    try:
        check_board(port, note, identity, any_board=any_board)
    except PortFault:
        with suppress(PortFault):
            tool.reset()  # what it ran goes on: nothing has been written
        raise
    pieces = cut(data)
    wanted = [piece for piece, same in zip(pieces, tool.matches(pieces), strict=True) if not same]
    if wanted:
        tool.write(wanted, then_reset=True)
    else:
        tool.reset()
    return sum(len(piece.data) for piece in wanted)


def cut(data: bytes) -> Sequence[Piece]:
    """A whole flash in pieces."""
    starts = range(0, len(data), PIECE_BYTES)
    return [Piece(f"{start:#x}", start, data[start : start + PIECE_BYTES]) for start in starts]


def check_board(port: str, note: Note, identity: Identity, *, any_board: bool) -> None:
    """Raise PortFault unless the backup belongs on this board; nothing has been written yet."""
    if identity.chip != note.chip:
        message = f"the board on {port} is {identity.chip}, the backup is of {note.chip}"
        raise PortFault("wrong_chip", message, "plug the right board in")
    if identity.flash_bytes != note.flash_bytes:
        message = f"the flash on {port} has {identity.flash_bytes} bytes, the backup {note.flash_bytes}"
        raise PortFault("wrong_chip", message, "plug the right board in")
    if identity.mac != note.mac and not any_board:
        message = f"the board on {port} is {identity.mac}, the backup is of {note.mac}"
        raise PortFault("wrong_board", message, "plug that one in, or give --any-board to clone it")
