"""The command `gapcast board`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from gapcast.errors import OperatorError
from gapcast.fleet.cli import read_key
from gapcast_core.report import is_board_id
from gapcast_sim.board import SimBoard
from gapcast_sim.options import BoardOptions, board_options, check_moment, check_output, write_output
from gapcast_sim.process import ends_on_sigterm
from gapcast_sim.provision import BoardSpec, factory_image, local_address, prepare
from gapcast_tools.place import parse_place


@dataclass(frozen=True, kw_only=True)
class Options(BoardOptions):
    """The options of `gapcast board`."""

    server: str
    image: str
    flash: Path
    board_id: str
    iface: str | None
    at_s: float
    raw: bool
    report_key_file: Path | None
    run_s: float | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_board_id(self.board_id):
            hint = "--id takes 1 to 32 of the characters 0-9, a-z and -"
            raise OperatorError(f"{self.board_id!r} is no board id", hint)

    def spec(self) -> BoardSpec:
        """The board that was asked for. Raises OperatorError."""
        host, port = parse_place(self.server)
        return BoardSpec(
            id=self.board_id,
            folder=self.flash,
            server=host,
            port=port,
            image=self.image,
            ip=self.iface or local_address(host, port),
            loss=self.loss,
            burst=self.burst,
            seed=self.seed,
            rx_queue=self.queue,
            flash_timing=self.flash_timing,
            heap_bytes=self.heap_bytes,
            at_s=check_moment(self.at_s),
            raw=self.raw,
            limit_s=self.limit_s,
            keys=self.trusted_keys(),
            allow_unsigned=not self.trust,
            report_key=read_key(self.report_key_file).hex() if self.report_key_file else None,
            health_ms=self.health_ms,
            power_cuts=self.power_cuts,
            run_s=self.run_s,
        )


@click.command()
@click.option("--server", required=True, metavar="ADDR[:PORT]", help="The TFTP server; port 69 by default.")
@click.option("--image", required=True, metavar="NAME", help="The image's name (or a file's, with --raw).")
@click.option("--flash", required=True, type=click.Path(path_type=Path), help="Folder of the board's flash.")
@click.option("--id", "board_id", default="sim-1", show_default=True, help="The board's id.")
@click.option(
    "--iface", metavar="ADDR", help="The board's own address.  [default: the one that leads to the server]"
)
@click.option("--at", "at_s", default=0.0, metavar="EPOCH_S", help="Hold the first request until then.")
@click.option(
    "--report-key-file",
    type=click.Path(path_type=Path),
    help="File with the key of its reports (`gapcast fleet add --key-out`); without one it sends none.",
)
@click.option(
    "--run",
    "run_s",
    type=click.FloatRange(0.1, 86_400),
    metavar="SECONDS",
    help="Let its application run so long, anew after each reset.  [default: until it is seen to live]",
)
@click.option("--raw", is_flag=True, help="Keep any plain file as raw.bin; no image checks.")
@board_options(loss=0.0)
@click.pass_context
def board(ctx: click.Context, /, **typed: Any) -> None:
    """Run one simulated board against a server, ours or any other.

    Exit code 0 only if the new version runs and is confirmed (with --raw: if the file is complete).
    """
    options = Options(**typed)
    spec = options.spec()
    if options.json_file:
        check_output("--json", options.json_file)
    with ends_on_sigterm():
        runtime = options.runtime(lambda text: click.echo(text, err=True))
        prepare(spec, factory_image())
        sim_board = SimBoard(spec, runtime, lambda _board, _event: None)
        asyncio.run(sim_board.run())
    if options.json_file:
        write_output("--json", options.json_file, json.dumps(sim_board.result.to_json()) + "\n")
    _tell(sim_board)
    if not sim_board.ok:
        ctx.exit(1)


def _tell(sim_board: SimBoard) -> None:
    result = sim_board.result
    if not sim_board.ok:
        click.echo(f"{result.id}: {result.outcome}: {result.detail}", err=True)
        return
    if result.unsigned:
        click.echo(f"{result.id}: took an UNSIGNED image: without --trust this board allows it", err=True)
    if result.outcome == "up_to_date":
        click.echo(f"{result.id}: runs {result.version} already, nothing to do")
        return
    done = "raw.bin is complete" if sim_board.spec.raw else f"runs {result.version}"
    cuts = f", {result.cuts} power cuts, {result.bytes_again} bytes again" if result.cuts else ""
    click.echo(
        f"{result.id}: {done}, {result.elapsed_s or 0:.2f} s, {result.repaired_blocks} blocks repaired{cuts}"
    )
