"""What the operator can choose about multicast sessions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """What `gapcast serve` was asked for.

    gather_s: age in seconds at which a gap-aware stream starts; eager: or sooner, when all that are known to
    come are there. turns: boards that repair at once.
    rate_bps: what all DATA passes; None is unlimited. A session compares its boards' own rates with it.
    """

    gather_s: float = 0.15
    eager: bool = False
    turns: int = 8
    rate_bps: float | None = None
