"""The command `gapcast unprovision`: take the client off boards, and the boards out of the inventory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

from gapcast.errors import OperatorError
from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.fleet import leave_fleet
from gapcast_tools.usb.install import uninstall
from gapcast_tools.usb.look import Look, look
from gapcast_tools.usb.mpremote import Mpremote

EXIT_FAULT = 1


@dataclass
class Outcome:
    """What became of one port. id: the board's, empty if that is not known; reason: of a PortFault."""

    port: str
    id: str = ""
    removed: list[str] = field(default_factory=list)
    left_inventory: bool = False
    frozen_client: bool = False
    reason: str = ""
    message: str = ""
    hint: str = ""


@click.command()
@click.option(
    "-p", "--port", "ports", multiple=True, required=True, metavar="PORT", help="A board's port; repeatable."
)
@click.option(
    "--state", type=click.Path(path_type=Path), help="The inventory.  [default: in $XDG_STATE_HOME]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def unprovision(ctx: click.Context, ports: tuple[str, ...], state: Path | None, as_json: bool) -> None:
    """Take the client, its settings and its lines in boot.py off boards, and the boards out of the inventory.

    The user's own files stay as they are, and so does the firmware. The boards are restarted.
    """
    outcomes = []
    for port in dict.fromkeys(ports):
        outcomes.append(_one(port, state))
        if not as_json:
            click.echo(_text(outcomes[-1]))
    if as_json:
        click.echo(json.dumps({"ports": [asdict(outcome) for outcome in outcomes]}))
    if any(outcome.reason for outcome in outcomes):
        ctx.exit(EXIT_FAULT)


def _one(port: str, state: Path | None) -> Outcome:
    """One board, whatever is wrong with it. Raises OperatorError: the inventory cannot be used."""
    outcome = Outcome(port)
    board = Mpremote(port)
    try:
        found = look(board)
        outcome.frozen_client = found.runtime.frozen_client
        outcome.id = _board_id(found)
        outcome.removed = uninstall(board, found=found, reset=True)
    except PortFault as fault:
        outcome.reason, outcome.message, outcome.hint = fault.reason, str(fault), fault.hint
        return outcome
    try:
        outcome.left_inventory = leave_fleet(state, outcome.id)
    except OperatorError as error:
        outcome.reason, outcome.message, outcome.hint = "failed", error.message, error.hint
    return outcome


def _board_id(found: Look) -> str:
    try:
        settings = found.settings or {}
    except PortFault:  # gapcast.json is damaged: it goes all the same
        settings = {}
    return str(settings.get("id") or found.runtime.unique_id)


def _text(outcome: Outcome) -> str:
    name = f"{outcome.port}: {outcome.id}" if outcome.id else outcome.port
    if outcome.reason:
        return f"{name}: {outcome.message}" + (f" ({outcome.hint})" if outcome.hint else "")
    count = len(outcome.removed)
    what = "file or folder" if count == 1 else "files and folders"
    parts = [f"{count} {what} of Gapcast taken off" if count else ""]
    parts.append("out of the inventory" if outcome.left_inventory else "")
    parts.append("its firmware still has the client frozen into it" if outcome.frozen_client else "")
    return f"{name}: {', '.join(part for part in parts if part) or 'has nothing of Gapcast'}"
