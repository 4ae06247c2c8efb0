"""What a person sees of a fleet: a bar and a gap map per board while it runs, then a table."""

from __future__ import annotations

import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gapcast_sim.board import SimBoard
from gapcast_sim.events import printable
from gapcast_sim.fleet import Fleet

MAP_CELLS = 32
SHADES = " ░▒▓█"
PHASE_STYLE = {
    "master": "bold magenta", "listener": "cyan", "repair": "yellow", "trial": "blue", "running": "green"
}  # fmt: skip
PLAIN_EVERY_S = 1.0
MAX_TROUBLED = 10  # failed boards whose notes are shown
MAX_NOTE_LINES = 3  # the last ones of each


def map_text(gap_map: str, cells: int = MAP_CELLS) -> str:
    """The gap map as shades: blank is nothing received, a full block all of it."""
    if not gap_map:
        return SHADES[0] * cells
    size = len(gap_map) / cells
    text = ""
    for cell in range(cells):
        part = gap_map[int(cell * size) : max(int((cell + 1) * size), int(cell * size) + 1)]
        share = sum(int(digit, 16) for digit in part) / (15 * len(part))
        text += SHADES[-1] if share == 1 else SHADES[min(int(share * len(SHADES)), len(SHADES) - 2)]
    return text


class Display:
    """Live rows on a terminal; elsewhere one line a second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._told = 0.0

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._live:
            self._live.stop()

    def tick(self, fleet: Fleet) -> None:
        if self._live:
            self._live.update(self._rows(fleet))
        elif time.monotonic() - self._told >= PLAIN_EVERY_S:
            self._told = time.monotonic()
            self._console.print(status_line(fleet), highlight=False)

    def _rows(self, fleet: Fleet) -> Group:
        table = Table(box=None, pad_edge=False, show_header=False)
        room = max(self._console.height - 4, 4)
        for board in fleet.boards[:room]:
            table.add_row(*_row(board))
        hidden = len(fleet.boards) - room
        more = [Text(f"... and {hidden} more boards")] if hidden > 0 else []
        return Group(table, *more, Text(status_line(fleet)))


def _row(board: SimBoard) -> tuple[Text | ProgressBar, ...]:
    recorder = board.recorder
    total = recorder.total_blocks or 1
    have = recorder.total_blocks - recorder.missing_blocks
    phase = Text(f"{recorder.phase:9}", style=PHASE_STYLE.get(recorder.phase, ""))
    bar = ProgressBar(total=total, completed=have, width=20)
    return (
        Text(board.spec.id),
        phase,
        bar,
        Text(f"{100 * have // total:3d}%"),
        Text(map_text(recorder.gap_map)),
    )


def status_line(fleet: Fleet) -> str:
    """One line about the whole bench."""
    assert fleet.server is not None
    phases: dict[str, int] = {}
    for board in fleet.boards:
        phases[board.recorder.phase] = phases.get(board.recorder.phase, 0) + 1
    air = sum(fleet.server.air_bytes.values()) / fleet.spec.image_bytes
    counts = ", ".join(f"{count} {name}" for name, count in sorted(phases.items()))
    dead = "  THE SERVER HAS ENDED" if fleet.server.failure else ""
    return f"{time.monotonic() - fleet.started_at:5.1f} s  air {air:.2f} x image  {counts}{dead}"


def result_table(fleet: Fleet) -> Table:
    """The table of the README."""
    table = Table(title=f"{fleet.completed} of {fleet.spec.boards} boards run the new version")
    table.add_column("board", no_wrap=True)
    table.add_column("role")
    for name in ("blocks\nlost", "gaps", "largest\ngap", "repaired\nblocks", "repaired\nbytes", "time\ns"):
        table.add_column(name, justify="right")
    if fleet.spec.power_cuts:
        table.add_column("power\ncuts", justify="right")
        table.add_column("bytes\nagain", justify="right")
    table.add_column("state", no_wrap=True)
    table.add_column("version\nbooted", overflow="fold")
    for board in fleet.boards:
        result = board.result
        elapsed = f"{result.elapsed_s:.2f}" if result.elapsed_s is not None else "-"
        counts = (result.lost_blocks, result.gaps, result.largest_gap_blocks)
        repairs = (result.repaired_blocks, result.repaired_bytes)
        version = printable(result.version or "-")
        if not board.ok:
            version += f" ({result.outcome}: {printable(result.detail)})"
        style = None if board.ok else "red"
        numbers = [str(number) for number in counts + repairs]
        if fleet.spec.power_cuts:
            again = "-" if result.bytes_again is None else str(result.bytes_again)
            cells = [*numbers, elapsed, str(result.cuts), again]
        else:
            cells = [*numbers, elapsed]
        table.add_row(result.id, result.role, *cells, result.state or "-", Text(version), style=style)
    return table


def problem_lines(fleet: Fleet) -> list[str]:
    """What the server and the failed boards said about it."""
    assert fleet.server is not None
    lines = [fleet.server.failure] if fleet.server.failure else []
    failed = [board for board in fleet.boards if not board.ok]
    for board in failed[:MAX_TROUBLED]:
        lines += [f"{board.spec.id}: {text}" for text in board.result.notes[-MAX_NOTE_LINES:]]
    if len(failed) > MAX_TROUBLED:
        lines.append(f"... and {len(failed) - MAX_TROUBLED} more failed boards: see --json")
    return lines


def air_lines(fleet: Fleet) -> list[str]:
    """What the update cost in air, and a comparison with unicast if every board was updated."""
    assert fleet.server is not None
    air = fleet.server.air_bytes
    image = fleet.spec.image_bytes
    sent = air["multicast"] + air["unicast"]
    lines = [
        f"image {image} bytes, {fleet.spec.boards} boards, {fleet.spec.loss:.0%} multicast loss, "
        f"{fleet.elapsed_s if fleet.elapsed_s is not None else '-'} s, {fleet.runtime.name}",
        f"air: {sent} bytes = {sent / image:.2f} x image "
        f"(multicast {air['multicast'] / image:.2f}, unicast repair {air['unicast'] / image:.2f})",
    ]
    if fleet.unsigned:
        lines.append(
            f"UNSIGNED: {fleet.unsigned} of {fleet.spec.boards} boards took this image although nobody "
            "signed it, because they are provisioned to allow it"
        )
    kept = sum(board.result.kept_blocks for board in fleet.boards)
    if kept:
        lines.append(f"kept: {kept} blocks were right in the boards' flash already, and not downloaded again")
    unicast = fleet.unicast_cost_bytes()
    if fleet.untouched:
        lines.append(
            f"{fleet.untouched} of {fleet.spec.boards} boards ran this image already (--keep kept their "
            "flash): nothing to send them, nothing to compare"
        )
    elif fleet.completed == fleet.spec.boards:
        lines.append(
            f"plain unicast TFTP without any loss: {unicast} bytes = {unicast / image:.2f} x image "
            f"(computed), {unicast / max(sent, 1):.1f} times as much"
        )
    return lines
