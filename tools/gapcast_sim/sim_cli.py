"""The command `gapcast sim`: a whole bench on this machine."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from pathlib import Path

import click
from rich.console import Console

from gapcast.errors import OperatorError
from gapcast.image.boards import chip_of_board
from gapcast.image.build import build_container, read_container
from gapcast.image.files import parse_size, write_atomically
from gapcast.image.sample import build_sample
from gapcast_sim.board import BOARD_TYPE
from gapcast_sim.cli import RX_QUEUE_HELP, check_heap, check_loss, check_rx_queue
from gapcast_sim.display import Display, air_lines, result_table
from gapcast_sim.fleet import MAX_BOARDS, Fleet, FleetSpec
from gapcast_sim.picture import write_picture
from gapcast_sim.runtime import find_runtime

DEMO_VERSION = "2.0.0"
TICK_S = 0.1
PLAIN_WIDTH = 110  # of the table when it goes to a file or a pipe


@click.command()
@click.argument("image", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--boards", default=20, show_default=True, help="How many boards.")
@click.option(
    "--loss", default=0.1, show_default=True, help="Multicast loss of each board's radio, 0 to 0.95."
)
@click.option("--seed", default=1, show_default=True, help="Seed of the losses and of the sample image.")
@click.option(
    "--rate", default="6M", show_default=True, help="The shared air, bits per second; 0 is no limit."
)
@click.option("--size", default="1536k", show_default=True, help="Size of the sample image.")
@click.option("--heap", default="112k", show_default=True, help="MicroPython's heap on a board.")
@click.option("--rx-queue", type=int, help=RX_QUEUE_HELP)
@click.option("--flash-timing", is_flag=True, help="Flash as slow as a W25Q's datasheet says.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the boards' flash in this folder.")
@click.option(
    "--limit", "limit_s", default=300.0, show_default=True, help="Seconds until a board is switched off."
)
@click.option(
    "--picture", type=click.Path(path_type=Path), default=Path("gapcast-sim.html"), show_default=True
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the results here.")
@click.option("--cpython", is_flag=True, help="Run the boards under CPython instead of MicroPython.")
@click.pass_context
def sim(
    ctx: click.Context,
    image: Path | None,
    boards: int,
    loss: float,
    seed: int,
    rate: str,
    size: str,
    heap: str,
    rx_queue: int | None,
    flash_timing: bool,
    keep: Path | None,
    limit_s: float,
    picture: Path,
    json_file: Path | None,
    cpython: bool,
) -> None:
    """Simulate a bench of boards on this machine and update it.

    IMAGE is a container (N.gap) or an application image for board SIM; without it a sample is made.
    Exit code 0 only if every board booted the new version.
    """
    if not 1 <= boards <= MAX_BOARDS:
        raise OperatorError(f"{boards} boards are not possible", f"--boards takes 1 to {MAX_BOARDS}")
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PLAIN_WIDTH)
    runtime = find_runtime(console.print, micropython=not cpython)
    work = Path(tempfile.mkdtemp(prefix="gapcast-sim-"))
    try:
        name, image_bytes = _place_image(image, parse_size(size), seed, work / "root")
        spec = FleetSpec(
            image_name=name,
            image_bytes=image_bytes,
            root=work / "root",
            folder=keep or work / "boards",
            boards=boards,
            loss=check_loss(loss),
            seed=seed,
            rate=rate,
            heap_bytes=check_heap(heap),
            rx_queue=check_rx_queue(rx_queue, flash_timing=flash_timing),
            flash_timing=flash_timing,
            limit_s=limit_s,
        )
        fleet = Fleet(spec, runtime)
        _run(fleet, console)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _tell(fleet, console, picture, json_file)
    if fleet.completed != boards:
        ctx.exit(1)


def _place_image(image: Path | None, size_bytes: int, seed: int, root: Path) -> tuple[str, int]:
    """(name, container bytes) of the image, put where the server finds it."""
    root.mkdir(parents=True)
    if image is not None and image.suffix == ".gap":
        container = read_container(image)
        if container.header.board != BOARD_TYPE:
            raise OperatorError(f"{image} is for board {container.header.board}", "simulated boards are SIM")
        shutil.copyfile(image, root / "image.gap")
        return "image", (root / "image.gap").stat().st_size
    chip = chip_of_board(BOARD_TYPE)
    data = image.read_bytes() if image else build_sample(size_bytes, DEMO_VERSION, chip, seed)
    container = build_container(data, "image", BOARD_TYPE, chip)
    write_atomically(root / "image.gap", [container.data])
    return "image", len(container.data)


def _run(fleet: Fleet, console: Console) -> None:
    fleet.build()
    console.print(
        f"{fleet.spec.boards} boards under {fleet.runtime.name}, {fleet.spec.loss:.0%} multicast loss"
    )
    with Display(console) as display:
        asyncio.run(fleet.run(display.tick, TICK_S))


def _tell(fleet: Fleet, console: Console, picture: Path, json_file: Path | None) -> None:
    console.print(result_table(fleet))
    for line in air_lines(fleet):
        console.print(line)
    write_picture(fleet, picture)
    console.print(f"picture of the gap maps over time: {picture}")
    if json_file:
        json_file.write_text(json.dumps(fleet.summary(), indent=1) + "\n")
