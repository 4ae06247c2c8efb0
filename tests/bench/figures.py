"""From trials to rows: medians, the physical limit, and tables of text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.case import Case, Trial

BLOCK_BYTES = 1024
FRAME_OVERHEAD_BYTES = 46  # TFTP, UDP, IP, Ethernet
SATURATED = 0.95  # of the machine's cores


@dataclass(frozen=True)
class Row:
    """One contestant in one case, over all repeats."""

    case: Case
    contestant: str
    runs: int
    failures: int
    time: float | None  # the medians; None when most runs failed
    time_low: float | None
    time_high: float | None
    air: float | None
    reason: str = ""  # of the first failure
    busy: float = 0.0
    heap_bytes: int = 0
    server_cpu_s: float | None = None
    server_kib: int | None = None

    @property
    def note(self) -> str:
        """What has to be known about the figures."""
        parts = []
        if self.failures:
            parts.append(f"{self.failures} of {self.runs} failed: {self.reason}")
        if self.busy > SATURATED and self.time is not None:
            parts.append("the machine was saturated")
        return "; ".join(parts)


def median(values: Sequence[float | None], runs: int) -> float | None:
    """Of those that are; None unless that is more than half of the runs."""
    good = [value for value in values if value is not None]
    return statistics.median(good) if len(good) * 2 > runs else None


def rows(trials: Iterable[Trial]) -> list[Row]:
    """In order of appearance of the cases, and in them of the contestants' median times."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    cases: dict[str, int] = {}
    for trial in trials:
        cases.setdefault(trial.case, len(cases))
        groups.setdefault((trial.case, trial.contestant), []).append(trial)
    made = [_row(Case.parse(key), name, group) for (key, name), group in groups.items()]
    return sorted(made, key=lambda row: (cases[row.case.key], row.time is None, row.time or 0.0))


def _row(case: Case, name: str, group: list[Trial]) -> Row:
    times = [trial.time(case.rate_bps) for trial in group]
    good = [time for time in times if time is not None]
    failed = [trial.failure for trial in group if trial.failure]
    cpu = median([trial.server_cpu_s for trial in group], len(group))
    kib = median([trial.server_kib for trial in group], len(group))
    return Row(
        case,
        name,
        len(group),
        len(failed),
        median(times, len(group)),
        min(good, default=None),
        max(good, default=None),
        median([trial.air for trial in group], len(group)),
        failed[0] if failed else "",
        max((trial.busy or 0.0 for trial in group), default=0.0),
        max((trial.heap_bytes or 0 for trial in group), default=0),
        cpu,
        int(kib) if kib is not None else None,
    )


def limit(case: Case, image_bytes: int) -> float | None:
    """The time of an ideal code in TFTP frames of 1024 bytes, as a multiple of image bits / rate.

    The frames until the unluckiest receiver has heard as many as the image has, in the median.
    None where that is not a matter of counting frames: no rate, or bursts.
    """
    if case.rate_bps is None or case.loss.kind == "burst" or case.stock:
        return None
    blocks = math.ceil(image_bytes / BLOCK_BYTES)
    heard = 1 - case.loss.share
    receivers = 1 if case.loss.kind == "same" else case.receivers
    deviations = statistics.NormalDist().inv_cdf(0.5 ** (1 / receivers)) if case.loss.share else 0.0
    frames = (blocks + deviations * math.sqrt(blocks * case.loss.share)) / heard
    return frames * (BLOCK_BYTES + FRAME_OVERHEAD_BYTES) / image_bytes


def shares(trials: Iterable[Trial]) -> list[tuple[float, float]]:
    """(seconds, share of receivers done) over all the runs given."""
    group = list(trials)
    times = sorted(at for trial in group for at in trial.done_s)
    total = sum(Case.parse(trial.case).receivers for trial in group)
    return [(at, (number + 1) / total) for number, at in enumerate(times)]


def number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def cells(row: Row) -> list[str]:
    """Contestant, time, its range, air, note."""
    digits = 2 if row.case.rate_bps else 3  # seconds, of what may take but a few hundredths
    low, high = number(row.time_low, digits), number(row.time_high, digits)
    spread = "" if row.time_low is None else f"{low}–{high}"
    return [row.contestant, number(row.time, digits), spread, number(row.air), row.note]


def aligned(table: Sequence[Sequence[str]]) -> str:
    """Lines of text with the columns below each other."""
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    )


def markdown(header: Sequence[str], table: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *table]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)
