"""What a person sees of one port's work: a progress bar, or a line on a pipe; and how a command ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from gapcast_sim.process import ends_on_sigterm
from gapcast_tools.usb import esptool
from gapcast_tools.usb.fault import PortFault


@contextmanager
def bar(port: str, quiet: bool) -> Iterator[esptool.Progress]:
    """A bar on standard error, when a person looks on: for Esptool's `progress`."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    off = quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=off) as progress:
        task: TaskID = progress.add_task(port, total=None)

        def show(what: str, done_bytes: int, total_bytes: int) -> None:
            text = f"{port} {what}"
            progress.update(task, description=text, completed=done_bytes, total=total_bytes or None)

        yield show


@contextmanager
def port_command(ctx: click.Context, as_json: bool) -> Iterator[None]:
    """Around the work of a command on one port: its PortFault becomes one line, or JSON, and exit code 1.

    SIGTERM ends it as Ctrl-C does, so that files with secrets are cleaned up.
    """
    try:
        with ends_on_sigterm():
            yield
    except PortFault as error:
        if as_json:
            facts = {"ok": False, "reason": error.reason, "message": str(error), "hint": error.hint}
            click.echo(json.dumps(facts))
        else:
            click.echo(f"gapcast: {error}" + (f" ({error.hint})" if error.hint else ""), err=True)
        ctx.exit(1)
