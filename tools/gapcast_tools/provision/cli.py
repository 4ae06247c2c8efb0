"""The command `gapcast provision`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from gapcast.errors import OperatorError
from gapcast_sim.process import ends_on_sigterm
from gapcast_tools.provision.job import Job
from gapcast_tools.provision.outcome import Outcome
from gapcast_tools.provision.plan import Plan, make_plan
from gapcast_tools.provision.show import Display, summary
from gapcast_tools.usb.claim import real_port
from gapcast_tools.usb.fleet import check_fleet
from gapcast_tools.usb.ports_list import usb_ports
from gapcast_tools.usb.process import Stop

MAX_AT_ONCE = 32  # boards; a hub has seldom more, and each takes a process of esptool
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--port", "ports", multiple=True, metavar="P", help="A board's serial port; may be repeated.")
@click.option("--all", "all_ports", is_flag=True, help="Every board that `gapcast ports` lists.")
@click.option("--board", required=True, metavar="B", help="What boards they are: a folder in boards/.")
@click.option("--firmware", type=_file, help="MicroPython for a bare board: a .bin with two OTA slots.")
@click.option("--app-only", is_flag=True, help="The boards run MicroPython already: it stays.")
@click.option("--wifi", "ssid", metavar="SSID", help="The network they join.  [default: the one they know]")
@click.option(
    "--wifi-password-file",
    "password_file",
    type=_file,
    help="File with its password.  [default: $GAPCAST_WIFI_PASSWORD, or asked for]",
)
@click.option("--wifi-open", is_flag=True, help="That network has no password.")
@click.option("--server", required=True, metavar="ADDR[:PORT]", help="Where `gapcast serve` runs.")
@click.option(
    "--key", "keys", multiple=True, type=_file, help="Whose images they take: KEY.pub.pem; may be repeated."
)
@click.option("--allow-unsigned", is_flag=True, help="They take images of anybody.")
@click.option("--image", metavar="NAME", help="The image they ask for.  [default: the name of the board]")
@click.option("--erase", is_flag=True, help="Erase all there is first, the users' files included.")
@click.option(
    "--state", type=click.Path(path_type=Path), help="The server's state file.  [default: in $XDG_STATE_HOME]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def provision(
    ctx: click.Context, /, ports: tuple[str, ...], all_ports: bool, as_json: bool, **typed: Any
) -> None:
    """Make members of the fleet out of boards on USB cables, many at once.

    esptool writes and verifies the firmware where it is not there yet; mpremote installs the update client,
    its settings, the keys to trust and a report key of the board's own; the board is entered into the
    server's inventory by its MAC. Files of yours on a board stay. A board that is as it should be is not
    changed; one that failed does not stop the others, and running the command again goes on where it ended.
    """
    with ends_on_sigterm():
        chosen = choose_ports(ports, all_ports)
        plan = make_plan(**typed)
        check_fleet(plan.state)
        notes = plan.firmware.warnings if plan.firmware is not None else ()
        for note in () if as_json else notes:
            click.echo(f"{typed['firmware']}: note: {note}", err=True)
        outcomes = provision_all(chosen, plan, quiet=as_json)
    if as_json:
        boards = [outcome.facts() for outcome in outcomes]
        click.echo(json.dumps({"firmware_warnings": list(notes), "boards": boards}))
    else:
        summary(outcomes, Console())
    if not all(outcome.ok for outcome in outcomes):
        ctx.exit(1)


def choose_ports(ports: Sequence[str], all_ports: bool) -> list[str]:
    """The ports that are meant. Raises OperatorError."""
    if bool(ports) == all_ports:
        raise OperatorError("which boards?", "--port P names one, --all takes every one that is plugged in")
    named = ports or [found.device for found in usb_ports() if found.known]
    by_place: dict[str, str] = {}
    for port in named:
        by_place.setdefault(real_port(port), port)  # under the first of its names
    chosen = list(by_place.values())
    if not chosen:
        raise OperatorError(
            "no board is plugged in", "is the cable one that carries data? see `gapcast ports`"
        )
    return chosen


def provision_all(ports: Sequence[str], plan: Plan, *, quiet: bool) -> list[Outcome]:
    """All boards, in the order of `ports`, each in a thread of its own; Ctrl-C ends their processes first."""
    stop = Stop()
    with Display(ports, quiet) as display:
        pool = ThreadPoolExecutor(max_workers=min(len(ports), MAX_AT_ONCE))
        try:
            futures = [pool.submit(_one(port, plan, display, stop)) for port in ports]
            _watch(futures)
        except BaseException:
            stop.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
    return [future.result() for future in futures]


def _one(port: str, plan: Plan, display: Display, stop: Stop) -> Callable[[], Outcome]:
    def run() -> Outcome:
        outcome = Job(port, plan, partial(display.tell, port), stop).run()
        display.over(outcome)
        return outcome

    return run


def _watch(futures: Sequence[Future[Outcome]]) -> None:
    """Until all are done, waking up so that signals are heard."""
    left = set(futures)
    while left:
        done, left = wait(left, timeout=0.2, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()  # raises what is a fault of ours
