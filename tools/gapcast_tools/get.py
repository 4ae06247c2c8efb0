"""The command `gapcast get`: one file by plain TFTP, with a client that is not ours (tftpy)."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import click
import tftpy
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from gapcast.errors import OperatorError
from gapcast.image.files import atomic_file
from gapcast_core.options import BLKSIZE_MAX_BYTES, BLKSIZE_MIN_BYTES
from gapcast_core.wire import ERR_NOT_FOUND, parse_error
from gapcast_tools.place import DEFAULT_PORT

DEFAULT_BLKSIZE_BYTES = 1428  # with IPv4, UDP and a tunnel's headers still within an Ethernet frame
TIMEOUT_S = 1.5  # tftpy's own 5 s makes a lost packet a long wait
TRIES = 5

# tftpy logs to stderr what it also raises, when nobody has set up logging.
logging.getLogger("tftpy").addHandler(logging.NullHandler())
logging.getLogger("tftpy").propagate = False


class TransferFailed(OperatorError):
    """The file did not arrive.

    reason: `no_host`, `no_network`, `no_server`, `timeout`, `not_found`, `refused`, `cut_off` or `protocol`.
    """

    def __init__(self, reason: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Source:
    """Where a file is: a tftp URL in parts."""

    host: str
    port: int
    name: str


class Transfer:
    """One download as it goes on; tftpy writes into it.

    received_bytes, expected_bytes: what came, and the server's `tsize` (None without one).
    heard: whether the server said anything but an ERROR.
    error: code and text of the server's ERROR.
    """

    def __init__(self, output: BinaryIO, progress: Callable[[Transfer], None] | None = None) -> None:
        self.received_bytes = 0
        self.expected_bytes: int | None = None
        self.heard = False
        self.error: tuple[int, str] | None = None
        self.sha256 = hashlib.sha256()
        self._output = output
        self._progress = progress

    def write(self, data: bytes) -> int:
        self.received_bytes += len(data)
        self.sha256.update(data)
        self._output.write(data)
        if self._progress is not None:
            self._progress(self)
        return len(data)

    def note(self, packet: Any) -> None:
        """tftpy's hook: every packet that came (and those that it sends again)."""
        if isinstance(packet, tftpy.TftpPacketTypes.TftpPacketERR):
            self.error = parse_error(packet.buffer)
        elif isinstance(packet, tftpy.TftpPacketTypes.TftpPacketOACK):
            self.heard = True
            size = packet.options.get("tsize", "")
            self.expected_bytes = int(size) if size.isdigit() else None
        elif isinstance(packet, tftpy.TftpPacketTypes.TftpPacketDAT):
            self.heard = True


def parse_url(text: str) -> Source:
    """The parts of tftp://HOST[:PORT]/NAME (RFC 3617, without its mode).

    Raises:
        OperatorError: It is no such URL, or the name is not ASCII, which tftpy cannot send.
    """
    form = "tftp://HOST[:PORT]/NAME"
    try:
        parts = urlsplit(text)
        port = parts.port or DEFAULT_PORT
    except ValueError as error:
        raise OperatorError(f"{text!r}: {error}", f"write {form}") from error
    name = unquote(parts.path[1:])
    if parts.scheme != "tftp" or not parts.hostname or not name:
        raise OperatorError(f"{text!r} is no TFTP URL", f"write {form}")
    if not name.isascii() or "\0" in name:
        raise OperatorError(
            f"the name {name!r} is not ASCII", "tftpy cannot ask for it: give the file another name"
        )
    return Source(parts.hostname, port, name)


def resolve(host: str) -> str:
    """The IPv4 address of a host.

    Raises:
        TransferFailed: It has none (`no_host`).
    """
    try:
        return socket.gethostbyname(host)
    except (OSError, UnicodeError) as error:  # UnicodeError: a label of more than 63 characters, say
        message = f"no IPv4 address for {host.encode(errors='backslashreplace').decode()}"
        raise TransferFailed("no_host", message, "check the name, or give an address") from error


def fetch(
    source: Source,
    output: BinaryIO,
    blksize: int = DEFAULT_BLKSIZE_BYTES,
    progress: Callable[[Transfer], None] | None = None,
) -> Transfer:
    """Fetch a file into `output`, which stays open.

    Args:
        source: What to fetch.
        output: Gets the bytes.
        blksize: Bytes a DATA packet (RFC 2348); the server may lower it.
        progress: Called after each packet.

    Raises:
        TransferFailed: See its reasons.
    """
    transfer = Transfer(output, progress)
    address = resolve(source.host)  # tftpy would leak its socket when this fails
    try:
        client = tftpy.TftpClient(address, source.port, {"blksize": blksize, "tsize": 0}, flock=False)
        client.download(source.name, transfer, transfer.note, timeout=TIMEOUT_S, retries=TRIES)
    except (tftpy.TftpException, OSError, ValueError, TypeError, struct.error) as error:
        # The last three come out of tftpy when a packet is malformed.
        raise _failure(source, transfer, error) from error
    if transfer.expected_bytes is not None and transfer.received_bytes != transfer.expected_bytes:
        message = f"{transfer.received_bytes} of {transfer.expected_bytes} bytes arrived"
        raise TransferFailed("cut_off", message, "the file changed or the server stopped: try again")
    return transfer


def _failure(source: Source, transfer: Transfer, error: Exception) -> TransferFailed:
    """What went wrong, for people, and what to do next."""
    place = f"{source.host}:{source.port}"
    if isinstance(error, OSError):
        return TransferFailed(
            "no_network", f"cannot reach {place}: {error.strerror or error}", "check the network"
        )
    if transfer.error is not None:
        code, text = transfer.error
        if code == ERR_NOT_FOUND:
            return TransferFailed("not_found", f"{place} has no file {source.name!r}", "check the name")
        return TransferFailed(
            "refused", f"{place} refused {source.name!r}: {text or 'no reason'} (error {code})"
        )
    if isinstance(error, tftpy.TftpTimeout):
        if transfer.heard:
            message = f"{place} fell silent after {transfer.received_bytes} bytes"
            return TransferFailed(
                "timeout", message, "the network loses packets, or a smaller --blksize helps"
            )
        hint = "is a server running there? Does a firewall drop its answers, which come from another port?"
        return TransferFailed("no_server", f"no answer from {place}", hint)
    return TransferFailed("protocol", f"{place} does not speak TFTP as we do: {error}")


@click.command()
@click.argument("url", metavar="tftp://HOST[:PORT]/NAME")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.  [default: NAME's end]",
)
@click.option(
    "--blksize",
    type=click.IntRange(BLKSIZE_MIN_BYTES, BLKSIZE_MAX_BYTES),
    default=DEFAULT_BLKSIZE_BYTES,
    show_default=True,
    help="Bytes a packet.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def get(url: str, output: Path | None, blksize: int, as_json: bool) -> None:
    """Fetch one file by plain TFTP, without multicast: to see what a server gives out."""
    source = parse_url(url)
    path = output or Path(Path(source.name).name)
    began = time.monotonic()
    with atomic_file(path) as file, _bar(source.name, quiet=as_json) as show:
        transfer = fetch(source, file, blksize, show)
    seconds = time.monotonic() - began
    digest = transfer.sha256.hexdigest()
    if as_json:
        facts = {
            "file": str(path),
            "bytes": transfer.received_bytes,
            "sha256": digest,
            "seconds": round(seconds, 3),
        }
        click.echo(json.dumps(facts))
    else:
        click.echo(f"{path}: {transfer.received_bytes} bytes in {seconds:.1f} s, sha256 {digest}")


@contextmanager
def _bar(name: str, quiet: bool) -> Iterator[Callable[[Transfer], None]]:
    """A progress bar on stderr, when a person looks on."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    off = quiet or not console.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=off) as progress:
        task = progress.add_task(name, total=None)
        yield lambda transfer: progress.update(
            task, completed=transfer.received_bytes, total=transfer.expected_bytes
        )
