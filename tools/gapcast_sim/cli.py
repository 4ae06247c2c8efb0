"""The commands `gapcast board` and `gapcast sim`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from gapcast.errors import OperatorError
from gapcast.image.files import parse_size
from gapcast_sim.board import BoardSpec, SimBoard, factory_image, local_address, prepare
from gapcast_sim.runtime import find_runtime

DEFAULT_PORT = 69
STOCK_RX_QUEUE = 6  # ESP-IDF's CONFIG_LWIP_UDP_RECVMBOX_SIZE
MAX_RX_QUEUE = 64  # what ESP-IDF can be built with
RX_QUEUE_HELP = "Datagrams a board's socket queues, 1 to 64.  [default: 6 with --flash-timing, else 64]"
MIN_HEAP_BYTES = 48 * 1024  # below it MicroPython cannot even import the client


def _split_server(text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    if not host or (port and not (port.isdigit() and 0 < int(port) < 65536)):
        raise OperatorError(f"{text!r} is no server address", "ADDR or ADDR:PORT, such as 192.0.2.1:6969")
    return host, int(port) if port else DEFAULT_PORT


@click.command()
@click.option("--server", required=True, metavar="ADDR[:PORT]", help="The TFTP server; port 69 by default.")
@click.option("--image", required=True, metavar="NAME", help="The image's name (or a file's, with --raw).")
@click.option("--flash", required=True, type=click.Path(path_type=Path), help="Folder of the board's flash.")
@click.option("--id", "board_id", default="sim-1", show_default=True, help="The board's id.")
@click.option(
    "--iface", metavar="ADDR", help="The board's own address.  [default: the one that leads to the server]"
)
@click.option("--heap", default="112k", show_default=True, help="MicroPython's heap.")
@click.option("--at", "at_s", default=0.0, metavar="EPOCH_S", help="Hold the first request until then.")
@click.option("--loss", default=0.0, help="Multicast loss of this board's radio, 0 to 0.95.")
@click.option("--seed", default=1, help="Seed of that loss.")
@click.option("--rx-queue", type=int, help=RX_QUEUE_HELP)
@click.option("--flash-timing", is_flag=True, help="Flash as slow as a W25Q's datasheet says.")
@click.option("--raw", is_flag=True, help="Keep any plain file as raw.bin; no image checks.")
@click.option(
    "--limit", "limit_s", default=300.0, show_default=True, help="Seconds until it is switched off."
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the result here.")
@click.pass_context
def board(
    ctx: click.Context,
    server: str,
    image: str,
    flash: Path,
    board_id: str,
    iface: str | None,
    heap: str,
    at_s: float,
    loss: float,
    seed: int,
    rx_queue: int | None,
    flash_timing: bool,
    raw: bool,
    limit_s: float,
    json_file: Path | None,
) -> None:
    """Run one simulated board against a server, ours or any other.

    Exit code 0 only if the new version booted (with --raw: if the file is complete).
    """
    host, port = _split_server(server)
    spec = BoardSpec(
        id=board_id,
        folder=flash,
        server=host,
        port=port,
        image=image,
        ip=iface or local_address(host, port),
        loss=check_loss(loss),
        seed=seed,
        rx_queue=check_rx_queue(rx_queue, flash_timing=flash_timing),
        flash_timing=flash_timing,
        heap_bytes=check_heap(heap),
        at_s=at_s,
        raw=raw,
        limit_s=limit_s,
    )
    runtime = find_runtime(lambda text: click.echo(text, err=True))
    prepare(spec, factory_image())
    sim_board = SimBoard(spec, runtime, lambda _board, _event: None)
    result = asyncio.run(sim_board.run())
    row = json.dumps(result.to_json())
    if json_file:
        json_file.write_text(row + "\n")
    if sim_board.ok:
        done = "raw.bin is complete" if raw else f"runs {result.version}"
        click.echo(
            f"{board_id}: {done}, {result.elapsed_s or 0:.2f} s, {result.repaired_blocks} blocks repaired"
        )
    else:
        click.echo(f"{board_id}: {result.outcome}: {result.detail or 'no new version booted'}", err=True)
        ctx.exit(1)


def check_loss(loss: float) -> float:
    """`loss` if it is one that a download can survive."""
    if not 0 <= loss <= 0.95:
        raise OperatorError(
            f"a loss of {loss:g} is not possible", "--loss takes 0 to 0.95, such as 0.1 for 10 %"
        )
    return loss


def check_rx_queue(rx_queue: int | None, *, flash_timing: bool) -> int:
    """The queue of a board's sockets.

    Six is a stock ESP32's. Without flash timing nothing on a simulated board ever stalls, so a short queue
    would only measure how busy this PC is: the default is then the longest that ESP-IDF offers.
    """
    if rx_queue is None:
        return STOCK_RX_QUEUE if flash_timing else MAX_RX_QUEUE
    if not 1 <= rx_queue <= MAX_RX_QUEUE:
        raise OperatorError(f"a queue of {rx_queue} is not possible", f"--rx-queue takes 1 to {MAX_RX_QUEUE}")
    return rx_queue


def check_heap(text: str) -> int:
    """Heap bytes from "112k"."""
    heap_bytes = parse_size(text)
    if heap_bytes < MIN_HEAP_BYTES:
        raise OperatorError(
            f"a heap of {text} is too small", f"--heap takes {MIN_HEAP_BYTES // 1024}k or more"
        )
    return heap_bytes
