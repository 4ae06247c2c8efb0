"""RESULTS.md and its plots, from what a run (or several) has written as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import board
from bench.case import AIR_BPS, Case, Trial
from bench.figures import BLOCK_BYTES, Row, cells, limit, markdown, number, rows, shares
from bench.svg import COLOURS, Chart, Line

SWEEP_LOSS = 0.1  # of the plots against boards
SWEEP_RECEIVERS = 10  # of the plots against loss
CLIP = 6.0  # times; what is over it is drawn at the edge
SHARE_CASES = ("10x20", "50x10")  # whose boards are shown one by one, or the last there is
NAMES = ("gapcast", "norm", "udpcast", "udpcast-fec", "uftp", "uftp-told", "rfc2090", "tftp-unicast")


@dataclass
class Results:
    """What was measured, and on what."""

    about: dict[str, Any] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    left_out: list[list[str]] = field(default_factory=list)  # contestant, reason
    sections: list[dict[str, Any]] = field(default_factory=list)  # title, why, header, table: see extra()

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        trials = [trial.to_json() for trial in self.trials]
        whole = {"about": self.about, "left_out": self.left_out, "trials": trials}
        path.write_text(json.dumps(whole, indent=1) + "\n")

    @classmethod
    def load(cls, paths: Iterable[Path]) -> Results:
        """Several files are one: their trials follow each other, and the last one's machine counts."""
        all_of_it = cls()
        for path in paths:
            read = json.loads(path.read_text())
            all_of_it.about |= read["about"]
            all_of_it.left_out += [entry for entry in read["left_out"] if entry not in all_of_it.left_out]
            all_of_it.trials += [Trial(**trial) for trial in read["trials"]]
        return all_of_it


def extra(path: Path) -> dict[str, Any]:
    """A section from a file that load.py or flash.py wrote, or `board.py --json` printed."""
    read: dict[str, Any] = json.loads(path.read_text())
    if "table" in read:
        return read
    why = f"`make bench-board`: MicroPython {read['micropython']}, on this machine."
    header = ["what", "figure", "unit"]
    return {"title": "The client on a board", "why": why, "header": header, "table": board.rows(read)}


def write(results: Results, folder: Path) -> list[Path]:
    """RESULTS.md and the plots; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    links = []
    for name, chart in charts(results).items():
        path = folder / f"{name}.svg"
        path.write_text(chart.svg())
        made.append(path)
        links.append(f"![{chart.title}]({path.name})")
    page = folder / "RESULTS.md"
    page.write_text(text(results, links))
    return [page, *made]


def text(results: Results, links: Sequence[str] = ()) -> str:
    """RESULTS.md."""
    table = rows(results.trials)
    parts = [_HEAD.format(**{key: results.about.get(key, "?") for key in _ABOUT})]
    for title, why, wanted in _SECTIONS:
        chosen = [row for row in table if wanted(row.case)]
        if chosen:
            parts.append(f"## {title}\n\n{why}\n\n{_table(chosen, results)}")
    if links:
        what = f"What is over {CLIP:g} is drawn at the edge; vertical strokes are from the least to the most."
        parts.append("\n\n".join([f"## Plots\n\n{what}", *links]))
    ours = [row for row in table if row.contestant == "gapcast" and row.server_cpu_s is not None]
    if ours:
        parts.append(_OURS + "\n\n" + _ours_table(ours))
    for part in results.sections:
        parts.append(f"## {part['title']}\n\n{part['why']}\n\n{markdown(part['header'], part['table'])}")
    versions = results.about.get("versions", {})
    lines = [f"- {name}: {version}" for name, version in versions.items()]
    lines += [f"- {name} took no part: {why}" for name, why in results.left_out]
    if lines:
        parts.append("## Versions\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


_ABOUT = ("cpu", "cores", "kernel", "python", "repeats", "image_bytes")

_HEAD = """# What was measured

Written by `make bench` (`tests/bench/run.py`), not by hand. One machine: {cores} cores ({cpu}), Linux
{kernel}, Python {python}; network namespaces on a bridge. All programs take turns in one run, {repeats}
repeats, medians. Compare within a case; absolute figures belong to that machine.

- *time*: from the first UDP datagram of all, on the server's port, to the last receiver that has the
  image, complete and verified. Each program's own start-up phase counts, loading it does not. As a
  multiple of image bits / rate; seconds where there is no rate.
- *air*: bytes that the server's interface sent, Ethernet headers, handshakes, digests and repairs
  included, as a multiple of the image ({image_bytes} bytes). What receivers send is not in it (`up_bytes`
  in the JSON).
- *the limit*: an ideal code in TFTP frames of 1024 bytes that never pauses, to the unluckiest receiver;
  computed.
- Loss hits multicast datagrams, at each receiver on its own by iptables. Unicast is repeated by Wi-Fi
  itself; broadcast (udpcast's handshake) is let through too. In bursts: by nftables, 8 frames on average.
  The same for all: on the bridge. All of it alike for all programs.
- Boards run the real client in MicroPython, one process a board: up to 20 in the build for i386, which is
  most like a board, more in the one for the machine itself, which takes less of its time, with heaps of 512
  KiB (as with PSRAM: seldom collected) and SHA-256 by the machine's own instructions (as by an ESP32's
  accelerator). The others are C programs; NORM's driver is Python around its C library. Where many boards
  share the cores that is what is measured ("the machine was saturated"); at 1 Mbit/s it is not. All files are
  in memory, and every program's server has the cores before its receivers: it is another machine in the
  world. A board is switched off when its image is verified. uftp-told is told who its clients are (`-H`),
  udpcast-fec what the loss is."""

_OURS = """## What it costs us

CPU and memory of `gapcast serve` for one roll-out, and the most heap that was in use on any board (112
KiB is the limit, unfrozen code included)."""

_SECTIONS: tuple[tuple[str, str, Callable[[Case], bool]], ...] = (
    (
        "Boards on a shared air of 6 Mbit/s",
        "A token bucket on the server's port is the air.",
        lambda case: not case.stock and case.rate_bps == AIR_BPS,
    ),
    (
        "Other rates",
        "Without a limit the time is in seconds.",
        lambda case: not case.stock and case.rate_bps != AIR_BPS,
    ),
    (
        "Stock clients by RFC 2090",
        "atftp clients with `blksize 1428` and `timeout 1`, from our server and from atftpd.",
        lambda case: case.stock,
    ),
)


def _table(chosen: Sequence[Row], results: Results) -> str:
    lines: list[list[str]] = []
    size = results.trials[0].image_bytes
    seen: set[str] = set()
    for row in chosen:
        if row.case.key not in seen:
            seen.add(row.case.key)
            lines.append([f"**{row.case.title}**", "", "", "", ""])
            bound = limit(row.case, size)
            if bound is not None:
                lines.append(["*the limit*", number(bound), "", "", ""])
        lines.append(cells(row))
    return markdown(["", "time", "range", "air", "remarks"], lines)


def _ours_table(ours: Sequence[Row]) -> str:
    header = ["case", "server CPU, s", "server memory, MiB", "heap of a board, KiB"]
    lines = []
    for row in ours:
        memory = number((row.server_kib or 0) / 1024, 0)
        heap = number(row.heap_bytes / 1024, 0) if row.heap_bytes else "–"
        lines.append([row.case.title, number(row.server_cpu_s), memory, heap])
    return markdown(header, lines)


def charts(results: Results) -> dict[str, Chart]:
    """By file name."""
    table = [row for row in rows(results.trials) if _plain(row.case)]
    made: dict[str, Chart] = {}
    by_boards = [row for row in table if row.case.loss.share == SWEEP_LOSS]
    by_loss = [row for row in table if row.case.receivers == SWEEP_RECEIVERS]
    size = results.trials[0].image_bytes if results.trials else BLOCK_BYTES
    loss_text = f"{SWEEP_LOSS:.0%} loss"
    if len({row.case.receivers for row in by_boards}) > 1:
        made["time-boards"] = _sweep(by_boards, "time", "boards", f"Time against boards, {loss_text}", size)
        made["air-boards"] = _sweep(by_boards, "air", "boards", f"Air against boards, {loss_text}", size)
    if len({row.case.loss.share for row in by_loss}) > 1:
        count = f"{SWEEP_RECEIVERS} boards"
        made["time-loss"] = _sweep(by_loss, "time", "loss", f"Time against loss, {count}", size)
        made["air-loss"] = _sweep(by_loss, "air", "loss", f"Air against loss, {count}", size)
    lossy = {row.case.key: row.case for row in table if row.case.loss.share and row.case.receivers > 1}
    chosen = [lossy[key] for key in SHARE_CASES if key in lossy]
    for case in chosen or list(lossy.values())[-1:]:
        name = f"done-{case.receivers}x{case.loss.share * 100:g}"
        made[name] = _share_chart(case, [trial for trial in results.trials if trial.case == case.key])
    return made


def _plain(case: Case) -> bool:
    return not case.stock and case.rate_bps == AIR_BPS and case.loss.kind == "each"


def _colour(name: str) -> str:
    return COLOURS[NAMES.index(name) % len(COLOURS)] if name in NAMES else COLOURS[-1]


def _sweep(table: Sequence[Row], what: str, against: str, title: str, size: int) -> Chart:
    def x_of(row: Row) -> float:
        return float(row.case.receivers) if against == "boards" else row.case.loss.share * 100

    lines = []
    for name in NAMES:
        mine = sorted((row for row in table if row.contestant == name), key=x_of)
        good = [(x_of(row), row) for row in mine if getattr(row, what) is not None]
        if not good:
            continue
        points = [(x, float(getattr(row, what))) for x, row in good]
        ranges = []
        if what == "time":
            ranges = [(x, row.time_low or 0.0, row.time_high or 0.0) for x, row in good]
        lines.append(Line(name, points, _colour(name), ranges))
    bounds = sorted({(x_of(row), limit(row.case, size) or 0.0) for row in table})
    lines.append(Line("the limit", bounds, "#000000", dashed=True))
    highest = max(y for line in lines for _x, y in line.points)
    return Chart(
        title,
        "boards" if against == "boards" else "loss, %",
        f"{what}, multiple of the image" + ("'s bits / rate" if what == "time" else ""),
        lines,
        log_x=against == "boards",
        y_from=1.0,
        y_to=min(CLIP, highest * 1.05),
        x_ticks=sorted({x_of(row) for row in table}),
    )


def _share_chart(case: Case, trials: Sequence[Trial]) -> Chart:
    lines = []
    for name in NAMES:
        group = [trial for trial in trials if trial.contestant == name]
        points = [(at, share * 100) for at, share in shares(group)]
        if points:
            lines.append(Line(name, [(0.0, 0.0), *points], _colour(name), steps=True))
    return Chart(
        f"Boards done over time: {case.title}", "seconds", "boards done, %", lines, y_from=0.0, y_to=100.0
    )
