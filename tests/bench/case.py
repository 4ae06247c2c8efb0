"""What is measured: a case is a number of receivers, a loss and a rate; a trial is one run of it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

AIR_BPS = 6_000_000  # 802.11g's basic rate, at which an access point sends multicast
BURST_FRAMES = 8
KINDS = {"": "each", "b": "burst", "c": "same"}
KIND_TEXT = {"each": "", "burst": f" in bursts of {BURST_FRAMES}", "same": ", the same for all"}
MAX_RECEIVERS = 1000

_CASE = re.compile(r"(stock-)?(\d{1,4})x(\d{1,2}(?:\.\d+)?)([bc]?)(?:@(\d+(?:\.\d+)?)([kM]?))?")
_UNITS = {"": 1.0, "k": 1e3, "M": 1e6}


@dataclass(frozen=True)
class Loss:
    """Multicast datagrams that do not arrive.

    kind: "each" (every receiver loses its own), "burst" (its own, some in a row), "same" (all lose the same).
    """

    share: float = 0.0
    kind: str = "each"


NO_LOSS = Loss()


@dataclass(frozen=True)
class Case:
    """One row of the table. `stock`: plain RFC 2090 clients, from our server and from theirs."""

    receivers: int
    loss: Loss = NO_LOSS
    rate_bps: float | None = AIR_BPS
    stock: bool = False

    @classmethod
    def parse(cls, text: str) -> Case:
        """From `10x20`, `10x10b`, `10x10c`, `50x2@0`, `stock-5x0@0`. Raises ValueError."""
        match = _CASE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is no case: RECEIVERSxLOSS, such as 10x20, 10x10b or 50x2@0")
        stock, receivers, loss, kind, rate, unit = match.groups()
        if not 1 <= int(receivers) <= MAX_RECEIVERS:
            raise ValueError(f"{text!r}: 1 to {MAX_RECEIVERS} receivers")
        rate_bps: float | None = AIR_BPS
        if rate is not None:
            rate_bps = float(rate) * _UNITS[unit] or None
        return cls(int(receivers), Loss(float(loss) / 100, KINDS[kind]), rate_bps, stock is not None)

    @property
    def key(self) -> str:
        """What parse() takes."""
        kind = next(letter for letter, name in KINDS.items() if name == self.loss.kind)
        rate = "" if self.rate_bps == AIR_BPS else f"@{self.rate_bps or 0:.0f}"
        return f"{'stock-' if self.stock else ''}{self.receivers}x{self.loss.share * 100:g}{kind}{rate}"

    @property
    def title(self) -> str:
        """For people."""
        who = ("atftp client" if self.stock else "board") + ("" if self.receivers == 1 else "s")
        text = f"{self.receivers} {who}, {self._loss()}"
        if self.rate_bps is None:
            return f"{text}, no rate limit"
        return text if self.rate_bps == AIR_BPS else f"{text}, {self.rate_bps / 1e6:g} Mbit/s"

    def _loss(self) -> str:
        return f"{self.loss.share * 100:g} % loss{KIND_TEXT[self.loss.kind] if self.loss.share else ''}"


@dataclass
class Trial:
    """What became of one contestant in one run of a case; times in seconds from the first packet of all."""

    contestant: str
    case: str
    image_bytes: int
    failure: str = ""  # how it failed; empty: every receiver has the image, byte for byte
    elapsed_s: float | None = None
    air_bytes: int | None = None  # what the server's interface sent, everything counted
    up_bytes: int | None = None  # what it received
    done_s: list[float] = field(default_factory=list)  # of every receiver, in order
    busy: float | None = (
        None  # of this machine's cores: near 1 the figures are the machine's, not the program's
    )
    server_cpu_s: float | None = None
    server_kib: int | None = None
    heap_bytes: int | None = None  # of boards: the most that was in use

    @property
    def air(self) -> float | None:
        """As a multiple of the image."""
        if self.failure or self.air_bytes is None:
            return None
        return self.air_bytes / self.image_bytes

    def time(self, rate_bps: float | None) -> float | None:
        """As a multiple of image bits / rate; seconds where there is no rate."""
        if self.failure or self.elapsed_s is None:
            return None
        return self.elapsed_s if rate_bps is None else self.elapsed_s * rate_bps / (8 * self.image_bytes)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
