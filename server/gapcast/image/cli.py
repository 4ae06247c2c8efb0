"""The command `gapcast image`: sample, build, sign, verify, inspect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from gapcast.errors import OperatorError
from gapcast.image.boards import CHIPS, chip_of_board
from gapcast.image.build import (
    MAX_CONTAINER_BYTES,
    Container,
    build_container,
    read_container,
    sign_container,
)
from gapcast.image.files import parse_size, read_bounded, write_atomically
from gapcast.image.inspect import report
from gapcast.image.keys import board_key, load_private, load_public, open_to_others
from gapcast.image.sample import build_sample
from gapcast.image.sample_apps import APPS
from gapcast.image.verify import verify as verify_container
from gapcast_core.container import FLAG_RETRY, MAX_PAYLOAD_BYTES

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
    """Build, sign, verify and inspect firmware images."""


@image.command()
@click.option("--size", required=True, help="Bytes of the file: 65536, 64k, 2M.")
@click.option("--version", required=True, help="The version that the application reports.")
@click.option("--seed", default=0, show_default=True, help="Another seed gives another payload.")
@click.option(
    "--app",
    default="ok",
    show_default=True,
    metavar=f"{'|'.join(APPS)}|FILE",
    help="What the application does, or a main.py to put inside.",
)
@click.option(
    "--merged", is_flag=True, help="With boot loader and partition table, for a bare (simulated) board."
)
@_output
@_board
@_chip
@_json
def sample(
    size: str,
    version: str,
    seed: int,
    app: str,
    merged: bool,
    output: Path,
    board: str,
    chip: str | None,
    as_json: bool,
) -> None:
    """Make sample firmware: a valid application image with a program for simulated boards inside.

    \b
    ok         reports its version and is healthy
    exception  fails with an exception
    hang       hangs
    offline    loses the network and runs on
    silent     ends without a word about its health
    """
    source = None if app in APPS else _read_source(Path(app))
    chosen = app if app in APPS else "ok"
    data = build_sample(parse_size(size), version, chip_of_board(board, chip), seed, source, chosen)
    if merged:
        data = _with_boot_loader(data, board, chip)
    write_atomically(output, [data])
    facts: dict[str, object] = {"file": str(output), "bytes": len(data), "version": version, "board": board}
    facts |= {"seed": seed, "app": app, "merged": merged}
    _show(facts, f"{output}: {len(data)} bytes, version {version}, for {board}", as_json)


@image.command()
@click.argument("firmware", type=_FILE)
@click.option("--name", help="What people call it.  [default: the output's name]")
@click.option("--version", help="The version.  [default: the image's own]")
@click.option("--counter", default=0, show_default=True, help="Boards refuse a lower counter than they run.")
@click.option("--key", type=_FILE, help="The private key (PEM) that signs it.  [default: unsigned]")
@click.option("--retry", is_flag=True, help="Boards take it although they went back from it before.")
@_output
@_board
@_chip
@_json
def build(
    firmware: Path,
    name: str | None,
    version: str | None,
    counter: int,
    key: Path | None,
    retry: bool,
    output: Path,
    board: str,
    chip: str | None,
    as_json: bool,
) -> None:
    """Pack an application image FIRMWARE (.app-bin) into a container that boards can check."""
    signer = _load_signer(key, output) if key is not None else None
    data = read_bounded(firmware, MAX_PAYLOAD_BYTES)
    board_chip = chip_of_board(board, chip)
    container = build_container(data, name or output.stem, board, board_chip, version, counter, signer, retry)
    write_atomically(output, [container.data])
    _show_container(output, container, as_json)


@image.command()
@click.argument("file", type=_FILE)
@click.option("--key", type=_FILE, required=True, help="The private key (PEM) that signs it.")
@click.option(
    "--retry/--no-retry", default=None, help="Boards take it although they went back from it before."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.  [default: FILE]",
)
@_json
def sign(file: Path, key: Path, retry: bool | None, output: Path | None, as_json: bool) -> None:
    """Check the container FILE and sign it, in place of any signature it has."""
    container = sign_container(read_container(file), _load_signer(key, output or file), retry)
    write_atomically(output or file, [container.data])
    _show_container(output or file, container, as_json)


@image.command()
@click.argument("file", type=_FILE)
@click.option(
    "--key", "keys", type=_FILE, multiple=True, required=True, help="A trusted key (PEM); may be repeated."
)
@_json
@click.pass_context
def verify(ctx: click.Context, file: Path, keys: tuple[Path, ...], as_json: bool) -> None:
    """Check the container FILE as a board with these keys would; exit code 1 when it would refuse it."""
    trusted = [(str(key), board_key(load_public(key))) for key in keys]
    facts = verify_container(read_bounded(file, MAX_CONTAINER_BYTES), trusted)
    text = "\n".join([*facts["problems"][1:], f"{file}: {facts['verdict']}"])
    _show({"file": str(file), **facts}, text, as_json)
    if not facts["trusted"]:
        ctx.exit(EXIT_DAMAGED)


@image.command()
@click.argument("file", type=_FILE)
@_json
@click.pass_context
def inspect(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Show and check FILE, a container or an application image; exit code 1 when it is damaged."""
    facts = report(read_bounded(file, MAX_CONTAINER_BYTES))
    lines = [
        f"{key.replace('_', ' '):<20} {_plain(value)}" for key, value in facts.items() if key != "verdict"
    ]
    _show({"file": str(file), **facts}, "\n".join([*lines, f"{file}: {facts['verdict']}"]), as_json)
    if not facts["intact"]:
        ctx.exit(EXIT_DAMAGED)


def _plain(value: object) -> object:
    """A fact as people say it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "; ".join(value) or "none"
    return "none" if value is None else value


def _with_boot_loader(app: bytes, board: str, chip: str | None) -> bytes:
    """A firmware file around `app`, with the board's own partition table for its smallest flash."""
    # The boards' tables come with the tools; nothing else in the server asks for them.
    from gapcast_tools.boards.definition import load_board
    from gapcast_tools.boards.firmware import build_merged

    definition = load_board(board)
    if chip not in (None, definition.chip):
        raise OperatorError(f"{board} has {definition.chip}, not {chip}", "leave --chip out, or --merged")
    return build_merged(definition.chip, definition.table(definition.flash_bytes[0]), app)


def _read_source(path: Path) -> str:
    if not path.exists():
        raise OperatorError(f"no application {path}", f"one of {', '.join(APPS)}, or a main.py")
    try:
        return read_bounded(path, MAX_SOURCE_BYTES).decode()
    except UnicodeDecodeError as error:
        raise OperatorError(f"{path} is not UTF-8", "save it as UTF-8") from error


def _load_signer(path: Path, output: Path) -> RSAPrivateKey:
    key = load_private(path)
    if output.exists() and output.samefile(path):
        raise OperatorError(f"{output} is the key itself", "give the image another name")
    if open_to_others(path):
        click.echo(f"gapcast: the private key is open to other users: chmod 600 {path}", err=True)
    return key


def _show_container(path: Path, container: Container, as_json: bool) -> None:
    header = container.header
    facts = {
        "file": str(path),
        "bytes": len(container.data),
        "content_id": container.content_id,
        "name": header.name,
        "version": header.version,
        "board": header.board,
        "counter": header.counter,
        "chunks": header.chunks,
        "retry": bool(header.flags & FLAG_RETRY),
        "key_id": container.key_id,
    }
    signature = f"signed by {container.key_id}" if container.key_id else "unsigned"
    what = f"{header.name} {header.version} for {header.board}, {header.image_bytes} bytes of firmware"
    _show(facts, f"{path}: {what}, {signature}, content id {container.content_id}", as_json)


def _show(facts: dict[str, Any], text: str, as_json: bool) -> None:
    click.echo(json.dumps(facts) if as_json else text)
