"""The command `gapcast sim`: a whole bench on this machine."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from gapcast.errors import OperatorError
from gapcast.image.files import parse_size
from gapcast.image.sample_apps import APPS
from gapcast_sim.display import Display, air_lines, problem_lines, result_table
from gapcast_sim.fleet import MAX_BOARDS, SLOWNESS, Fleet, FleetSpec
from gapcast_sim.image import place_image, place_sample
from gapcast_sim.options import BoardOptions, board_options, check_output, write_output
from gapcast_sim.picture import write_picture
from gapcast_sim.process import ends_on_sigterm
from gapcast_sim.workdir import work_folder

TICK_S = 0.1
PLAIN_WIDTH = 130  # of the table when it goes to a file or a pipe


@dataclass(frozen=True, kw_only=True)
class Options(BoardOptions):
    """The options of `gapcast sim`."""

    boards: int
    slow_boards: int
    rate: str
    size: str
    app: str
    keep: Path | None
    picture: Path
    cpython: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.boards <= MAX_BOARDS:
            raise OperatorError(f"{self.boards} boards are not possible", f"--boards takes 1 to {MAX_BOARDS}")
        if self.slow_boards and not self.flash_timing:
            raise OperatorError("without flash timing no board is slow", "add --flash-timing")

    def spec(self, image: Path | None, work: Path) -> FleetSpec:
        """The bench that was asked for, with its image in place. Raises OperatorError."""
        if image is None:
            placed = place_sample(work, parse_size(self.size), self.seed, self.app)
        else:
            placed = place_image(work, image, self.trusted_keys())
        return FleetSpec(
            image=placed,
            root=work / "root",
            folder=self.keep or work / "boards",
            boards=self.boards,
            loss=self.loss,
            burst=self.burst,
            seed=self.seed,
            rate=self.rate,
            heap_bytes=self.heap_bytes,
            rx_queue=self.queue,
            flash_timing=self.flash_timing,
            slow_boards=self.slow_boards,
            limit_s=self.limit_s,
            health_ms=self.health_ms,
            power_cuts=self.power_cuts,
        )


@click.command()
@click.argument("image", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--boards", default=20, show_default=True, help="How many boards.")
@click.option(
    "--slow-boards",
    type=click.IntRange(0, MAX_BOARDS),
    default=0,
    help=f"How many of them have {SLOWNESS} times slower flash; with --flash-timing.",
)
@click.option(
    "--rate", default="6M", show_default=True, help="The shared air, bits per second; 0 is no limit."
)
@click.option("--size", default="1536k", show_default=True, help="Size of the sample image.")
@click.option(
    "--app",
    type=click.Choice(list(APPS)),
    default="ok",
    show_default=True,
    help="What the sample does when it runs.",
)
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the boards' flash in this folder.")
@click.option(
    "--picture", type=click.Path(path_type=Path), default=Path("gapcast-sim.html"), show_default=True
)
@click.option("--cpython", is_flag=True, help="Run the boards under CPython instead of MicroPython.")
@board_options(loss=0.1)
@click.pass_context
def sim(ctx: click.Context, /, image: Path | None, **typed: Any) -> None:
    """Simulate a bench of boards on this machine and update it.

    IMAGE is a container (N.gap) or an application image for board SIM; without it a sample is made, and
    signed with a key of this run, which its boards trust. An unsigned IMAGE is taken by boards that are
    provisioned to allow it, and the output says so.

    Exit code 0 only if every board runs the new version, confirmed (and the server lived to see it). Boards
    whose flash --keep kept from an earlier run with this image have nothing to do: the output says so.
    """
    options = Options(**typed)
    if options.trust and image is None:
        raise OperatorError("--trust is for an IMAGE of yours", "the sample's own key is trusted anyway")
    for name in ("size", "app"):
        if image is not None and ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise OperatorError(f"--{name} is for the sample", "leave it out, or leave IMAGE out")
    if options.json_file:
        check_output("--json", options.json_file)
    check_output("--picture", options.picture)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PLAIN_WIDTH)
    with ends_on_sigterm():
        runtime = options.runtime(console.print, micropython=not options.cpython)
        with work_folder() as work:
            fleet = Fleet(options.spec(image, work), runtime)
            _run(fleet, console)
    _tell(fleet, console, options)
    if not fleet.ok:
        ctx.exit(1)


def _run(fleet: Fleet, console: Console) -> None:
    fleet.build()
    console.print(
        f"{fleet.spec.boards} boards under {fleet.runtime.name}, {fleet.spec.loss:.0%} multicast loss"
    )
    with Display(console) as display:
        asyncio.run(fleet.run(display.tick, TICK_S))


def _tell(fleet: Fleet, console: Console, options: Options) -> None:
    # The results first: whatever happens to the terminal or the picture, a script has them.
    if options.json_file:
        write_output("--json", options.json_file, json.dumps(fleet.summary(), indent=1) + "\n")
    console.print(result_table(fleet))
    for line in (*problem_lines(fleet), *air_lines(fleet)):
        console.print(line, markup=False)
    write_picture(fleet, options.picture)
    console.print(f"picture of the gap maps over time: {options.picture}", markup=False)
