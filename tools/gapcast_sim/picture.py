"""The picture of a roll-out: every board's gap map over time, as one HTML page without scripts."""

from __future__ import annotations

import base64
import html
import struct
import zlib
from pathlib import Path

from gapcast_sim.board import SimBoard
from gapcast_sim.display import air_lines
from gapcast_sim.fleet import Fleet, Snapshot
from gapcast_sim.options import write_output
from gapcast_sim.result import KEPT

ROWS = 60  # moments shown, from the first request to the last image verified
CELLS = 64
DIGITS = "0123456789abcdef" + KEPT  # of gap maps, in the palette's order
# Dark is missing, blue is received but for some gaps, green is complete: one lost block must show.
EMPTY_RGB = (38, 24, 66)
GAPS_RGB = (58, 116, 176)
FULL_RGB = (94, 201, 98)
KEPT_RGB = (160, 190, 150)

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Gapcast: {title}</title>
<style>
 body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 76em; padding: 0 1em }}
 .boards {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(13em, 1fr)); gap: 1.2em }}
 figure {{ margin: 0 }}
 img {{ width: 100%; height: 10em; image-rendering: pixelated; border: 1px solid #ccc }}
 figcaption {{ font-size: 13px }}
 .bar {{ background: #5ec962; height: 1.3em; padding-left: .4em; white-space: nowrap; margin: .2em 0 }}
 .bar.unicast {{ background: #d8d0e6 }}
 .bad {{ color: #b00 }}
</style>
<h1>{title}</h1>
<p>{lines}</p>
{bars}
<h2>Gap maps over time</h2>
<p>Left to right: the image. Top to bottom: time, {seconds} s in all. Dark is missing, blue has gaps,
green is all in flash, grey green was so before the download began. The gaps close from the left when a
board's repair runs.</p>
<div class="boards">
{figures}
</div>
</html>
"""


def write_picture(fleet: Fleet, path: Path) -> None:
    """Write the page. Raises OperatorError."""
    title = f"{fleet.completed} of {fleet.spec.boards} boards updated"
    page = PAGE.format(
        title=title,
        lines="<br>".join(html.escape(line) for line in air_lines(fleet)),
        bars=_bars(fleet),
        seconds=fleet.elapsed_s if fleet.elapsed_s is not None else "-",
        figures="\n".join(_figure(fleet, board) for board in fleet.boards),
    )
    write_output("--picture", path, page)


def _bars(fleet: Fleet) -> str:
    """Our air beside plain unicast's; nothing when some boards were up to date before."""
    assert fleet.server is not None
    if fleet.untouched:
        return ""
    sent = sum(fleet.server.air_bytes.values()) / fleet.spec.image_bytes
    unicast = fleet.unicast_cost_bytes() / fleet.spec.image_bytes
    scale = 100 / max(sent, unicast)
    rows = (("Gapcast", sent, "bar"), ("plain unicast, computed", unicast, "bar unicast"))
    return "<h2>Air, in images</h2>\n" + "\n".join(
        f'<div class="{style}" style="width:{value * scale:.1f}%">{name}: {value:.2f}</div>'
        for name, value, style in rows
    )


def _figure(fleet: Fleet, board: SimBoard) -> str:
    snapshots = fleet.snapshots[board.spec.id]
    rows = timeline(snapshots, fleet.first_request, fleet.last_verified)
    image = base64.b64encode(png(rows)).decode()
    result = board.result
    state = f"{result.role}, {result.lost_blocks} lost in {result.gaps} gaps"
    style = "" if board.ok else ' class="bad"'
    caption = html.escape(
        f"{result.id}: {state}" if board.ok else f"{result.id}: {result.outcome} {result.detail}"
    )
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{image}">'
        f"<figcaption{style}>{caption}</figcaption></figure>"
    )


def timeline(snapshots: list[Snapshot], start: float, end: float, rows: int = ROWS) -> list[str]:
    """`rows` gap maps, evenly spaced in time; each is the latest known at its moment."""
    lines = []
    position = 0
    current = "0" * CELLS
    for row in range(rows):
        moment = start + (end - start) * (row + 1) / rows
        while position < len(snapshots) and snapshots[position][0] <= moment:
            current = snapshots[position][1]
            position += 1
        lines.append(current)
    return lines


def png(rows: list[str]) -> bytes:
    """A palette PNG (RFC 2083) of the digits of gap maps, one pixel a cell."""
    palette = b"".join(
        bytes(round(low + (high - low) * step / 14) for low, high in zip(EMPTY_RGB, GAPS_RGB, strict=True))
        for step in range(15)
    ) + bytes(FULL_RGB + KEPT_RGB)
    pixels = b"".join(b"\0" + bytes(DIGITS.index(digit) for digit in row) for row in rows)
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
