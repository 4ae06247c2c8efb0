"""What a person sees: a bar for each board while it is worked on, and a table in the end."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from gapcast_tools.boards.firmware import APP, BOOTLOADER, TABLE
from gapcast_tools.provision.outcome import Outcome

PLAIN_WIDTH = 120  # of the table when it goes to a file or a pipe
MAX_CHANGES = 6  # that are named one by one
_FIRMWARE = (BOOTLOADER, TABLE, APP)
_STYLES = {"provisioned": "green", "unchanged": "cyan", "failed": "red"}


class Display:
    """A bar a port on standard error; on a pipe a line when a board has come to its end. Of many threads."""

    def __init__(self, ports: Sequence[str], quiet: bool) -> None:
        console = Console(stderr=True)
        self._plain = not console.is_terminal and not quiet
        self._console = console
        self._lock = threading.Lock()
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[doing]}"))
        self._progress = Progress(
            *columns, TimeElapsedColumn(), console=console, disable=quiet or self._plain, transient=True
        )
        self._tasks: dict[str, TaskID] = {
            port: self._progress.add_task(escape(port), total=None, doing="waiting") for port in ports
        }

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def tell(self, port: str, doing: str, done_bytes: int, total_bytes: int) -> None:
        """What goes on at a port, and how far it is."""
        total = total_bytes or None
        self._progress.update(self._tasks[port], doing=doing, completed=done_bytes, total=total)

    def over(self, outcome: Outcome) -> None:
        """A board has come to its end."""
        task = self._tasks[outcome.port]
        self._progress.update(task, doing=outcome.state, completed=1, total=1)
        self._progress.stop_task(task)
        if self._plain:
            with self._lock:
                print_line(self._console, outcome)


def print_line(console: Console, outcome: Outcome) -> None:
    """One board in a line."""
    text = f"{outcome.port}: {outcome.id or 'no board'} {outcome.state}, {outcome.elapsed_s:.1f} s"
    console.print(text + (f": {outcome.message}" if outcome.message else ""), markup=False, soft_wrap=True)


def summary(outcomes: Sequence[Outcome], console: Console) -> None:
    """The table, what is wrong and what to do about it, and the count."""
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    table = Table()
    for title in ("port", "id", "chip", "MicroPython", "result", "changed"):
        table.add_column(title, overflow="fold")
    table.add_column("s", justify="right")
    for outcome in outcomes:
        style = _STYLES[outcome.state]
        row = (outcome.port, outcome.id, outcome.chip, outcome.micropython)
        result = f"[{style}]{outcome.reason or outcome.state}[/]"
        cells = [escape(cell) for cell in row]
        table.add_row(*cells, result, escape(_changes(outcome.changed)), f"{outcome.elapsed_s:.1f}")
    console.print(table)
    for outcome in outcomes:
        for text in _remarks(outcome):
            console.print(text, markup=False, soft_wrap=True)
    good = sum(outcome.ok for outcome in outcomes)
    console.print(f"{good} of {len(outcomes)} boards are ready")


def _remarks(outcome: Outcome) -> list[str]:
    remarks = [f"{outcome.port}: note: {text}" for text in outcome.warnings]
    if not outcome.ok:
        remarks.append(f"{outcome.port}: {outcome.message}" + (f" ({outcome.hint})" if outcome.hint else ""))
    return remarks


def _changes(changed: Sequence[str]) -> str:
    """A few by name; of the client's files only how many."""
    client = [name for name in changed if name.startswith("/lib/gapcast_")]
    named = [name.removeprefix("/") for name in changed if name not in client]
    if client:
        named.append(f"{len(client)} files of the client")
    if set(_FIRMWARE) <= set(named):
        named = ["firmware", *(name for name in named if name not in _FIRMWARE)]
    if len(named) > MAX_CHANGES:
        named = [*named[:MAX_CHANGES], f"{len(named) - MAX_CHANGES} more"]
    return ", ".join(named)
