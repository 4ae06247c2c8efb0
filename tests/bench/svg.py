"""Line charts in SVG: axes, lines with points and ranges, a legend. No more than the bench needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 168, 44, 52
# Okabe and Ito's colours, which can be told apart without seeing red or green.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One contestant's line; `ranges` are (x, low, high)."""

    name: str
    points: Sequence[Point]
    colour: str = COLOURS[0]
    ranges: Sequence[tuple[float, float, float]] = ()
    steps: bool = False  # a staircase without marks
    dashed: bool = False


@dataclass
class Chart:
    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    log_x: bool = False
    y_from: float | None = None
    y_to: float | None = None
    x_ticks: Sequence[float] = field(default_factory=tuple)

    def svg(self) -> str:
        """The whole document."""
        frame = _Frame(self)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
            ' font-size="12">',
            f"<title>{escape(self.title)}</title>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            _text(LEFT, 24, self.title, 'font-size="15" font-weight="bold"'),
            *frame.axes(self),
        ]
        for place, line in enumerate(self.lines):
            parts += frame.line(line)
            parts += _legend(line, place)
        return "\n".join([*parts, "</svg>", ""])


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers from low to high, some `about` of them."""
    if high <= low:
        return [low]
    raw = (high - low) / about
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(count * step, 10) for count in range(first, last + 1)]


class _Frame:
    """Where a value is on the paper."""

    def __init__(self, chart: Chart) -> None:
        xs = [x for line in chart.lines for x, _y in line.points] or [0.0, 1.0]
        ys = [y for line in chart.lines for _x, y in line.points]
        ys += [edge for line in chart.lines for _x, low, high in line.ranges for edge in (low, high)]
        ys = ys or [0.0, 1.0]
        self._log = chart.log_x
        self._x0, self._x1 = self._scale(min(xs)), self._scale(max(xs))
        if self._x0 == self._x1:
            self._x0, self._x1 = self._x0 - 0.5, self._x1 + 0.5
        self._y0 = min(ys) if chart.y_from is None else chart.y_from
        self._y1 = max(ys) if chart.y_to is None else chart.y_to
        if self._y1 <= self._y0:
            self._y1 = self._y0 + 1
        self._x_ticks = list(chart.x_ticks) or ticks(min(xs), max(xs))

    def _scale(self, x: float) -> float:
        return math.log(x) if self._log else x

    def x(self, value: float) -> float:
        span = WIDTH - LEFT - RIGHT
        return LEFT + span * (self._scale(value) - self._x0) / (self._x1 - self._x0)

    def y(self, value: float) -> float:
        """Values over the top are drawn at the top."""
        inside = min(value, self._y1)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (inside - self._y0) / (self._y1 - self._y0)

    def axes(self, chart: Chart) -> list[str]:
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        parts = [f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#444444"/>']
        for value in ticks(self._y0, self._y1):
            y = self.y(value)
            parts.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#dddddd"/>')
            parts.append(_text(LEFT - 8, y + 4, f"{value:g}", 'text-anchor="end"'))
        for value in self._x_ticks:
            x = self.x(value)
            parts.append(f'<path d="M{x:.1f} {bottom}v5" stroke="#444444"/>')
            parts.append(_text(x, bottom + 20, f"{value:g}", 'text-anchor="middle"'))
        parts.append(_text((LEFT + right) / 2, HEIGHT - 12, chart.x_label, 'text-anchor="middle"'))
        turned = f'text-anchor="middle" transform="rotate(-90 16 {(TOP + bottom) / 2:.0f})"'
        parts.append(_text(16, (TOP + bottom) / 2, chart.y_label, turned))
        return parts

    def line(self, line: Line) -> list[str]:
        if not line.points:
            return []
        at = [(self.x(x), self.y(y)) for x, y in line.points]
        path = f"M{at[0][0]:.1f} {at[0][1]:.1f}"
        for x, y in at[1:]:
            path += f"H{x:.1f}V{y:.1f}" if line.steps else f"L{x:.1f} {y:.1f}"
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        parts = [f'<path d="{path}" fill="none" stroke="{line.colour}" stroke-width="2"{dash}/>']
        for x, low, high in line.ranges:
            span = f"M{self.x(x):.1f} {self.y(low):.1f}V{self.y(high):.1f}"
            parts.append(f'<path d="{span}" stroke="{line.colour}" stroke-opacity="0.5"/>')
        if not line.steps and not line.dashed:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{line.colour}"/>' for x, y in at]
        return parts


def _legend(line: Line, place: int) -> list[str]:
    x, y = WIDTH - RIGHT + 16, TOP + 12 + 20 * place
    dash = ' stroke-dasharray="5 4"' if line.dashed else ""
    return [
        f'<path d="M{x} {y}h22" stroke="{line.colour}" stroke-width="2"{dash}/>',
        _text(x + 28, y + 4, line.name),
    ]


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="#222222" {more}>{escape(text)}</text>'
