"""The command `gapcast image`: sample, build, inspect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gapcast.errors import OperatorError
from gapcast.image.boards import CHIPS, chip_of_board
from gapcast.image.build import MAX_CONTAINER_BYTES, build_container
from gapcast.image.files import parse_size, read_bounded, write_atomically
from gapcast.image.inspect import report
from gapcast.image.sample import build_sample
from gapcast_core.container import MAX_PAYLOAD_BYTES

EXIT_DAMAGED = 1
MAX_SOURCE_BYTES = 1 << 20

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_board = click.option("--board", default="SIM", show_default=True, help="The board that it is for.")
_chip = click.option(
    "--chip", type=click.Choice(list(CHIPS)), help="The chip of a board that is not in the table."
)
_output = click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write.",
)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def image() -> None:
    """Build and inspect firmware images."""


@image.command()
@click.option("--size", required=True, help="Bytes of the file: 65536, 64k, 2M.")
@click.option("--version", required=True, help="The version that the application reports.")
@click.option("--seed", default=0, show_default=True, help="Another seed gives another payload.")
@click.option("--app", type=_FILE, help="A main.py to put inside; the default one reports the version.")
@_output
@_board
@_chip
@_json
def sample(
    size: str,
    version: str,
    seed: int,
    app: Path | None,
    output: Path,
    board: str,
    chip: str | None,
    as_json: bool,
) -> None:
    """Make sample firmware: a valid application image with a program for simulated boards inside."""
    source = None
    if app is not None:
        try:
            source = read_bounded(app, MAX_SOURCE_BYTES).decode()
        except UnicodeDecodeError as error:
            raise OperatorError(f"{app} is not UTF-8", "save it as UTF-8") from error
    data = build_sample(parse_size(size), version, chip_of_board(board, chip), seed, source)
    write_atomically(output, [data])
    facts = {"file": str(output), "bytes": len(data), "version": version, "board": board, "seed": seed}
    _show(facts, f"{output}: {len(data)} bytes, version {version}, for {board}", as_json)


@image.command()
@click.argument("firmware", type=_FILE)
@click.option("--name", help="What people call it.  [default: the output's name]")
@click.option("--version", help="The version.  [default: the image's own]")
@click.option("--counter", default=0, show_default=True, help="Boards refuse a lower counter than they run.")
@_output
@_board
@_chip
@_json
def build(
    firmware: Path,
    name: str | None,
    version: str | None,
    counter: int,
    output: Path,
    board: str,
    chip: str | None,
    as_json: bool,
) -> None:
    """Pack an application image FIRMWARE (.app-bin) into a container that boards can check."""
    data = read_bounded(firmware, MAX_PAYLOAD_BYTES)
    container = build_container(
        data, name or output.stem, board, chip_of_board(board, chip), version, counter
    )
    write_atomically(output, [container.data])
    header = container.header
    facts = {
        "file": str(output),
        "bytes": len(container.data),
        "content_id": container.content_id,
        "name": header.name,
        "version": header.version,
        "board": header.board,
        "counter": header.counter,
        "chunks": header.chunks,
    }
    line = (
        f"{output}: {header.name} {header.version} for {header.board}, {header.image_bytes} bytes of firmware"
    )
    _show(facts, f"{line}, content id {container.content_id}", as_json)


@image.command()
@click.argument("file", type=_FILE)
@_json
@click.pass_context
def inspect(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Show and check FILE, a container or an application image; exit code 1 when it is damaged."""
    facts = report(read_bounded(file, MAX_CONTAINER_BYTES))
    lines = [f"{key.replace('_', ' '):<20} {value}" for key, value in facts.items() if key != "verdict"]
    _show({"file": str(file), **facts}, "\n".join([*lines, f"{file}: {facts['verdict']}"]), as_json)
    if not facts["intact"]:
        ctx.exit(EXIT_DAMAGED)


def _show(facts: dict[str, Any], text: str, as_json: bool) -> None:
    click.echo(json.dumps(facts) if as_json else text)
